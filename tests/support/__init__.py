"""What several tests of the core need: models of any size, and checkpoint folders to load and damage."""

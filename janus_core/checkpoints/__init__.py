"""Checkpoint folders to models and back. Nothing here knows of prompts or sampling."""

"""Captioning the images of a folder, resumable after an interruption."""

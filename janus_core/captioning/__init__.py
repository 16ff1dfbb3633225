"""Captions for a folder of images: written beside them, so that a run that was stopped can go on."""

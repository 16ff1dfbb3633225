"""Thinks about an image in words: before it is drawn, or in reviews after which it is drawn again."""

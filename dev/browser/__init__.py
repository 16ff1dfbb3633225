"""A real browser on a real ComfyUI: opens the canvas and works on it as a user does."""

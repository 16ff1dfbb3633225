"""Runs a real ComfyUI: `tree` finds its source, `server` runs it, `client` sends prompts to it."""

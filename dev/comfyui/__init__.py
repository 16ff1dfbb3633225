"""Runs a real ComfyUI server for the tests: `tree` finds it, `server` runs it, `client` talks to it."""

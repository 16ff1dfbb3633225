"""Janus for ComfyUI. Importing this outside ComfyUI, from tests or plain Python, does nothing."""

import importlib.util

if importlib.util.find_spec("comfy_api") is not None:
    from .nodes import comfy_entrypoint  # noqa: F401  # ComfyUI calls it

WEB_DIRECTORY = "./web"

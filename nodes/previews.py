"""Decides by ComfyUI's preview method whether images are shown while they are generated."""

import argparse
import sys

import comfy.options
from comfy import cli_args
from comfy.cli_args import LatentPreviewMethod
from server import PromptServer

NONE = LatentPreviewMethod.NoPreviews


def previews_wanted() -> bool:
    """Whether to show previews: unless the user has explicitly chosen the preview method `none`.

    `none` is also ComfyUI's default, which does not disable them: these previews are cheap and need no
    further model.
    """
    return cli_args.args.preview_method is not NONE or NONE not in (_of_command_line(), _of_running_prompt())


def _of_command_line() -> LatentPreviewMethod | None:
    """The value of `--preview-method`; None if it is not given."""
    arguments = sys.argv[1:] if comfy.options.args_parsing else []
    given, _ = cli_args.parser.parse_known_args(arguments, argparse.Namespace(preview_method=None))
    return given.preview_method


def _of_running_prompt() -> LatentPreviewMethod | None:
    """`none` if the running prompt asks for it, as newer front ends can; None for any other method."""
    server = getattr(PromptServer, "instance", None)
    running = server.prompt_queue.get_current_queue_volatile()[0] if server else []
    names = {extra_data.get("preview_method") for _, _, _, extra_data, *_ in running}
    return NONE if NONE.value in names else None

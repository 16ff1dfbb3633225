"""Whether images are shown while they are generated: ComfyUI's preview method."""

import argparse
import sys

import comfy.options
from comfy import cli_args
from comfy.cli_args import LatentPreviewMethod
from server import PromptServer

NONE = LatentPreviewMethod.NoPreviews


def previews_wanted() -> bool:
    """Whether to show previews: with every preview method but `none`, and if none was chosen.

    `none` is also ComfyUI's default. These previews cost little and need no further model, so that one that
    nobody chose does not switch them off.
    """
    return cli_args.args.preview_method is not NONE or NONE not in (_of_command_line(), _of_running_prompt())


def _of_command_line() -> LatentPreviewMethod | None:
    """The value of `--preview-method`; None if it is not given."""
    arguments = sys.argv[1:] if comfy.options.args_parsing else []
    given, _ = cli_args.parser.parse_known_args(arguments, argparse.Namespace(preview_method=None))
    return given.preview_method


def _of_running_prompt() -> LatentPreviewMethod | None:
    """The method that newer front ends send with a prompt; None for their default."""
    server = getattr(PromptServer, "instance", None)
    running = server.prompt_queue.get_current_queue_volatile()[0] if server else []
    names = {extra_data.get("preview_method") for _, _, _, extra_data, *_ in running}
    return NONE if NONE.value in names else None

"""What a node displays on the canvas after it has run."""

import logging
from collections.abc import Sequence

from comfy_api.latest import io, ui
from torch import Tensor

from ..janus_core import Answer

LOG = logging.getLogger(__name__)

# Hidden inputs of nodes that display images: the workflow is written into the image files, so that a saved
# image can be opened as a workflow.
WORKFLOW = (io.Hidden.prompt, io.Hidden.extra_pnginfo)


def shown_answers(answers: Sequence[Answer], max_new_tokens: int) -> list[str]:
    """Answers as they are displayed: each with a line below it if it was cut off or repeats itself.

    How many these are is logged.
    """
    cut, repeating = sum(each.is_cut for each in answers), sum(each.repeats for each in answers)
    limit = f"max_new_tokens = {max_new_tokens}, or at the end of the model's context"
    if cut or repeating:
        LOG.warning(
            "%d of %d answers stopped at %s, and %d ended in repetitions.",
            cut,
            len(answers),
            limit,
            repeating,
        )
    notes = {"is_cut": f"[stopped at {limit}]", "repeats": "[repeats itself]"}
    return [
        "\n".join([answer, *(note for name, note in notes.items() if getattr(answer, name))])
        for answer in answers
    ]


def ui_output(
    node: type[io.ComfyNode], texts: Sequence[str] | None = None, images: Tensor | None = None
) -> dict[str, object]:
    """The `ui` part of a node's output.

    When a node runs once per item of a list, ComfyUI merges the results by the keys of the first one. A node
    that displays both texts and images must therefore always pass both, with an empty one if need be.

    Args:
        node: the class, with `WORKFLOW` among its hidden inputs if it displays images.
        texts: joined with an empty line between; `web/janus_text.js` displays them.
        images: [B, H, W, 3] in [0, 1]; B may be 0.
    """
    result: dict[str, object] = {}
    if texts is not None:
        result |= ui.PreviewText("\n\n".join(texts)).as_dict()
    if images is not None:
        result |= {"images": ui.PreviewImage(images, cls=node).values if len(images) else []}
    return result

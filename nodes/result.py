"""The texts and images that a node displays on the canvas after it has run."""

import logging
from collections.abc import Sequence

from comfy_api.latest import io, ui
from torch import Tensor

from ..janus_core import Answer, FlowSampling, JanusPipeline, TokenSampling
from .own_values import taken

LOG = logging.getLogger(__name__)

# Hidden inputs of nodes that display images: the workflow is written into the image files, so that a saved
# image can be opened as a workflow.
WORKFLOW = (io.Hidden.prompt, io.Hidden.extra_pnginfo)


def ending_note(answers: Sequence[Answer], max_new_tokens: int) -> str:
    """Lines that say how many answers were cut off or repeat themselves, also logged; empty if none."""
    cut, repeating = sum(each.is_cut for each in answers), sum(each.repeats for each in answers)
    endings = {
        f"stopped at max_new_tokens = {max_new_tokens}, or at the end of the model's context": cut,
        "ended in repetitions": repeating,
    }
    lines = []
    for ending, count in endings.items():
        if count:
            LOG.warning("%d of %d answers %s.", count, len(answers), ending)
            lines.append(f"[{ending}]" if len(answers) == 1 else f"[{count} of {len(answers)} {ending}]")
    return "\n".join(lines)


def unfamiliar_note(pipeline: JanusPipeline, unfamiliar: Sequence[bool]) -> str:
    """A line that says how many images are unlike all that the model was trained on; empty if none.

    Args:
        pipeline: the model.
        unfamiliar: for each image, whether it is so.
    """
    count, known = sum(unfamiliar), pipeline.known_images
    if not count or known is None:
        return ""
    LOG.warning("%d of %d images are unlike the model's training images.", count, len(unfamiliar))
    which = "This image" if len(unfamiliar) == 1 else f"{count} of {len(unfamiliar)} images"
    verb = "is" if count == 1 else "are"
    return (
        f"[{which} {verb} unlike everything that this model was trained on ({known.description}): what it "
        "says means little. For photographs, choose Janus-Pro in Load Janus-Pro.]"
    )


def answer_note(
    pipeline: JanusPipeline, answers: Sequence[Answer], unfamiliar: Sequence[bool], max_new_tokens: int
) -> str:
    """The lines of both notes; empty if there are none."""
    lines = unfamiliar_note(pipeline, unfamiliar), ending_note(answers, max_new_tokens)
    return "\n".join(line for line in lines if line)


def ui_output(
    node: type[io.ComfyNode],
    texts: Sequence[str] | None = None,
    images: Tensor | None = None,
    note: str | None = None,
    own: Sequence[TokenSampling | FlowSampling] | None = None,
) -> dict[str, object]:
    """The `ui` part of a node's output.

    When a node runs once per item of a list, ComfyUI merges the results by the keys of the first one. A node
    that displays several of these must therefore always pass all, with an empty one if need be.

    Args:
        node: the class, with `WORKFLOW` among its hidden inputs if it displays images.
        texts: joined with an empty line between; `web/janus_text.js` displays them.
        images: [B, H, W, 3] in [0, 1]; B may be 0.
        note: displayed below the texts, but not part of them; may be empty.
        own: options of the run, if it drew; `web/janus_widgets.js` displays which were the checkpoint's.
    """
    result: dict[str, object] = {}
    if texts is not None:
        result |= ui.PreviewText("\n\n".join(texts)).as_dict()
    if note is not None:
        result |= {"note": (note,)}
    if images is not None:
        result |= {"images": ui.PreviewImage(images, cls=node).values if len(images) else []}
    if own is not None:
        result |= {"own": [taken(options) for options in own]}
    return result

"""What a node displays on the canvas after it has run."""

from collections.abc import Sequence

from comfy_api.latest import io, ui
from torch import Tensor

# Hidden inputs of nodes that display images: the workflow is written into the image files, so that a saved
# image can be opened as a workflow.
WORKFLOW = (io.Hidden.prompt, io.Hidden.extra_pnginfo)


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

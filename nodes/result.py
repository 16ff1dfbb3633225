"""What a node shows on itself once it has run; `web/janus_text.js` puts the text there."""

from collections.abc import Sequence

from comfy_api.latest import io, ui
from torch import Tensor

# What a node must know to write the workflow into the images that it shows, so that a saved one re-opens it.
WORKFLOW = (io.Hidden.prompt, io.Hidden.extra_pnginfo)


def shown(
    node: type[io.ComfyNode], texts: Sequence[str] = (), images: Tensor | None = None
) -> dict[str, object]:
    """The `ui` of a node's output.

    Args:
        node: the class, with `WORKFLOW` among its hidden inputs if it shows images.
        texts: one below the other, an empty line between.
        images: [B, H, W, 3] in [0, 1]; they stay when the last preview goes, as when a workflow is re-opened.
    """
    result: dict[str, object] = {}
    if texts:
        result |= ui.PreviewText("\n\n".join(texts)).as_dict()
    if images is not None:
        result |= ui.PreviewImage(images, cls=node).as_dict()
    return result

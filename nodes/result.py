"""What a node shows on itself once it has run; `web/janus_text.js` puts the text there."""

from collections.abc import Sequence

from comfy_api.latest import io, ui
from torch import Tensor

# What a node must know to write the workflow into the images that it shows, so that a saved one re-opens it.
WORKFLOW = (io.Hidden.prompt, io.Hidden.extra_pnginfo)


def shown(
    node: type[io.ComfyNode], texts: Sequence[str] | None = None, images: Tensor | None = None
) -> dict[str, object]:
    """The `ui` of a node's output.

    ComfyUI joins those of a node that runs for each item of a list by the keys of the first: a node that
    shows both texts and images must give both each time, an empty one of what it has not.

    Args:
        node: the class, with `WORKFLOW` among its hidden inputs if it shows images.
        texts: one below the other, an empty line between.
        images: [B, H, W, 3] in [0, 1], B may be 0; they stay when the last preview goes, as when a workflow
            is re-opened.
    """
    result: dict[str, object] = {}
    if texts is not None:
        result |= ui.PreviewText("\n\n".join(texts)).as_dict()
    if images is not None:
        result |= {"images": ui.PreviewImage(images, cls=node).values if len(images) else []}
    return result

"""The ComfyUI extension: which nodes there are."""

from comfy_api.latest import ComfyExtension, io

from .edit import JanusEdit
from .encode import JanusSiglipEncode, JanusVQDecode, JanusVQEncode
from .flow import JanusFlowSampler
from .generate import JanusGenerate
from .load import JanusLoad
from .understand import JanusUnderstand


class JanusExtension(ComfyExtension):
    """Everything that the pack adds to ComfyUI."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [
            JanusLoad,
            JanusUnderstand,
            JanusGenerate,
            JanusEdit,
            JanusFlowSampler,
            JanusSiglipEncode,
            JanusVQEncode,
            JanusVQDecode,
        ]


async def comfy_entrypoint() -> JanusExtension:
    """Called by ComfyUI when it loads the pack."""
    return JanusExtension()

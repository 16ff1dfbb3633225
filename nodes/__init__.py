"""The ComfyUI extension with all nodes of the pack."""

from comfy_api.latest import ComfyExtension, io

from .ask import JanusAsk
from .best_of import JanusBestOf
from .caption_folder import JanusCaptionFolder
from .edit import JanusEdit
from .encode import JanusSiglipEncode, JanusVQDecode, JanusVQEncode
from .flow import JanusFlowSampler
from .generate import JanusGenerate
from .load import JanusLoad
from .lora import JanusLora
from .paths import register_folder
from .prompt_list import JanusPromptList
from .score import JanusChoose, JanusScore
from .think import JanusThinkAndDraw
from .understand import JanusUnderstand


class JanusExtension(ComfyExtension):
    """Registers the nodes."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [
            JanusLoad,
            # A link dragged from a model offers the first four of those that follow.
            JanusGenerate,
            JanusUnderstand,
            JanusEdit,
            JanusAsk,
            JanusLora,
            JanusBestOf,
            JanusThinkAndDraw,
            JanusScore,
            JanusChoose,
            JanusCaptionFolder,
            JanusFlowSampler,
            JanusSiglipEncode,
            JanusVQEncode,
            JanusVQDecode,
            JanusPromptList,
        ]


async def comfy_entrypoint() -> JanusExtension:
    """Called by ComfyUI when it loads the pack."""
    register_folder()
    return JanusExtension()

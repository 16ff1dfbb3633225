"""SigLIP Encode, VQ Encode and VQ Decode: the model's image encoders and decoder."""

import comfy.model_management as mm
from comfy_api.latest import io
from torch import Tensor

from ..janus_core import TokenSampling
from . import widgets
from .memory import LoadedJanus
from .newer_schema import found_by
from .progress import progress_callback
from .sockets import checks_inputs
from .types import JanusFeatures, JanusTokens


class JanusSiglipEncode(io.ComfyNode):
    """Encodes images for understanding with `JanusPipeline.encode_vision`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="JanusSiglipEncode",
            display_name="SigLIP Encode",
            category=widgets.CATEGORY,
            **found_by("JanusSiglipEncode"),
            description="Encodes images once, so that several nodes can ask about them.",
            inputs=[widgets.model_input(), widgets.image_input()],
            outputs=[
                JanusFeatures.Output(
                    display_name="features",
                    tooltip="For Janus Understand, Janus Score and Janus Choose, in place of an image.",
                )
            ],
        )

    @classmethod
    @checks_inputs
    def execute(cls, model: LoadedJanus, image: Tensor) -> io.NodeOutput:
        features = model.pipeline.encode_vision(image, progress_callback())
        return io.NodeOutput(features.to(mm.intermediate_device()))


class JanusVQEncode(io.ComfyNode):
    """Encodes images as image tokens with `JanusPipeline.encode_tokens`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="JanusVQEncode",
            display_name="VQ Encode",
            category=widgets.CATEGORY,
            **found_by("JanusVQEncode"),
            description="Encodes images as the tokens that the model generates (576 ids from a codebook of "
            "16384 for the released models).",
            inputs=[widgets.model_input(widgets.NO_FLOW), widgets.image_input()],
            outputs=[
                JanusTokens.Output(
                    display_name="tokens", tooltip="A sequence of ids per image, for VQ Decode."
                )
            ],
        )

    @classmethod
    @checks_inputs
    def execute(cls, model: LoadedJanus, image: Tensor) -> io.NodeOutput:
        model.image_options(TokenSampling())
        tokens = model.pipeline.encode_tokens(image, progress_callback())
        return io.NodeOutput(tokens.to(mm.intermediate_device()))


class JanusVQDecode(io.ComfyNode):
    """Decodes image tokens with `JanusPipeline.decode_tokens`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="JanusVQDecode",
            display_name="VQ Decode",
            category=widgets.CATEGORY,
            **found_by("JanusVQDecode"),
            description="Decodes image tokens from VQ Encode, Janus Generate, Janus Edit or Janus Best of N.",
            inputs=[
                widgets.model_input(widgets.NO_FLOW),
                JanusTokens.Input(
                    "tokens",
                    tooltip="From VQ Encode, Janus Generate, Janus Edit or Janus Best of N, with the same "
                    "kind of model.",
                ),
            ],
            outputs=[io.Image.Output(display_name="image", tooltip="The batch of images.")],
        )

    @classmethod
    @checks_inputs
    def execute(cls, model: LoadedJanus, tokens: Tensor) -> io.NodeOutput:
        model.image_options(TokenSampling())
        images = model.pipeline.decode_tokens(tokens, progress_callback())
        return io.NodeOutput(images.to(mm.intermediate_device()))

"""SigLIP Encode, VQ Encode, VQ Decode: the model's two ways into an image, and one out."""

import comfy.model_management as mm
from comfy_api.latest import io

from .memory import LoadedJanus
from .progress import report_count
from .types import CATEGORY, NO_FLOW, JanusFeatures, JanusTokens, image_input, model_input


class JanusSiglipEncode(io.ComfyNode):
    """Images in, features for Understand out; the work is `JanusPipeline.encode_vision`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="JanusSiglipEncode",
            display_name="SigLIP Encode",
            category=CATEGORY,
            description="What the model sees in an image, computed once for any number of questions.",
            inputs=[
                model_input(),
                image_input(),
            ],
            outputs=[
                JanusFeatures.Output(
                    display_name="features",
                    tooltip="For Janus Understand, Janus Score and Janus Choose, in place of an image.",
                )
            ],
        )

    @classmethod
    def execute(cls, model: LoadedJanus, image) -> io.NodeOutput:
        features = model.pipeline.encode_vision(image, report_count())
        return io.NodeOutput(features.to(mm.intermediate_device()))


class JanusVQEncode(io.ComfyNode):
    """Images in, image tokens out; the work is `JanusPipeline.encode_tokens`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="JanusVQEncode",
            display_name="VQ Encode",
            category=CATEGORY,
            description="Images as the tokens that the model draws with (576 ids of a codebook of 16384 of "
            "the released models).",
            inputs=[
                model_input(NO_FLOW),
                image_input(),
            ],
            outputs=[
                JanusTokens.Output(display_name="tokens", tooltip="A row of ids per image, for VQ Decode.")
            ],
        )

    @classmethod
    def execute(cls, model: LoadedJanus, image) -> io.NodeOutput:
        tokens = model.pipeline.encode_tokens(image, report_count())
        return io.NodeOutput(tokens.to(mm.intermediate_device()))


class JanusVQDecode(io.ComfyNode):
    """Image tokens in, images out; the work is `JanusPipeline.decode_tokens`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="JanusVQDecode",
            display_name="VQ Decode",
            category=CATEGORY,
            description="Images of tokens from VQ Encode, Janus Generate, Janus Edit or Janus Best of N.",
            inputs=[
                model_input(NO_FLOW),
                JanusTokens.Input(
                    "tokens",
                    tooltip="From VQ Encode, Janus Generate, Janus Edit or Janus Best of N, with the same "
                    "kind of model.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="image", tooltip="A batch of images, as large as the model's own square."
                )
            ],
        )

    @classmethod
    def execute(cls, model: LoadedJanus, tokens) -> io.NodeOutput:
        images = model.pipeline.decode_tokens(tokens, report_count())
        return io.NodeOutput(images.to(mm.intermediate_device()))

"""Generate: a description to images."""

import comfy.model_management as mm
from comfy_api.latest import io

from ..janus_core import TokenSampling
from .memory import LoadedJanus
from .progress import ImageReport
from .result import WORKFLOW, shown
from .types import CATEGORY, NO_FLOW, JanusTokens, model_input, token_drawing_inputs


class JanusGenerate(io.ComfyNode):
    """A prompt in, images and their tokens out; the work is `JanusPipeline.generate`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="JanusGenerate",
            display_name="Janus Generate",
            category=CATEGORY,
            description="Draws images of a description, token by token (384 x 384 pixels of the released "
            "models).",
            is_output_node=True,
            hidden=list(WORKFLOW),
            inputs=[
                model_input(NO_FLOW),
                *token_drawing_inputs(),
            ],
            outputs=[
                io.Image.Output(
                    display_name="image", tooltip="A batch of images, as large as the model's own square."
                ),
                JanusTokens.Output(
                    display_name="tokens", tooltip="The images as codebook ids, for VQ Decode."
                ),
            ],
        )

    @classmethod
    def execute(cls, model: LoadedJanus, prompt: str, negative_prompt: str, **options) -> io.NodeOutput:
        sampling = TokenSampling(**options)
        report = ImageReport(model.pipeline)
        drawn = model.pipeline.generate(
            prompt, sampling, negative_prompt=negative_prompt, on_step=report, on_image=report.check
        )
        report.show(drawn.images)
        device = mm.intermediate_device()
        return io.NodeOutput(
            drawn.images.to(device), drawn.tokens.to(device), ui=shown(cls, images=drawn.images)
        )

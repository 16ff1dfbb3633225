"""Janus Generate: images from a prompt, by a token model."""

import comfy.model_management as mm
from comfy_api.latest import io

from ..janus_core import TokenSampling
from . import widgets
from .memory import LoadedJanus
from .newer_schema import found_by
from .own_values import given
from .progress import ImageReport
from .result import WORKFLOW, ui_output
from .sockets import checks_inputs


class JanusGenerate(io.ComfyNode):
    """Generates images with `JanusPipeline.generate`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="JanusGenerate",
            display_name="Janus Generate",
            category=widgets.CATEGORY,
            **found_by("JanusGenerate"),
            description="Generates images from a prompt, token by token (384 x 384 pixels with the released "
            "models).",
            is_output_node=True,
            hidden=list(WORKFLOW),
            inputs=[widgets.model_input(widgets.NO_FLOW), *widgets.token_generation_inputs()],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The batch of images."),
                widgets.tokens_output(),
            ],
        )

    @classmethod
    @checks_inputs
    def execute(cls, model: LoadedJanus, prompt: str, negative_prompt: str, **sampling) -> io.NodeOutput:
        options = model.image_options(TokenSampling(**given(sampling)))
        report = ImageReport(model.pipeline)
        generated = model.pipeline.generate(
            prompt, options, negative_prompt=negative_prompt, on_step=report, on_image=report.check
        )
        report.show(generated.images)
        device = mm.intermediate_device()
        ui = ui_output(cls, images=generated.images, own=[options])
        return io.NodeOutput(generated.images.to(device), generated.tokens.to(device), ui=ui)

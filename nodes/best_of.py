"""Janus Best of N: several images from a prompt, ranked by the model itself."""

import comfy.model_management as mm
from comfy_api.latest import io

from ..janus_core import TokenSampling, best_of
from . import widgets
from .memory import LoadedJanus
from .newer_schema import found_by
from .own_values import given
from .progress import ImageReport
from .result import WORKFLOW, ui_output
from .sockets import checks_inputs


class JanusBestOf(io.ComfyNode):
    """Generates and ranks images with `janus_core.best_of`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="JanusBestOf",
            display_name="Janus Best of N",
            category=widgets.CATEGORY,
            **found_by("JanusBestOf"),
            description="Generates batch_size images from a prompt, has the model score them, and keeps the "
            "best.",
            is_output_node=True,
            hidden=list(WORKFLOW),
            inputs=[
                widgets.model_input(widgets.NO_FLOW),
                *widgets.token_generation_inputs(batch_size=4),
                io.Int.Input(
                    "keep",
                    default=1,
                    min=0,
                    max=256,
                    tooltip="Number of images to output, at most batch_size. 0 outputs all of them.",
                ),
                widgets.template_input(),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The images, best first."),
                widgets.score_output(),
                widgets.tokens_output(),
            ],
        )

    @classmethod
    @checks_inputs
    def execute(
        cls, model: LoadedJanus, prompt: str, negative_prompt: str, keep: int, template: str, **sampling
    ) -> io.NodeOutput:
        options = model.image_options(TokenSampling(**given(sampling)))
        report = ImageReport(model.pipeline)
        ranked = best_of(
            model.pipeline,
            prompt,
            options,
            keep=keep,
            negative_prompt=negative_prompt,
            template=template,
            on_step=report,
            on_image=report.check,
        )
        images, tokens, scores = ranked.drawn.images, ranked.drawn.tokens, ranked.scores.tolist()
        report.show(images)
        device = mm.intermediate_device()
        ui = ui_output(cls, [f"{score:.4f}" for score in scores], images, own=[options])
        return io.NodeOutput(images.to(device), scores, tokens.to(device), ui=ui)

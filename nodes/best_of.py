"""Best of N: several images of a description, ranked by the model itself."""

import comfy.model_management as mm
from comfy_api.latest import io

from ..janus_core import TokenSampling, best_of
from .memory import LoadedJanus
from .progress import ImageReport
from .result import WORKFLOW, shown
from .types import CATEGORY, NO_FLOW, JanusTokens, model_input, template_input, token_drawing_inputs


class JanusBestOf(io.ComfyNode):
    """A prompt in, its best images with their scores out; the work is `janus_core.best_of`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="JanusBestOf",
            display_name="Janus Best of N",
            category=CATEGORY,
            description="Draws batch_size images of a description, lets the model judge each by it, and "
            "keeps the best.",
            is_output_node=True,
            hidden=list(WORKFLOW),
            inputs=[
                model_input(NO_FLOW),
                *token_drawing_inputs(batch_size=4),
                io.Int.Input(
                    "keep",
                    default=1,
                    min=0,
                    max=256,
                    tooltip="Images to give back, the best first; at most batch_size. 0 gives back all.",
                ),
                template_input(),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The best first."),
                io.Float.Output(
                    display_name="score",
                    is_output_list=True,
                    tooltip="One number from 0 to 1 per image, as a list: the share of Yes against No.",
                ),
                JanusTokens.Output(
                    display_name="tokens", tooltip="The images as codebook ids, for VQ Decode."
                ),
            ],
        )

    @classmethod
    def execute(
        cls, model: LoadedJanus, prompt, negative_prompt, keep: int, template: str, **options
    ) -> io.NodeOutput:
        sampling = TokenSampling(**options)
        report = ImageReport(model.pipeline)
        best = best_of(
            report.pipeline, prompt, sampling, keep=keep, negative_prompt=negative_prompt,
            template=template, on_step=report, on_image=report.check,
        )  # fmt: skip
        report.show(best.drawn.images)
        device, drawn, scores = mm.intermediate_device(), best.drawn, best.scores.tolist()
        both = shown(cls, [f"{score:.4f}" for score in scores], drawn.images)
        return io.NodeOutput(drawn.images.to(device), scores, drawn.tokens.to(device), ui=both)

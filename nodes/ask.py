"""Ask: one free request, and whatever it asks for."""

import comfy.model_management as mm
import torch
from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker

from ..janus_core import (
    ROUTED_TASKS,
    Reply,
    Route,
    TextSampling,
    TokenSampling,
    reply,
    route,
)
from .memory import LoadedJanus
from .progress import ImageReport, TextReport
from .result import WORKFLOW, shown
from .types import (
    CATEGORY,
    chosen,
    guidance_input,
    max_new_tokens_input,
    model_input,
    seed_input,
    temperature_input,
)

AUTO = "auto"


class JanusAsk(io.ComfyNode):
    """A request in, a text or an image out; the work is `janus_core.route` and `janus_core.reply`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="JanusAsk",
            display_name="Janus Ask",
            category=CATEGORY,
            description="Answers, draws, edits, or describes and draws anew, as the model understands the "
            "request.",
            is_output_node=True,
            hidden=[io.Hidden.unique_id, *WORKFLOW],
            inputs=[
                model_input("JanusFlow only answers here."),
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip="One picture that the request is about. Without it, the model answers or draws.",
                ),
                io.String.Input(
                    "request",
                    multiline=True,
                    default="Draw a red star and a blue circle on a white background.",
                    tooltip="A question, a picture to draw, a change to make, or the wish to have the image "
                    "described and drawn anew; this always asks for the same full description.",
                ),
                io.Combo.Input(
                    "task",
                    options=[AUTO, *ROUTED_TASKS],
                    default=AUTO,
                    tooltip="What the request asks for. With auto the model decides, and the node shows how "
                    "likely it held each task.",
                ),
                max_new_tokens_input(),
                seed_input("Start of the random draw of a picture. No effect on texts."),
                guidance_input(5.0, "request"),
                temperature_input(
                    1.0, "Of pictures: lower is less varied; 0 is greedy. Texts are always greedy."
                ),
            ],
            outputs=[
                io.String.Output(display_name="text", tooltip="Nodes behind it run only if there is a text."),
                io.Image.Output(display_name="image", tooltip="Nodes behind it run only if one was drawn."),
                io.String.Output(display_name="task", tooltip="What the request was taken to ask for."),
            ],
        )

    @classmethod
    def execute(
        cls, model: LoadedJanus, request: str, task: str, max_new_tokens: int, image=None, **drawing
    ) -> io.NodeOutput:
        text, sampling = TextSampling(max_new_tokens=max_new_tokens), TokenSampling(**drawing)
        decided = Route(chosen("task", task, (AUTO, *ROUTED_TASKS)), {})
        if task == AUTO:
            decided = route(model.pipeline, request, image)
        told, report = TextReport(model.pipeline, cls.hidden.unique_id), ImageReport(model.pipeline)
        said = reply(
            model.pipeline, request, image, decided.task, text, sampling,
            on_text=told, on_step=report, on_image=report.check,
        )  # fmt: skip
        if said.images is not None:
            report.show(said.images)
        none = torch.empty(0, 1, 1, 3)
        result = shown(cls, _report(decided, said.text), none if said.images is None else said.images)
        return io.NodeOutput(*_outputs(said), decided.task, ui=result)


def _outputs(said: Reply) -> list[object]:
    """Text and image; in place of what was not asked for, what keeps the nodes behind it from running."""
    images = None if said.images is None else said.images.to(mm.intermediate_device())
    return [ExecutionBlocker(None) if value is None else value for value in (said.text, images)]


def _report(decided: Route, text: str | None) -> list[str]:
    shares = ", ".join(f"{task} {share:.2f}" for task, share in decided.shares.items())
    return [f"{decided.task} ({shares})" if shares else decided.task, *([text] if text else [])]

"""Janus Ask: any request in words; the model decides between text, image generation and editing."""

import comfy.model_management as mm
import torch
from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker
from torch import Tensor

from ..janus_core import ROUTED_TASKS, Answer, JanusPipeline, Route, TextSampling, TokenSampling, reply, route
from . import widgets
from .choices import choice_input, resolve_choice
from .memory import LoadedJanus
from .newer_schema import found_by
from .own_values import given
from .progress import ImageReport, TextReport
from .result import WORKFLOW, answer_note, ui_output
from .sockets import checks_inputs

AUTO = "auto"
_TASKS = (AUTO, *ROUTED_TASKS)


class JanusAsk(io.ComfyNode):
    """Handles a request with `janus_core.route` and `janus_core.reply`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="JanusAsk",
            display_name="Janus Ask",
            category=widgets.CATEGORY,
            **found_by("JanusAsk"),
            description="Answers, generates, edits, or describes and redraws an image: the model decides "
            "which of these a request asks for.",
            is_output_node=True,
            hidden=[io.Hidden.unique_id, *WORKFLOW],
            inputs=[
                widgets.model_input("JanusFlow models can only answer."),
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip="A single image that the request is about. Without it, the model answers or "
                    "generates.",
                ),
                widgets.text_input(
                    "request",
                    "Draw a red star and a blue circle on a white background.",
                    "A question, a description of an image to generate, a change to make to the image, or a "
                    "request to describe and redraw it.",
                ),
                choice_input(
                    "task",
                    _TASKS,
                    "What the request asks for. With auto the model decides, and the node shows the "
                    "probability of each task.",
                ),
                widgets.max_new_tokens_input(),
                widgets.seed_input("Random seed of a generated image. No effect on text."),
                widgets.guidance_input(5.0, "request"),
                widgets.image_temperature_input(
                    "For images: lower values vary less; 0 is greedy. Text is always greedy."
                ),
            ],
            outputs=[
                io.String.Output(
                    display_name="text",
                    tooltip="An answer or description. Nodes connected here run only if there is one.",
                ),
                io.Image.Output(
                    display_name="image",
                    tooltip="A generated or edited image. Nodes connected here run only if there is one.",
                ),
                io.String.Output(display_name="task", tooltip="The task that was run."),
            ],
        )

    @classmethod
    @checks_inputs
    def execute(
        cls, model: LoadedJanus, request: str, task: str, max_new_tokens: int, image=None, **image_sampling
    ) -> io.NodeOutput:
        image_options = TokenSampling(**given(image_sampling))
        decision = Route(resolve_choice("task", task, _TASKS), {})
        if decision.task == AUTO:
            decision = route(model.pipeline, request, image)
        if decision.task != ROUTED_TASKS[0]:  # all others draw
            image_options = model.image_options(image_options)
        on_text = TextReport(model.pipeline, cls.hidden.unique_id)
        on_step = ImageReport(model.pipeline)
        result = reply(
            model.pipeline,
            request,
            image,
            decision.task,
            TextSampling(max_new_tokens=max_new_tokens),
            image_options,
            on_text=on_text,
            on_step=on_step,
            on_image=on_step.check,
        )
        if result.images is not None:
            on_step.show(result.images)
        drawn = torch.empty(0) if result.images is None else result.images
        summary = _summary(model.pipeline, decision, result.text, max_new_tokens)
        ui = ui_output(cls, summary, drawn, own=[image_options][: len(drawn)])
        return io.NodeOutput(_or_blocked(result.text), _or_blocked(result.images), decision.task, ui=ui)


def _or_blocked(value: str | Tensor | None) -> object:
    """An output, or if there is none, an object that keeps the nodes connected to it from running."""
    if value is None:
        return ExecutionBlocker(None)
    return value.to(mm.intermediate_device()) if isinstance(value, Tensor) else str(value)


def _summary(pipeline: JanusPipeline, decision: Route, text: Answer | None, max_new_tokens: int) -> list[str]:
    """The task with the probabilities of all tasks, then the text and the notes on it."""
    shares = ", ".join(f"{task} {share:.2f}" for task, share in decision.shares.items())
    parts = [f"{decision.task} ({shares})" if shares else decision.task, text]
    answers = [text] if text else []
    unfamiliar = [answer.unfamiliar for answer in answers]
    note = answer_note(pipeline, answers, unfamiliar, max_new_tokens)
    return [part for part in (*parts, note) if part]

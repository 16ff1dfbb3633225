"""Janus Understand: answers to questions about images, and conversations."""

import logging
from collections.abc import Callable

from comfy_api.latest import io
from torch import Tensor

from ..janus_core import (
    DEFAULT_SYSTEM_PROMPT,
    DESCRIBE_TO_DRAW,
    Conversation,
    TextSampling,
    VisionFeatures,
    json_text,
)
from . import widgets
from .choices import choice_input, resolve_choice
from .memory import LoadedJanus
from .newer_schema import found_by, rare
from .progress import TextReport
from .result import answer_note, ui_output
from .sockets import checks_inputs
from .types import JanusConversation

LOG = logging.getLogger(__name__)

# Options of the task widget, and the questions that they stand for.
OWN_QUESTION = "ask the question below"
TASKS = {
    OWN_QUESTION: None,
    "describe in detail": "Describe the image in detail.",
    "short caption": "Write a short caption for this image in one sentence.",
    "prompt for drawing": DESCRIBE_TO_DRAW,
    "list of tags": "List the objects, attributes and styles in this image as tags separated by commas.",
    "read the text": "Write down all the text that can be read in this image.",
    "formula to LaTeX": "Convert the formula into latex code.",
    "explain what is unusual": "What is unusual or funny about this image? Explain it.",
}

BATCHES = ONE_EACH, ALL_TOGETHER = "one answer per image", "one question about all images"
HISTORIES = CONTINUE, START_OVER = "continue", "start over, keep the images"
FORMATS = TEXT, JSON = "text", "JSON"
JSON_REQUEST = "\nAnswer with JSON only."
CONVERSATION_OUTPUT = 1  # index


def question_inputs(note: str = "") -> list[io.Input]:
    """A predefined task or the user's own question; `note` is added to the question's tooltip."""
    tooltip = f"Used if task is '{OWN_QUESTION}'. {note}".strip()
    return [
        choice_input("task", TASKS, "A predefined question, used instead of the one below, or your own."),
        widgets.text_input("question", "Describe the image in detail.", tooltip),
    ]


def resolve_question(task: str, question: str) -> str:
    """The question that a task stands for, or the user's own."""
    return TASKS[resolve_choice("task", task, TASKS)] or question


class JanusUnderstand(io.ComfyNode):
    """Answers questions with `JanusPipeline.converse`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="JanusUnderstand",
            display_name="Janus Understand",
            category=widgets.CATEGORY,
            **found_by("JanusUnderstand"),
            description="Answers questions about images: captions, tags, text recognition, prompts for "
            "image generation.",
            is_output_node=True,
            hidden=[io.Hidden.unique_id, io.Hidden.prompt],
            inputs=[
                widgets.model_input(),
                *widgets.image_or_features_inputs(),
                *question_inputs(
                    "Images come before it, unless it contains <image_placeholder> once per image."
                ),
                choice_input(
                    "batch",
                    BATCHES,
                    "With several images: ask about each one, or about all together.",
                    **rare(io.Combo.Input),
                ),
                *widgets.text_sampling_inputs(),
                widgets.text_input(
                    "system_prompt",
                    DEFAULT_SYSTEM_PROMPT,
                    "Text before the first question; empty for none. The default is the published one. A "
                    "connected conversation keeps its own.",
                    **rare(io.String.Input),
                ),
                JanusConversation.Input(
                    "conversation",
                    optional=True,
                    tooltip="A conversation to continue, from Janus Understand with the same checkpoint. "
                    "Images connected here are added to it with the question.",
                ),
                choice_input(
                    "history",
                    HISTORIES,
                    "Only with a conversation: continue it, or start over with its images and no earlier "
                    "questions. Either way its images are not encoded again, and up to 2 GB of its KV cache "
                    "is reused.",
                    optional=True,
                    **rare(io.Combo.Input),
                ),
                choice_input(
                    "answer_format",
                    FORMATS,
                    "JSON asks for JSON in the question, checks the answer, retries up to 3 times if it "
                    "contains none, and outputs only the JSON, on one line.",
                    optional=True,
                ),
            ],
            outputs=[
                io.String.Output(
                    display_name="answer", is_output_list=True, tooltip="A list with one answer per image."
                ),
                JanusConversation.Output(
                    display_name="conversation",
                    is_output_list=True,
                    tooltip="One conversation per answer, to be continued by another Janus Understand.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, history: str | None = CONTINUE) -> bool | str:
        """Replaces ComfyUI's check of `history`, which has values that were renamed; None if it is linked."""
        try:
            resolve_choice("history", CONTINUE if history is None else history, HISTORIES)
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    @checks_inputs
    def execute(
        cls,
        model: LoadedJanus,
        task: str,
        question: str,
        batch: str,
        system_prompt: str,
        image=None,
        features=None,
        conversation: Conversation | None = None,
        history: str = CONTINUE,
        answer_format: str = TEXT,
        **sampling,
    ) -> io.NodeOutput:
        images = _batched(widgets.image_or_features(image, features), batch)
        question, check = _formatted(resolve_question(task, question), answer_format)
        if resolve_choice("history", history, HISTORIES) == START_OVER and conversation is not None:
            conversation = conversation.before(0)
        options = TextSampling(**sampling)
        report = TextReport(model.pipeline, cls.hidden.unique_id)
        conversations = model.pipeline.converse(
            images,
            question,
            options,
            conversation=conversation,
            system_prompt=system_prompt if conversation is None else None,
            check=check,
            remember=_is_connected(cls.hidden, CONVERSATION_OUTPUT),
            on_step=report,
        )
        _log_tokens(conversations)
        answers = [each.answer for each in conversations]
        unfamiliar = [flag for each in conversations for flag in each.unfamiliar]
        note = answer_note(model.pipeline, answers, unfamiliar, options.max_new_tokens)
        ui = ui_output(cls, answers, note=note)
        return io.NodeOutput([*map(str, answers)], conversations, ui=ui)


def _batched(
    images: Tensor | VisionFeatures | None, batch: str
) -> Tensor | VisionFeatures | list[Tensor | VisionFeatures] | None:
    """The images as `JanusPipeline.converse` takes them: as a list if they belong to one question."""
    together = resolve_choice("batch", batch, BATCHES) == ALL_TOGETHER
    return list(images.split(1)) if together and images is not None else images


def _formatted(question: str, answer_format: str) -> tuple[str, Callable[[str], str] | None]:
    """The question with a request for the format, and the check of the answer."""
    if resolve_choice("answer_format", answer_format, FORMATS) == TEXT:
        return question, None
    # An empty question stays empty, so that it is refused.
    return question + JSON_REQUEST if question.strip() else question, json_text


def _is_connected(hidden: io.HiddenHolder, output: int) -> bool:
    """Whether an output of the running node is connected; True if the prompt is unknown.

    Args:
        hidden: with `unique_id` and `prompt`.
        output: its index.
    """
    prompt = hidden.prompt or {}
    inputs = [value for node in prompt.values() for value in node["inputs"].values()]
    return hidden.unique_id not in prompt or [hidden.unique_id, output] in inputs


def _log_tokens(conversations: list[Conversation]) -> None:
    """Logs how many prompt tokens were computed and how many came from the KV cache."""
    computed = sum(each.tokens_read for each in conversations)
    reused = sum(each.tokens_reused for each in conversations)
    LOG.info("Janus Understand processed %d prompt tokens and reused %d from its cache.", computed, reused)

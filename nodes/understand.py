"""Understand: images and a question to text, in conversations of any length."""

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
from .memory import LoadedJanus
from .progress import TextReport
from .result import shown
from .types import (
    CATEGORY,
    JanusConversation,
    chosen,
    is_taken,
    model_input,
    seen,
    seen_inputs,
    text_sampling_inputs,
)

LOG = logging.getLogger(__name__)

ASK = "ask the question below"

# Ready-made questions; the names are what the task widget offers.
TASKS = {
    ASK: None,
    "describe in detail": "Describe the image in detail.",
    "short caption": "Write a short caption for this image in one sentence.",
    "prompt for drawing": DESCRIBE_TO_DRAW,
    "list of tags": "List the objects, attributes and styles in this image as tags separated by commas.",
    "read the text": "Write down all the text that can be read in this image.",
    "formula to LaTeX": "Convert the formula into latex code.",
    "explain what is unusual": "What is unusual or funny about this image? Explain it.",
}

BATCHES = ONE_EACH, ALL_TOGETHER = "one answer per image", "one question about all images"
HISTORIES = GO_ON, ASK_AFRESH = "go on with its turns", "ask afresh about its images"
FORMATS = TEXT, JSON = "text", "JSON"
JSON_REQUEST = "\nAnswer with JSON only."
CONVERSATION_OUTPUT = 1


def question_inputs(note: str = "") -> list[io.Input]:
    """What is asked: a task, or a question of the user's own with a note about it."""
    return [
        io.Combo.Input(
            "task",
            options=list(TASKS),
            default=ASK,
            tooltip="A ready-made question, which takes the place of the one below, or your own.",
        ),
        io.String.Input(
            "question",
            multiline=True,
            default="Describe the image in detail.",
            tooltip=f"Asked if task is '{ASK}'. {note}".strip(),
        ),
    ]


class JanusUnderstand(io.ComfyNode):
    """Images and a question in, answers out; the work is `JanusPipeline.understand`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="JanusUnderstand",
            display_name="Janus Understand",
            category=CATEGORY,
            description="Answers questions about images: captions, tags, text in pictures, prompts for "
            "drawing.",
            is_output_node=True,
            hidden=[io.Hidden.unique_id, io.Hidden.prompt],
            inputs=[
                model_input(),
                *seen_inputs("Without image and features, only the question is asked."),
                *question_inputs(
                    "Images stand before it, unless it holds <image_placeholder> once per image "
                    "where they should stand."
                ),
                io.Combo.Input(
                    "batch",
                    options=list(BATCHES),
                    default=ONE_EACH,
                    tooltip="Several images: ask the question of each, or show all of them in one question.",
                ),
                *text_sampling_inputs(),
                io.String.Input(
                    "system_prompt",
                    multiline=True,
                    default=DEFAULT_SYSTEM_PROMPT,
                    tooltip="Stands before the conversation; empty for none. The default is the models' own. "
                    "A connected conversation keeps its own.",
                ),
                JanusConversation.Input(
                    "conversation",
                    optional=True,
                    tooltip="From Janus Understand with the same checkpoint: the question is asked after "
                    "what was said there. Images connected here enter with it.",
                ),
                io.Combo.Input(
                    "history",
                    options=list(HISTORIES),
                    default=GO_ON,
                    optional=True,
                    tooltip="Only with a conversation: go on with it, or ask about its images as if nothing "
                    "had been said. Images are not encoded again, and what was read of them is kept up "
                    "to 2 GB, for the same precision and device.",
                ),
                io.Combo.Input(
                    "answer_format",
                    options=list(FORMATS),
                    default=TEXT,
                    optional=True,
                    tooltip="JSON adds a request for it to the question, checks the answer, asks up to 3 "
                    "times more if it holds none, and gives the JSON alone, on one line.",
                ),
            ],
            outputs=[
                io.String.Output(
                    display_name="answer", is_output_list=True, tooltip="One text per image, as a list."
                ),
                JanusConversation.Output(
                    display_name="conversation",
                    is_output_list=True,
                    tooltip="What was said, for another Janus Understand to go on with; one per answer.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls, model: LoadedJanus, task, question, batch, system_prompt, image=None, features=None,
        conversation=None, history=GO_ON, answer_format=TEXT, **options,
    ) -> io.NodeOutput:  # fmt: skip
        images = _images(image, features, chosen("batch", batch, BATCHES) == ALL_TOGETHER)
        question, check = _asked(TASKS[chosen("task", task, TASKS)] or question, answer_format)
        past, system_prompt = _past(conversation, history, system_prompt)
        sampling = TextSampling(**options)
        report = TextReport(model.pipeline, cls.hidden.unique_id)
        said = model.pipeline.converse(
            images, question, sampling, conversation=past, system_prompt=system_prompt, check=check,
            remember=is_taken(cls.hidden, CONVERSATION_OUTPUT), on_step=report,
        )  # fmt: skip
        _log_tokens(said)
        answers = [conversation.answer for conversation in said]
        return io.NodeOutput(answers, said, ui=shown(cls, answers))


def _asked(question: str, answer_format: str) -> tuple[str, Callable[[str], str] | None]:
    """The question as it is put, and the check that its answer has to stand."""
    if chosen("answer_format", answer_format, FORMATS) == TEXT:
        return question, None
    return question + JSON_REQUEST if question.strip() else question, json_text


def _past(
    conversation: Conversation | None, history: str, system_prompt: str
) -> tuple[Conversation | None, str | None]:
    """What of a conversation is gone on with, and the system prompt of a new one."""
    afresh = chosen("history", history, HISTORIES) == ASK_AFRESH
    if conversation is None:
        return None, system_prompt
    return conversation.before(0) if afresh else conversation, None


def _log_tokens(said: list[Conversation]) -> None:
    """Tells how much of the prompts had to be read."""
    read, reused = (sum(getattr(each, name) for each in said) for name in ("tokens_read", "tokens_reused"))
    LOG.info("Janus Understand read %d tokens, and knew %d from before.", read, reused)


def _images(
    image: Tensor | None, features: VisionFeatures | None, together: bool
) -> Tensor | VisionFeatures | list[Tensor | VisionFeatures] | None:
    """What is connected, as `JanusPipeline.understand` takes it."""
    images = seen(image, features)
    return list(images.split(1)) if together and images is not None else images

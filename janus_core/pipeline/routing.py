"""Free-form requests: the model decides which task a request asks for, then the task runs."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from torch import Tensor

from ..arguments import checked_text, shown
from ..sampling.image_sampler import IMAGE_SAMPLERS
from ..sampling.options import EditSampling, TextSampling, TokenSampling
from ..sampling.steps import OnImage, OnStep, ignore_image, ignore_step
from .answer import Answer
from .inputs import checked_images
from .pipeline import JanusPipeline

# The tasks, in the order of the letters that the model answers with.
TASKS = UNDERSTAND, GENERATE, EDIT, DESCRIBE_AND_GENERATE = (
    "understand",
    "generate",
    "edit",
    "describe and generate",
)
LETTERS = "ABCD"

# The question whose answer is drawn by "describe and generate".
DESCRIBE = (
    "Describe this image as a prompt for an image generator: the subject, the scene, the style, the light "
    "and the colours, in one paragraph."
)

_QUESTION = (
    "Request: {request}\n"
    "What does this request ask for?\n"
    "A. Words\n"
    "B. A new picture\n"
    "C. A changed picture\n"
    "D. Words, then a new picture\n"
    "Answer with the letter."
)


@dataclass(frozen=True)
class Route:
    """The task that a request was classified as.

    Attributes:
        task: one of `TASKS`.
        shares: probability of each possible task; they sum to 1.
    """

    task: str
    shares: dict[str, float]


@dataclass(frozen=True)
class Reply:
    """The result of a request.

    Attributes:
        text: an answer or a description, with how it ended; None for tasks without text.
        images: [B, H, W, 3] in [0, 1]; None for tasks without images.
    """

    text: Answer | None = None
    images: Tensor | None = None


def routing_question(request: str) -> str:
    """A multiple-choice question about the request; its answer is the letter of a task.

    Raises:
        ValueError: if the request is empty.
    """
    return _QUESTION.format(request=checked_text("request", request, "say what you want").strip())


def possible_tasks(pipeline: JanusPipeline, image: Tensor | None) -> list[str]:
    """The tasks that this model can do with or without an image."""
    if IMAGE_SAMPLERS[type(pipeline.model.generation)].options is not TokenSampling:
        return [UNDERSTAND]
    if image is None:
        return [UNDERSTAND, GENERATE]
    return [task for task in TASKS if task != EDIT or pipeline.edit_form is not None]


def route(pipeline: JanusPipeline, request: str, image: Tensor | None = None) -> Route:
    """Lets the model classify a request, by the probabilities of the letters of all possible tasks.

    Args:
        pipeline: the model.
        request: free text.
        image: [1, H, W, C] that comes with it. Its content is not used, only that there is one.
    """
    _check_image(image)
    question, tasks = routing_question(request), possible_tasks(pipeline, image)
    if len(tasks) == 1:
        return Route(tasks[0], {tasks[0]: 1.0})
    letters = [LETTERS[TASKS.index(task)] for task in tasks]
    (shares,) = pipeline.choose(None, question, letters).tolist()
    return Route(tasks[shares.index(max(shares))], dict(zip(tasks, shares, strict=True)))


def reply(
    pipeline: JanusPipeline,
    request: str,
    image: Tensor | None,
    task: str,
    text: TextSampling | None = None,
    drawing: TokenSampling | None = None,
    *,
    on_text: OnStep = ignore_step,
    on_step: OnStep = ignore_step,
    on_image: OnImage = ignore_image,
) -> Reply:
    """Runs one task for a request.

    Args:
        pipeline: the model; one that generates image tokens, if the task draws.
        request: the question, the description of an image, or the change to make.
        image: [1, H, W, C] in [0, 1] that comes with it.
        task: one of `TASKS`, such as `route` returns.
        text: length and randomness of an answer or a description.
        drawing: how images are drawn; the checkpoint's own by default.
        on_text: called after every step of the text; raise to cancel.
        on_step: called after every token of an image; raise to cancel.
        on_image: called after every decoded image; raise to cancel.

    Raises:
        ValueError: if there is no such task, or it needs an image and there is none.
    """
    checked_text("request", request, "say what you want")
    if not isinstance(task, str) or task not in TASKS:
        raise ValueError(f"task must be one of {', '.join(TASKS)}, got {shown(task)}; choose one of these")
    if image is None and task in (EDIT, DESCRIBE_AND_GENERATE):
        raise ValueError(f"image must be given for task {task!r}, got none; pass one, or choose another task")
    _check_image(image)
    if task == UNDERSTAND:
        return Reply(pipeline.understand(image, request, text, on_step=on_text)[0])
    # Before a description is written, so that options for another kind of model cost nothing.
    pipeline.image_options(EditSampling() if task == EDIT else drawing)
    if task == GENERATE:
        return Reply(None, pipeline.generate(request, drawing, on_step=on_step, on_image=on_image).images)
    assert image is not None  # checked above
    if task == EDIT:
        options = EditSampling(**asdict(pipeline.image_options(drawing)))
        return Reply(None, pipeline.edit(image, request, options, on_step=on_step, on_image=on_image).images)
    (answer,) = pipeline.understand(image, DESCRIBE, text, on_step=on_text)
    # The model may spell out a placeholder, which has no meaning in a description.
    description = answer.replace(pipeline.prompts.tokenizer.special.image, "").strip()
    if not description:
        raise RuntimeError(
            "model must describe the image to draw it, got an empty answer; choose another task"
        )
    drawn = pipeline.generate(description, drawing, on_step=on_step, on_image=on_image)
    return Reply(Answer(description, answer.finish_reason, answer.unfamiliar), drawn.images)


def _check_image(image: Tensor | None) -> None:
    if image is not None and len(checked_images(image)) != 1:
        raise ValueError(f"image must be a single image, got {len(image)}; ask about one at a time")

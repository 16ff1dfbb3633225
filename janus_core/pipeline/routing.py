"""One free request: what it asks for, and doing that."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from torch import Tensor

from ..sampling import IMAGE_SAMPLERS
from ..sampling.options import EditSampling, TextSampling, TokenSampling
from ..sampling.steps import OnImage, OnStep, ignore_image, ignore_step
from .inputs import checked_images
from .pipeline import JanusPipeline

# What can be asked for, in the order of the letters that the model answers with.
TASKS = UNDERSTAND, GENERATE, EDIT, DESCRIBE_AND_GENERATE = (
    "understand",
    "generate",
    "edit",
    "describe and generate",
)
LETTERS = "ABCD"

# What a picture is asked that is to be drawn again.
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
    """What a request is taken to ask for.

    Attributes:
        task: one of `TASKS`.
        shares: how likely the model holds each task that is possible; they sum to 1.
    """

    task: str
    shares: dict[str, float]


@dataclass(frozen=True)
class Reply:
    """What a request got.

    Attributes:
        text: an answer or a description; None if none was asked for.
        images: [1, H, W, 3] in [0, 1]; None if none was asked for.
    """

    text: str | None = None
    images: Tensor | None = None


def routing_question(request: str) -> str:
    """The question whose answer is the letter of a task, as multiple-choice tests of such models ask.

    Raises:
        ValueError: if there is no request.
    """
    if not isinstance(request, str) or not request.strip():
        raise ValueError(f"request must hold text, got {request!r}; say what you want")
    return _QUESTION.format(request=request.strip())


def possible_tasks(pipeline: JanusPipeline, image: Tensor | None) -> list[str]:
    """Tasks that what is given allows: without an image, none that needs one; drawing where a model can."""
    if IMAGE_SAMPLERS[type(pipeline.model.generation)].options is not TokenSampling:
        return [UNDERSTAND]
    if image is None:
        return [UNDERSTAND, GENERATE]
    return [task for task in TASKS if task != EDIT or pipeline.edit_form is not None]


def route(pipeline: JanusPipeline, request: str, image: Tensor | None = None) -> Route:
    """Lets the model tell what a request asks for, by the likelihood of the letters of all possible tasks.

    Args:
        pipeline: the model.
        request: anything, in words.
        image: [1, H, W, C] that comes with it. It is not looked at, but without one there is nothing to edit.
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
    """Does what a request asks for, and nothing else.

    Args:
        pipeline: the model; to draw, one that draws by tokens.
        request: the question, the description of a picture, or what to change.
        image: [1, H, W, C] in [0, 1] that comes with it.
        task: one of `TASKS`, such as `route` found.
        text: how an answer or a description is written.
        drawing: how a picture is drawn; its `batch_size` pictures are of one description. By default the
            checkpoint's own.
        on_text: told of each step of the text; may raise to cancel.
        on_step: told of each token of a picture; may raise to cancel.
        on_image: told of each image that became pixels; may raise to cancel.

    Raises:
        ValueError: if the task is none, or needs an image that is not there.
    """
    if task not in TASKS:
        raise ValueError(f"task must be one of {', '.join(TASKS)}, got {task!r}; choose one of these")
    if image is None and task in (EDIT, DESCRIBE_AND_GENERATE):
        raise ValueError(f"image must be given for task {task!r}, got none; pass one, or choose another task")
    _check_image(image)
    if task == UNDERSTAND:
        return Reply(pipeline.understand(image, request, text, on_step=on_text)[0])
    if task == GENERATE:
        return Reply(None, pipeline.generate(request, drawing, on_step=on_step, on_image=on_image).images)
    assert image is not None  # checked above
    if task == EDIT:
        options = EditSampling(**asdict(pipeline.image_options(drawing)))
        return Reply(None, pipeline.edit(image, request, options, on_step=on_step, on_image=on_image).images)
    (told,) = pipeline.understand(image, DESCRIBE, text, on_step=on_text)
    described = told.replace(pipeline.prompts.tokenizer.special.image, "").strip()
    if not described:
        raise RuntimeError(
            "model must describe the image to draw it, got an empty answer; choose another task"
        )
    return Reply(described, pipeline.generate(described, drawing, on_step=on_step, on_image=on_image).images)


def _check_image(image: Tensor | None) -> None:
    if image is not None and len(checked_images(image)) != 1:
        raise ValueError(f"image must be one picture, got {len(image)}; ask about one after the other")

"""Understand: images and a question to text."""

from comfy_api.latest import io, ui
from torch import Tensor

from ..janus_core import DEFAULT_SYSTEM_PROMPT, TextSampling, VisionFeatures, memory_to_understand
from .memory import LoadedJanus
from .progress import TextReport
from .types import (
    CATEGORY,
    chosen,
    model_input,
    seen,
    seen_inputs,
    text_sampling_inputs,
)

ASK = "ask the question below"

# Ready-made questions; the names are what the task widget offers.
TASKS = {
    ASK: None,
    "describe in detail": "Describe the image in detail.",
    "short caption": "Write a short caption for this image in one sentence.",
    "prompt for drawing": "Describe this image as a prompt for an image generator: the subject, the scene, "
    "the style, the light and the colours, in one paragraph.",
    "list of tags": "List the objects, attributes and styles in this image as tags separated by commas.",
    "read the text": "Write down all the text that can be read in this image.",
    "formula to LaTeX": "Convert the formula into latex code.",
    "explain what is unusual": "What is unusual or funny about this image? Explain it.",
}

BATCHES = ONE_EACH, ALL_TOGETHER = "one answer per image", "one question about all images"


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
            hidden=[io.Hidden.unique_id],
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
                    tooltip="Stands before the conversation; empty for none. The default is the models' own.",
                ),
            ],
            outputs=[
                io.String.Output(
                    display_name="answer", is_output_list=True, tooltip="One text per image, as a list."
                )
            ],
        )

    @classmethod
    def execute(
        cls, model: LoadedJanus, task, question, batch, system_prompt, image=None, features=None, **options
    ) -> io.NodeOutput:
        images = _images(image, features, chosen("batch", batch, BATCHES) == ALL_TOGETHER)
        question, sampling = TASKS[chosen("task", task, TASKS)] or question, TextSampling(**options)
        pipeline = model.ready(
            memory_to_understand(model.pipeline, images, question + system_prompt, sampling)
        )
        report = TextReport(pipeline, cls.hidden.unique_id)
        answers = pipeline.understand(images, question, sampling, system_prompt=system_prompt, on_step=report)
        report.show(answers)
        return io.NodeOutput(answers, ui=ui.PreviewText("\n\n".join(answers)))


def _images(
    image: Tensor | None, features: VisionFeatures | None, together: bool
) -> Tensor | VisionFeatures | list[Tensor | VisionFeatures] | None:
    """What is connected, as `JanusPipeline.understand` takes it."""
    images = seen(image, features)
    return list(images.split(1)) if together and images is not None else images

"""Janus Score and Janus Choose: probabilities of given answers about images."""

from comfy_api.latest import io

from . import widgets
from .memory import LoadedJanus
from .newer_schema import found_by, rare
from .progress import progress_callback
from .result import ui_output, unfamiliar_note
from .sockets import checks_inputs


class JanusScore(io.ComfyNode):
    """Scores images against a description with `JanusPipeline.score`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="JanusScore",
            display_name="Janus Score",
            category=widgets.CATEGORY,
            **found_by("JanusScore"),
            description="Scores how well images match a description, as judged by the model.",
            is_output_node=True,
            inputs=[
                widgets.model_input(),
                *widgets.image_or_features_inputs("Connect this or features."),
                widgets.text_input(
                    "description",
                    widgets.EXAMPLE_PROMPT,
                    "What the images should show, such as the prompt they were generated from.",
                ),
                widgets.template_input(),
            ],
            outputs=[widgets.score_output()],
        )

    @classmethod
    @checks_inputs
    def execute(
        cls, model: LoadedJanus, description: str, template: str, image=None, features=None
    ) -> io.NodeOutput:
        images = widgets.image_or_features(image, features)
        scores = model.pipeline.score(images, description, template=template, on_image=progress_callback())
        note = unfamiliar_note(model.pipeline, model.pipeline.are_unfamiliar(images))
        ui = ui_output(cls, [f"{score:.4f}" for score in scores], note=note)
        return io.NodeOutput(scores.tolist(), ui=ui)


class JanusChoose(io.ComfyNode):
    """Chooses among given answers with `JanusPipeline.choose`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="JanusChoose",
            display_name="Janus Choose",
            category=widgets.CATEGORY,
            **found_by("JanusChoose"),
            description="Answers a question about images with the most likely of the given options.",
            is_output_node=True,
            inputs=[
                widgets.model_input(),
                *widgets.image_or_features_inputs(),
                widgets.text_input(
                    "question",
                    "What colour is the background?",
                    "Asked about each image. The model sees the options only if the question contains them.",
                ),
                widgets.text_input(
                    "options",
                    "white\ngrey\nblack",
                    "Possible answers, one per line: at least two, without duplicates.",
                ),
                io.Boolean.Input(
                    "per_token",
                    default=False,
                    tooltip="Off: compares the probabilities of whole options. On: compares the mean "
                    "log-probability per token, so that long options are not at a disadvantage.",
                    **rare(io.Boolean.Input),
                ),
            ],
            outputs=[
                io.String.Output(
                    display_name="choice",
                    is_output_list=True,
                    tooltip="A list with the most likely option for each image.",
                ),
                io.Float.Output(
                    display_name="probabilities",
                    is_output_list=True,
                    tooltip="A list with the probability of each option, from 0 to 1, in their order; with "
                    "several images, one image after the other.",
                ),
            ],
        )

    @classmethod
    @checks_inputs
    def execute(
        cls, model: LoadedJanus, question: str, options: str, per_token: bool, image=None, features=None
    ) -> io.NodeOutput:
        images = widgets.image_or_features(image, features)
        answers = [line.strip() for line in options.splitlines() if line.strip()]
        probabilities = model.pipeline.choose(
            images, question, answers, per_token=per_token, on_image=progress_callback()
        )
        choices = [answers[index] for index in probabilities.argmax(dim=1).tolist()]
        note = unfamiliar_note(model.pipeline, model.pipeline.are_unfamiliar(images))
        ui = ui_output(cls, [_table(answers, row) for row in probabilities.tolist()], note=note)
        return io.NodeOutput(choices, probabilities.flatten().tolist(), ui=ui)


def _table(answers: list[str], probabilities: list[float]) -> str:
    """A line for each answer."""
    return "\n".join(
        f"{probability:.4f} {answer}" for probability, answer in zip(probabilities, answers, strict=True)
    )

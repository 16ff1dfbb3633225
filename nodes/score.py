"""Score and Choose: what the model holds to be true of images, as numbers."""

from comfy_api.latest import io

from .memory import LoadedJanus
from .progress import report_count
from .result import shown
from .types import CATEGORY, model_input, seen, seen_inputs, template_input


class JanusScore(io.ComfyNode):
    """Images and a description in, scores out; the work is `JanusPipeline.score`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="JanusScore",
            display_name="Janus Score",
            category=CATEGORY,
            description="Tells how well images match a description, in the model's own judgement.",
            is_output_node=True,
            inputs=[
                model_input(),
                *seen_inputs("Connect this or features."),
                io.String.Input(
                    "description",
                    multiline=True,
                    default="A red star and a blue circle on a white background.",
                    tooltip="What the images should show, such as the prompt that they were drawn from.",
                ),
                template_input(),
            ],
            outputs=[
                io.Float.Output(
                    display_name="score",
                    is_output_list=True,
                    tooltip="One number from 0 to 1 per image, as a list: the share of Yes against No.",
                )
            ],
        )

    @classmethod
    def execute(
        cls, model: LoadedJanus, description: str, template: str, image=None, features=None
    ) -> io.NodeOutput:
        images = seen(image, features)
        scores = model.pipeline.score(
            images, description, template=template, on_image=report_count()
        ).tolist()
        return io.NodeOutput(scores, ui=shown(cls, [f"{score:.4f}" for score in scores]))


class JanusChoose(io.ComfyNode):
    """Images, a question and answers in, the likeliest out; the work is `JanusPipeline.choose`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="JanusChoose",
            display_name="Janus Choose",
            category=CATEGORY,
            description="Answers a question about images with one of the answers that you give.",
            is_output_node=True,
            inputs=[
                model_input(),
                *seen_inputs("Without image and features, only the question is asked."),
                io.String.Input(
                    "question",
                    multiline=True,
                    default="What colour is the background?",
                    tooltip="Asked of each image. The options are not shown to the model: write them into "
                    "the question if it should know them.",
                ),
                io.String.Input(
                    "options",
                    multiline=True,
                    default="white\ngrey\nblack",
                    tooltip="Answers to choose from, one per line: at least two, and none of them twice.",
                ),
                io.Boolean.Input(
                    "per_token",
                    default=False,
                    tooltip="Off: options are compared by how likely the whole of each is. On: by the mean "
                    "over their tokens, so that long options are not at a disadvantage.",
                ),
            ],
            outputs=[
                io.String.Output(
                    display_name="choice",
                    is_output_list=True,
                    tooltip="The likeliest option, one per image, as a list.",
                ),
                io.Float.Output(
                    display_name="probabilities",
                    is_output_list=True,
                    tooltip="Of all options in their order, from 0 to 1; for several images one image after "
                    "the other.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls, model: LoadedJanus, question: str, options: str, per_token: bool, image=None, features=None
    ) -> io.NodeOutput:
        images = seen(image, features)
        answers = [line.strip() for line in options.splitlines() if line.strip()]
        shares = model.pipeline.choose(
            images, question, answers, per_token=per_token, on_image=report_count()
        ).tolist()
        best = [answers[row.index(max(row))] for row in shares]
        tables = [_table(answers, row) for row in shares]
        return io.NodeOutput(best, [share for row in shares for share in row], ui=shown(cls, tables))


def _table(answers: list[str], shares: list[float]) -> str:
    """A line for each answer."""
    return "\n".join(f"{share:.4f} {answer}" for answer, share in zip(answers, shares, strict=True))

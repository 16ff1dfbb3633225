"""Janus Think and Draw: images drawn with reasoning in words, before the image or after it."""

from dataclasses import replace

import comfy.model_management as mm
from comfy_api.latest import io

from ..janus_core import MAX_SEED, THINKING_FORM_CHOICES, JanusPipeline, TextSampling, TokenSampling
from . import widgets
from .choices import choice_input, resolve_choice
from .memory import LoadedJanus
from .newer_schema import found_by, rare
from .own_values import OWN, given
from .result import WORKFLOW, ui_output
from .sockets import checks_inputs
from .thoughts import DrawingReport, ThoughtReport, given_thought, shown_thoughts, thought_outputs, verdicts

FORM_TOOLTIP = (
    "How the model thinks. auto: as the checkpoint was trained to, detected by its name, else describe. "
    "describe works with any model: it describes the image, draws the description, judges the image, and "
    "draws it again if it does not match. The others are those of the fine-tunes with these names."
)


class JanusThinkAndDraw(io.ComfyNode):
    """Draws with `JanusPipeline.think_and_draw`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="JanusThinkAndDraw",
            display_name="Janus Think and Draw",
            category=widgets.CATEGORY,
            **found_by("JanusThinkAndDraw"),
            description="Generates images with reasoning in words: a thought before the image (T2I-R1, "
            "GoT-R1, ReasonGen-R1, any other token model), or a review after it (Janus-Pro-R1).",
            is_output_node=True,
            hidden=[io.Hidden.unique_id, *WORKFLOW],
            inputs=[
                widgets.model_input(widgets.NO_FLOW),
                widgets.text_input(
                    "prompt", widgets.EXAMPLE_PROMPT, "The image to generate, in whole sentences.", True
                ),
                choice_input("form", THINKING_FORM_CHOICES, FORM_TOOLTIP),
                widgets.seed_input("Random seed of thoughts and images; image i of a batch uses seed + i."),
                widgets.batch_size_input(
                    "Number of images, each with its own thought (got-r1: one for all)."
                ),
                io.Int.Input(
                    "rounds",
                    default=1,
                    min=0,
                    max=16,
                    tooltip="How often an image that does not match is drawn again, at most. The best one is "
                    "kept. 0: images are not judged. Above 1 only for describe and janus-pro-r1.",
                ),
                widgets.guidance_input(5.0),
                widgets.image_temperature_input(),
                *widgets.image_truncation_inputs(),
                *thinking_inputs(),
                io.String.Input(
                    "thought",
                    optional=True,
                    force_input=True,
                    tooltip="Draws from this thought instead of asking the model for one: such as one of "
                    "this node that you have edited. Not for janus-pro-r1.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The images; of several rounds, the best."),
                io.String.Output(
                    display_name="thought",
                    is_output_list=True,
                    tooltip="A list with the thought of each image; with janus-pro-r1, what it says of them.",
                ),
                io.Image.Output(display_name="first_image", tooltip="The images before any is drawn again."),
                io.Float.Output(
                    display_name="verdict",
                    is_output_list=True,
                    tooltip="A list with one number from 0 to 1 per image: the probability that it matches "
                    "the prompt. Nodes connected here run only if images are judged.",
                ),
                widgets.tokens_output(),
            ],
        )

    @classmethod
    @checks_inputs
    def execute(
        cls, model: LoadedJanus, prompt: str, form: str, rounds: int, question: str, thought=None, **sampling
    ) -> io.NodeOutput:
        form = resolve_choice("form", form, THINKING_FORM_CHOICES)
        texts = {name: sampling.pop(name) for name in THINKING_NAMES}
        options = model.image_options(TokenSampling(**given(sampling)))
        on_text = ThoughtReport(model.pipeline, cls.hidden.unique_id)
        on_step = DrawingReport(model.pipeline, on_text)
        drawn = model.pipeline.think_and_draw(
            prompt,
            form,
            options,
            thinking_options(model.pipeline, form, options.seed, **texts),
            rounds,
            given_thought(thought, model.pipeline),
            question=question if question.strip() else None,
            on_text=on_text,
            on_step=on_step,
            on_image=on_step.check,
        )
        on_step.show(drawn.images)
        shown = ui_output(cls, shown_thoughts(drawn), drawn.images, "\n".join(drawn.notes), [options])
        device = mm.intermediate_device()
        image, first_image, tokens = (
            each.to(device) for each in (drawn.images, drawn.first_images, drawn.tokens)
        )
        thoughts = thought_outputs(drawn, model.pipeline)
        return io.NodeOutput(image, thoughts, first_image, verdicts(drawn), tokens, ui=shown)


def thinking_inputs() -> list[io.Input]:
    """Options of the thoughts, by default those of the form."""
    return [
        widgets.text_input(
            "question",
            "",
            "Only for describe and t2i-r1: asks for the thought in these words, with {} in place of the "
            "prompt. Empty: reasoning_prompt.txt in the checkpoint's folder, or else one of this pack.",
            **rare(io.String.Input),
        ),
        io.Int.Input(
            "max_new_tokens",
            default=0,
            min=0,
            max=16384,
            tooltip="Maximum length of a thought in tokens of about 0.75 words. 0: the limit of the form.",
            **rare(io.Int.Input),
        ),
        io.Float.Input(
            "thought_temperature",
            default=OWN,
            min=OWN,
            max=5.0,
            step=0.05,
            tooltip="Sampling temperature of thoughts. 0 is greedy; higher values vary more. -1: that of the "
            "form.",
            **rare(io.Float.Input),
        ),
        io.Int.Input(
            "thought_top_k",
            default=OWN,
            min=OWN,
            max=200_000,
            tooltip="Thoughts sample only from the k likeliest tokens. 0 is off. -1: that of the form.",
            **rare(io.Int.Input),
        ),
        io.Int.Input(
            "thought_seed",
            default=OWN,
            min=OWN,
            max=MAX_SEED,
            tooltip="Random seed of thoughts, to vary them and the images apart. -1: the same as seed.",
            **rare(io.Int.Input),
        ),
    ]


THINKING_NAMES = ("max_new_tokens", "thought_temperature", "thought_top_k", "thought_seed")


def thinking_options(
    pipeline: JanusPipeline,
    form: str,
    seed: int,
    *,
    max_new_tokens: int,
    thought_temperature: float,
    thought_top_k: int,
    thought_seed: int,
) -> TextSampling:
    """The options of a form's thoughts, with those that the user has set."""
    own = pipeline.thinking_options(form, seed if thought_seed == OWN else thought_seed)
    return replace(
        own,
        max_new_tokens=max_new_tokens or own.max_new_tokens,
        temperature=own.temperature if thought_temperature == OWN else thought_temperature,
        top_k=own.top_k if thought_top_k == OWN else thought_top_k,
    )

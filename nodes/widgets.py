"""Inputs and outputs that several nodes share."""

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..janus_core import MAX_SEED, SCORE_TEMPLATE, VisionFeatures
from .newer_schema import rare
from .own_values import OWN
from .types import JanusFeatures, JanusModelSocket, JanusTokens

CATEGORY = "Janus"  # menu
OWN_VALUE = f"{OWN} is the checkpoint's own value, which the node shows after a run"
EXAMPLE_PROMPT = "A red star and a blue circle on a white background."
NO_FLOW = "JanusFlow models are not supported."  # note of nodes that work with image tokens


def model_input(note: str = "") -> io.Input:
    """The model socket; `note` says which models the node takes."""
    return JanusModelSocket.Input("model", tooltip=f"A model from Load Janus-Pro. {note}".strip())


def seed_input(
    tooltip: str = "Random seed; image i of a batch equals a single image with seed + i.",
) -> io.Input:
    """The seed, with the control that changes it after each run."""
    return io.Int.Input("seed", default=0, min=0, max=MAX_SEED, control_after_generate=True, tooltip=tooltip)


def batch_size_input(tooltip: str, default: int = 1) -> io.Input:
    """Number of images to generate."""
    return io.Int.Input("batch_size", default=default, min=1, max=256, tooltip=tooltip)


def text_input(name: str, default: str, tooltip: str, dynamic_prompts: bool = False, **more: Any) -> io.Input:
    """A multi-line text field; `more` as in `newer_schema.rare`."""
    return io.String.Input(
        name,
        multiline=True,
        default=default,
        dynamic_prompts=dynamic_prompts or None,
        tooltip=tooltip,
        **more,
    )


def fraction_input(name: str, default: float, tooltip: str, minimum: float = 0.0, **more: Any) -> io.Input:
    """A number up to 1; `more` as in `newer_schema.rare`."""
    return io.Float.Input(name, default=default, min=minimum, max=1.0, step=0.01, tooltip=tooltip, **more)


def own_float(
    name: str, maximum: float, step: float, tooltip: str, published: float, **more: Any
) -> io.Input:
    """A number that is the checkpoint's own by default; `published` is that of the released models."""
    tooltip += f" {OWN_VALUE} ({published:g} for the released models)."
    return io.Float.Input(name, default=OWN, min=OWN, max=maximum, step=step, tooltip=tooltip, **more)


def own_count(name: str, maximum: int, tooltip: str, published: int, **more: Any) -> io.Input:
    """The same for a whole number."""
    tooltip += f" {OWN_VALUE} ({published} for the released models)."
    return io.Int.Input(name, default=OWN, min=OWN, max=maximum, tooltip=tooltip, **more)


def guidance_input(published: float, condition: str = "prompt") -> io.Input:
    """The classifier-free guidance scale; `condition` is the text that is followed."""
    return own_float(
        "guidance_scale",
        30.0,
        0.1,
        f"Classifier-free guidance: how strongly the {condition} is followed. 1 turns guidance off and is "
        f"faster; 0 ignores the {condition}.",
        published,
    )


def image_temperature_input(tooltip: str = "Lower values vary less; 0 is greedy.") -> io.Input:
    """Sampling temperature of image tokens."""
    return own_float("temperature", 5.0, 0.05, tooltip, 1.0)


_TOP_K = "Samples only from the k likeliest tokens. 0 is off."
_TOP_P = "Samples only from the most likely tokens whose probabilities add up to this value. 1 is off."
_MOST_K = 200_000


def image_truncation_inputs() -> list[io.Input]:
    """Top-k and top-p sampling of image tokens."""
    return [
        own_count("top_k", _MOST_K, _TOP_K, 0, **rare(io.Int.Input)),
        own_float("top_p", 1.0, 0.01, _TOP_P, 1.0, **rare(io.Float.Input)),
    ]


def max_new_tokens_input() -> io.Input:
    """Maximum length of an answer."""
    return io.Int.Input(
        "max_new_tokens",
        default=512,
        min=1,
        max=16384,
        tooltip="Maximum length of the answer in tokens of about 0.75 words. The model may stop earlier.",
    )


def text_sampling_inputs() -> list[io.Input]:
    """Options of text generation, greedy by default."""
    return [
        max_new_tokens_input(),
        io.Float.Input(
            "temperature",
            default=0.0,
            min=0.0,
            max=5.0,
            step=0.05,
            tooltip="0 is greedy: always the most likely token. Higher values vary more.",
        ),
        seed_input("Random seed; image i uses seed + i. No effect at temperature 0."),
        io.Int.Input("top_k", default=0, min=0, max=_MOST_K, tooltip=_TOP_K, **rare(io.Int.Input)),
        fraction_input("top_p", 1.0, _TOP_P, 0.01, **rare(io.Float.Input)),
        fraction_input(
            "min_p",
            0.0,
            "Excludes tokens less likely than this fraction of the most likely one. 0 is off.",
            **rare(io.Float.Input),
        ),
        io.Float.Input(
            "repetition_penalty",
            default=1.0,
            min=0.5,
            max=2.0,
            step=0.01,
            tooltip="Values above 1 make tokens of the answer less likely to be repeated. 1 is off.",
            **rare(io.Float.Input),
        ),
    ]


def image_input() -> io.Input:
    """Images to encode."""
    return io.Image.Input(
        "image",
        tooltip="One or more images of any size. Each is letterboxed to the model's square input (384 "
        "pixels for the released models).",
    )


def image_or_features_inputs(
    without: str = "With neither image nor features, only the question is asked.",
) -> list[io.Input]:
    """Images or their features, both optional; `without` says what happens with neither."""
    return [
        io.Image.Input(
            "image",
            optional=True,
            tooltip="One or more images of any size. Each is letterboxed to the model's square input. "
            f"{without}",
        ),
        JanusFeatures.Input(
            "features",
            optional=True,
            tooltip="Features from SigLIP Encode in place of an image, to reuse one encoding in several "
            "nodes. Connecting both is an error.",
        ),
    ]


def image_or_features(
    image: Tensor | None, features: VisionFeatures | None
) -> Tensor | VisionFeatures | None:
    """The one of the two that is connected, or None.

    Raises:
        ValueError: if both are.
    """
    if image is not None and features is not None:
        raise ValueError("only one of image and features must be connected, got both; disconnect one of them")
    return features if image is None else image


def template_input() -> io.Input:
    """The question by which a model judges images."""
    return text_input(
        "template",
        SCORE_TEMPLATE,
        "The question to the model. It must contain {description} and be answerable with Yes or No.",
        **rare(io.String.Input),
    )


def generation_inputs(batch_size: int = 1) -> list[io.Input]:
    """Prompts, seed and number of images, which every kind of image generation takes."""
    return [
        text_input("prompt", EXAMPLE_PROMPT, "The image to generate, in whole sentences.", True),
        text_input(
            "negative_prompt",
            "",
            "What to avoid. If empty, guidance compares with a blank prompt, as in training. No effect at "
            "guidance_scale 1.",
            dynamic_prompts=True,
        ),
        seed_input(),
        batch_size_input("Number of images to generate from this prompt.", batch_size),
    ]


def token_generation_inputs(batch_size: int = 1) -> list[io.Input]:
    """Options of image generation token by token."""
    return [
        *generation_inputs(batch_size),
        guidance_input(5.0),
        image_temperature_input(),
        *image_truncation_inputs(),
    ]


def tokens_output() -> io.Output:
    """Generated images as tokens."""
    return JanusTokens.Output(display_name="tokens", tooltip="The images as image tokens, for VQ Decode.")


def score_output() -> io.Output:
    """Scores of images."""
    return io.Float.Output(
        display_name="score",
        is_output_list=True,
        tooltip="A list with one score from 0 to 1 per image: the probability of Yes against No.",
    )

"""What the nodes share: the menu they stand in, the sockets between them, inputs that several have."""

from collections.abc import Iterable

from comfy_api.latest import io
from torch import Tensor

from ..janus_core import MAX_SEED, SCORE_TEMPLATE, VisionFeatures

CATEGORY = "Janus"

JanusModelSocket = io.Custom("JANUS_PIPELINE")
"""Carries a `memory.LoadedJanus`."""

JanusFeatures = io.Custom("JANUS_VISION_FEATURES")
"""Carries a `VisionFeatures`."""

JanusConversation = io.Custom("JANUS_CONVERSATION")
"""Carries a `Conversation`."""

JanusTokens = io.Custom("JANUS_IMAGE_TOKENS")
"""Carries codebook ids, an int64 tensor [B, N]."""


def chosen(name: str, value: str, options: Iterable[str]) -> str:
    """The same value, if a combo offers it: older ComfyUI passes on whatever a workflow holds.

    Raises:
        ValueError: if it does not.
    """
    if value not in options:
        raise ValueError(f"{name} must be one of {', '.join(options)}, got {value!r}; choose one of these")
    return value


def is_taken(hidden: io.HiddenHolder, output: int) -> bool:
    """Whether another node takes an output of the running one; True where the prompt does not tell.

    Args:
        hidden: with `unique_id` and `prompt`.
        output: its number.
    """
    prompt = hidden.prompt or {}
    links = [value for node in prompt.values() for value in node["inputs"].values()]
    return hidden.unique_id not in prompt or [hidden.unique_id, output] in links


NO_FLOW = "JanusFlow is refused."
"""Note on the model of nodes that need image tokens."""


def model_input(note: str = "") -> io.Input:
    """The model socket, with a note on which models the node takes."""
    return JanusModelSocket.Input("model", tooltip=f"A model from Load Janus-Pro. {note}".strip())


def seed_input(tooltip: str) -> io.Input:
    """The seed widget, with the control that changes it after each run."""
    return io.Int.Input("seed", default=0, min=0, max=MAX_SEED, control_after_generate=True, tooltip=tooltip)


def temperature_input(default: float, tooltip: str) -> io.Input:
    """The temperature widget."""
    return io.Float.Input("temperature", default=default, min=0.0, max=5.0, step=0.05, tooltip=tooltip)


def top_k_input() -> io.Input:
    """The top_k widget, off by default."""
    return io.Int.Input(
        "top_k", default=0, min=0, max=200_000, tooltip="Draws from the k likeliest tokens only. 0 keeps all."
    )


def top_p_input() -> io.Input:
    """The top_p widget, off by default."""
    return io.Float.Input(
        "top_p",
        default=1.0,
        min=0.01,
        max=1.0,
        step=0.01,
        tooltip="Draws from the fewest tokens whose probabilities sum to this share. 1 keeps all.",
    )


def image_input() -> io.Input:
    """Images to look at."""
    return io.Image.Input(
        "image",
        tooltip="One or more images of any size; each is letterboxed to the model's own square (384 pixels "
        "of the released models).",
    )


def seen_inputs(without: str) -> list[io.Input]:
    """Images to ask about, or features of them; with a note on what happens without both."""
    return [
        io.Image.Input(
            "image",
            optional=True,
            tooltip="One or more images of any size; each is letterboxed to the model's own square. "
            f"{without}",
        ),
        JanusFeatures.Input(
            "features",
            optional=True,
            tooltip="From SigLIP Encode, in place of an image: one encoding serves many questions. Both at "
            "once are an error.",
        ),
    ]


def seen(image: Tensor | None, features: VisionFeatures | None) -> Tensor | VisionFeatures | None:
    """Which of these is connected, if one is.

    Raises:
        ValueError: if both are.
    """
    if image is not None and features is not None:
        raise ValueError("only one of image and features must be connected, got both; disconnect one of them")
    return features if image is None else image


def max_new_tokens_input() -> io.Input:
    """How long an answer may be."""
    return io.Int.Input(
        "max_new_tokens",
        default=512,
        min=1,
        max=16384,
        tooltip="Longest answer, in tokens (about 0.75 words each). The model may stop earlier.",
    )


def text_sampling_inputs() -> list[io.Input]:
    """How a text is written."""
    return [
        max_new_tokens_input(),
        temperature_input(0.0, "0 always takes the likeliest word; above 0, the larger the more varied."),
        seed_input("Start of the random draw; image i uses seed + i. No effect at temperature 0."),
        top_k_input(),
        top_p_input(),
        io.Float.Input(
            "min_p",
            default=0.0,
            min=0.0,
            max=1.0,
            step=0.01,
            tooltip="Drops tokens less likely than this share of the likeliest. 0 drops none.",
        ),
        io.Float.Input(
            "repetition_penalty",
            default=1.0,
            min=0.5,
            max=2.0,
            step=0.01,
            tooltip="Above 1, words of the answer are less likely to be said again. 1 is off.",
        ),
    ]


def template_input() -> io.Input:
    """How the model is asked to judge."""
    return io.String.Input(
        "template",
        multiline=True,
        default=SCORE_TEMPLATE,
        tooltip="The question that the model is asked, with {description} in it. It must be one to answer "
        "with Yes or No.",
    )


def drawing_inputs(batch_size: int = 1) -> list[io.Input]:
    """What every way of drawing takes first: descriptions, seed and number of images."""
    return [
        io.String.Input(
            "prompt",
            multiline=True,
            dynamic_prompts=True,
            default="A red star and a blue circle on a white background.",
            tooltip="What to draw, in whole sentences.",
        ),
        io.String.Input(
            "negative_prompt",
            multiline=True,
            dynamic_prompts=True,
            default="",
            tooltip="What to move away from. Empty is the unconditional row that the models were trained "
            "with. It needs a guidance_scale other than 1.",
        ),
        seed_input("Start of the random draw; image i of a batch is the single image of seed + i."),
        batch_size_input("Images to draw of this prompt.", batch_size),
    ]


def batch_size_input(tooltip: str, default: int = 1) -> io.Input:
    """How many images are drawn."""
    return io.Int.Input("batch_size", default=default, min=1, max=256, tooltip=tooltip)


def guidance_input(default: float, followed: str = "prompt") -> io.Input:
    """The guidance widget, at what a way of drawing was published with; and the input that it follows."""
    return io.Float.Input(
        "guidance_scale",
        default=default,
        min=0.0,
        max=30.0,
        step=0.1,
        tooltip=f"How strongly the {followed} is followed; the models' own is {default:g}. 1 is without "
        f"guidance and takes less work; 0 ignores the {followed}.",
    )


def token_drawing_inputs(batch_size: int = 1) -> list[io.Input]:
    """What drawing token by token takes."""
    return [
        *drawing_inputs(batch_size),
        guidance_input(5.0),
        temperature_input(1.0, "1 is what the models were trained for; lower is less varied; 0 is greedy."),
        top_k_input(),
        top_p_input(),
    ]

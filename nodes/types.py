"""What the nodes share: the menu they stand in, the sockets between them, inputs that several have."""

from collections.abc import Iterable

from comfy_api.latest import io

from ..janus_core import MAX_SEED

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


def model_input() -> io.Input:
    """The model socket."""
    return JanusModelSocket.Input("model", tooltip="A model from Load Janus-Pro.")


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
        tooltip="One or more images of any size; each is letterboxed to the model's square (384 pixels).",
    )


def drawing_inputs() -> list[io.Input]:
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
        batch_size_input("Images to draw of this prompt."),
    ]


def batch_size_input(tooltip: str) -> io.Input:
    """How many images are drawn."""
    return io.Int.Input("batch_size", default=1, min=1, max=256, tooltip=tooltip)


def guidance_input(default: float) -> io.Input:
    """The guidance widget, at what a way of drawing was published with."""
    return io.Float.Input(
        "guidance_scale",
        default=default,
        min=0.0,
        max=30.0,
        step=0.1,
        tooltip="How strongly the prompt is followed. 1 is without guidance and takes half the work; 0 "
        f"ignores the prompt. The models' own is {default:g}.",
    )

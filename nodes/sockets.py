"""Checks the values at a node's inputs against its schema, before the node runs.

ComfyUI compares the types of sockets, not of values: a bypassed or faulty node may pass on anything.
"""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..janus_core import Conversation, VisionFeatures, checked_text, checked_whole, shown
from .memory import LoadedJanus
from .own_values import can_be_own, check_own
from .types import JanusConversation, JanusFeatures, JanusModelSocket, JanusTokens


@dataclass(frozen=True)
class Kind:
    """The check of a socket type's values.

    Attributes:
        rule: what they must be, for the error message.
        fix: how to fix it, for the error message.
        holds: whether a value is valid.
    """

    rule: str
    fix: str
    holds: Callable[[Any], bool]


def _is_number(value: Any) -> bool:
    # NaN, which is not a number, differs from itself.
    return not isinstance(value, bool) and isinstance(value, Real) and bool(value == value)


KINDS = {
    "FLOAT": Kind("a number", "connect a number", _is_number),
    "BOOLEAN": Kind("True or False", "connect a boolean", lambda value: isinstance(value, bool)),
    "IMAGE": Kind(
        "images, a tensor [B, H, W, C]",
        "connect an image",
        lambda value: isinstance(value, Tensor) and value.ndim == 4 and 0 not in value.shape,
    ),
    "MASK": Kind("a mask, a tensor [B, H, W]", "connect a mask", lambda value: isinstance(value, Tensor)),
    "LATENT": Kind(
        "a latent, with a tensor of samples",
        "connect a latent, such as that of VAE Encode",
        # Nested tensors, of videos with sound, are no `Tensor`; the core refuses them with better advice.
        lambda value: isinstance(value, dict) and hasattr(value.get("samples"), "float"),
    ),
    JanusModelSocket.io_type: Kind(
        "a Janus model",
        "connect Load Janus-Pro, and do not bypass it",
        lambda value: isinstance(value, LoadedJanus),
    ),
    JanusFeatures.io_type: Kind(
        "features of images", "connect SigLIP Encode", lambda value: isinstance(value, VisionFeatures)
    ),
    JanusConversation.io_type: Kind(
        "a conversation", "connect Janus Understand", lambda value: isinstance(value, Conversation)
    ),
    JanusTokens.io_type: Kind(
        "image tokens, a tensor [B, N]",
        "connect VQ Encode or a node that generates images",
        lambda value: isinstance(value, Tensor),
    ),
}


def checks_inputs(execute: Callable[..., io.NodeOutput]) -> Callable[..., io.NodeOutput]:
    """Decorates a node's `execute`: raises ValueError if an input is not of the type in its schema."""
    _, *names = inspect.signature(execute).parameters

    @functools.wraps(execute)
    def checked(cls: type[io.ComfyNode], *values: Any, **inputs: Any) -> io.NodeOutput:
        inputs = {**dict(zip(names, values, strict=False)), **inputs}
        for entry in cls.define_schema().inputs:
            if entry.id in inputs:
                check_input(entry, inputs[entry.id])
        return execute(cls, **inputs)

    return checked


def check_input(entry: io.Input, value: object) -> None:
    """Raises ValueError if a value does not fit an input; the message names the input and the value."""
    name, io_type = entry.id, str(entry.get_io_type())
    if value is None and entry.optional and not isinstance(entry, io.WidgetInput):
        return  # nothing is connected
    if io_type == "STRING":
        checked_text(name, value, "connect a single text", may_be_blank=True)
    elif io_type == "INT":
        _check_range(entry, checked_whole(name, value, "connect a whole number"))
    elif io_type == "COMBO":
        if not isinstance(value, str):
            options = ", ".join(map(str, entry.options))
            raise ValueError(f"{name} must be one of {options}, got {shown(value)}; choose one of these")
    elif not KINDS[io_type].holds(value):
        kind = KINDS[io_type]
        raise ValueError(f"{name} must be {kind.rule}, got {shown(value)}; {kind.fix}")
    elif isinstance(entry, io.Float.Input):
        _check_range(entry, value)


def _check_range(entry: io.Int.Input | io.Float.Input, number: Any) -> None:
    """Raises ValueError if a number is outside of its widget's range; ComfyUI checks no linked ones."""
    if can_be_own(entry):
        check_own(entry, number)
    if entry.min is not None and number < entry.min:
        raise ValueError(
            f"{entry.id} must be at least {entry.min}, got {shown(number)}; connect a larger number"
        )
    if entry.max is not None and number > entry.max:
        raise ValueError(
            f"{entry.id} must be at most {entry.max}, got {shown(number)}; connect a smaller number"
        )

"""Options of the sampling loops. Zero means off wherever a limit can be switched off."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from numbers import Real
from typing import Any, TypeVar, get_type_hints

from ..arguments import checked_whole, shown
from .solvers import SOLVERS

MAX_SEED = 2**64 - 1

# None: the checkpoint's own value, which `resolved` fills in before the first step. `Any`, so that the loops
# can rely on a number.
OWN: Any = None


@dataclass(frozen=True)
class TextSampling:
    """Options of text generation.

    Attributes:
        max_new_tokens: the most tokens of an answer, including the one that ends it.
        temperature: 0 always takes the most likely token; above 0, larger is more varied.
        top_k: keeps the k most likely tokens; 0 keeps all.
        top_p: keeps the fewest tokens whose probabilities sum to p; 1 keeps all.
        min_p: drops tokens less likely than this share of the most likely one; 0 drops none.
        repetition_penalty: divides the logits of tokens already in the answer (multiplies negative
            ones); 1 is off.
        seed: answer i of a batch draws from seed + i.
    """

    max_new_tokens: int = 512
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True)
class TokenSampling:
    """Options of image generation token by token. Those that are None take the checkpoint's own value.

    Attributes:
        guidance_scale: weight of the prompt against the unconditional one (classifier-free guidance); 1 is
            off and halves the cost.
        temperature: 0 always takes the most likely token; 1 is what the models were trained for.
        top_k: keeps the k most likely tokens; 0 keeps all.
        top_p: keeps the fewest tokens whose probabilities sum to p; 1 keeps all.
        seed: image i draws from seed + i, so it is the same in any batch.
        batch_size: images per prompt.
        lookahead: the most tokens of an image that are drawn in one pass of the transformer: those after the
            first are guessed, then checked. The tokens are the same for every number, but for what rounding
            changes in 16-bit activations. 1 is plain drawing; None is what is fastest on the device, or 1
            where activations have 16 bits.
    """

    guidance_scale: float = OWN
    temperature: float = OWN
    top_k: int = OWN
    top_p: float = OWN
    seed: int = 0
    batch_size: int = 1
    lookahead: int | None = None

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True)
class EditSampling(TokenSampling):
    """Options of image edits.

    Attributes:
        source_scale: weight of the partial condition, a prompt without the source image's tokens, for
            checkpoints that have one (Janus-4o); lower keeps more of the source, 0 is off and costs less.
        batch_size: edits of each image; edit j of image i draws from seed + i * batch_size + j.
        candidates: how often each image is inpainted under a mask; the result is the candidate that makes the
            kept tokens most likely. Without kept tokens after the mask, there is only one candidate.
        strength: share of the tokens under a mask that are replaced, chosen at random by the seed.
    """

    source_scale: float = 5.0
    candidates: int = 4
    strength: float = 1.0


@dataclass(frozen=True)
class FlowSampling:
    """Options of image generation by flow. Those that are None take the checkpoint's own value.

    Attributes:
        num_steps: steps from noise to image. A step of `euler` evaluates the model once, a step of `midpoint`
            or `heun` twice.
        guidance_scale: weight of the prompt against the unconditional one (classifier-free guidance); 1 is
            off and halves the cost.
        seed: image i starts from the noise of seed + i, so it is the same in any batch.
        batch_size: images per prompt.
        solver: `euler` as in the reference, or `midpoint` or `heun`, whose error falls with the square of the
            number of steps.
        denoise: how much of given latents is replaced: 1 starts from noise only, 0 returns them unchanged.
    """

    num_steps: int = OWN
    guidance_scale: float = OWN
    seed: int = 0
    batch_size: int = 1
    solver: str = "euler"
    denoise: float = 1.0

    def __post_init__(self) -> None:
        _check(self)
        if not isinstance(self.solver, str) or self.solver not in SOLVERS:
            raise ValueError(
                f"solver must be one of {', '.join(SOLVERS)}, got {shown(self.solver)}; choose one of these"
            )


Drawing = TypeVar("Drawing", bound=TokenSampling | FlowSampling)


def own_names(kind: type[Drawing]) -> tuple[str, ...]:
    """Names of the options that a checkpoint can state a value for."""
    # Where None is a value of the option itself, its type says so.
    hints = get_type_hints(kind)
    return tuple(
        field.name
        for field in fields(kind)
        if field.default is OWN and not isinstance(None, hints[field.name])
    )


def resolved(options: Drawing, own: TokenSampling | FlowSampling) -> Drawing:
    """The options with the checkpoint's `own` value in place of each None."""
    missing = [name for name in own_names(type(options)) if getattr(options, name) is OWN]
    return replace(options, **{name: getattr(own, name) for name in missing})


# The range of each option, as a text for error messages and as a test.
_RULES: dict[str, tuple[str, Callable[[float], bool]]] = {
    "max_new_tokens": ("at least 1", lambda value: value >= 1),
    "temperature": ("at least 0 (0 is greedy) and finite", lambda value: 0.0 <= value < math.inf),
    "top_k": ("at least 0 (0 keeps all)", lambda value: value >= 0),
    "top_p": ("above 0 and at most 1 (1 keeps all)", lambda value: 0.0 < value <= 1.0),
    "min_p": ("between 0 and 1 (0 is off)", lambda value: 0.0 <= value <= 1.0),
    "repetition_penalty": ("above 0 (1 is off) and finite", lambda value: 0.0 < value < math.inf),
    "seed": (f"between 0 and {MAX_SEED}", lambda value: 0 <= value <= MAX_SEED),
    "guidance_scale": ("at least 0 (1 is off) and finite", lambda value: 0.0 <= value < math.inf),
    "batch_size": ("at least 1", lambda value: value >= 1),
    "lookahead": ("at least 1 (1 is plain drawing)", lambda value: value >= 1),
    "source_scale": ("at least 0 (0 is off) and finite", lambda value: 0.0 <= value < math.inf),
    "candidates": ("at least 1", lambda value: value >= 1),
    "strength": ("between 0 and 1", lambda value: 0.0 <= value <= 1.0),
    "num_steps": ("at least 1", lambda value: value >= 1),
    "denoise": ("between 0 and 1", lambda value: 0.0 <= value <= 1.0),
}


def _check(options: TextSampling | TokenSampling | FlowSampling) -> None:
    """Raises ValueError if an option is of another kind (numbers of numpy are allowed), or out of range."""
    optional = {field.name for field in fields(options) if field.default is None}
    for name, declared in get_type_hints(type(options)).items():
        value = getattr(options, name)
        if value is None and name in optional:
            continue
        if declared in (int, int | None):
            checked_whole(name, value)
        elif declared is float and (isinstance(value, bool) or not isinstance(value, Real)):
            raise ValueError(f"{name} must be a number, got {shown(value)}; convert it with float")
        if name in _RULES:
            rule, holds = _RULES[name]
            if not holds(value):
                raise ValueError(f"{name} must be {rule}, got {value}; set it within that range")

"""The knobs of sampling. Each is used by its loop; zero means off wherever a limit can be switched off."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass

from ..config.checks import field_types
from .solvers import SOLVERS

MAX_SEED = 2**64 - 1


@dataclass(frozen=True)
class TextSampling:
    """How an answer is written.

    Attributes:
        max_new_tokens: the longest answer, in tokens; fewer if the model stops by itself.
        temperature: 0 always takes the likeliest token; above 0, the larger the more varied.
        top_k: keeps the k likeliest tokens; 0 keeps all.
        top_p: keeps the fewest tokens whose probabilities sum to p; 1 keeps all.
        min_p: drops tokens less likely than this share of the likeliest; 0 drops none.
        repetition_penalty: divides the logits of tokens already in the answer (multiplies negative
            ones); 1 is off.
        seed: row i of a batch draws from seed + i.
    """

    max_new_tokens: int = 512
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        _check_whole(self)
        _check_draw(self)
        _require(self.max_new_tokens >= 1, "max_new_tokens", "at least 1", self.max_new_tokens)
        _require(0.0 <= self.min_p <= 1.0, "min_p", "between 0 and 1 (0 is off)", self.min_p)
        _require(
            0.0 < self.repetition_penalty < math.inf,
            "repetition_penalty",
            "above 0 (1 is off) and finite",
            self.repetition_penalty,
        )


@dataclass(frozen=True)
class TokenSampling:
    """How an image is drawn token by token.

    Attributes:
        guidance_scale: weight of the prompt against the unconditional row (classifier-free guidance); 1 is
            without guidance and costs half.
        temperature: 0 always takes the likeliest token; 1 is what the models were trained for.
        top_k: keeps the k likeliest tokens; 0 keeps all.
        top_p: keeps the fewest tokens whose probabilities sum to p; 1 keeps all.
        seed: image i draws from seed + i, so it is the same in any batch.
        batch_size: images per prompt.
        capture: whether steps are recorded as CUDA graphs and repeated; only for a model that lies on a CUDA
            device in whole, and whose layers do not move their weights.
    """

    guidance_scale: float = 5.0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    batch_size: int = 1
    capture: bool = False

    def __post_init__(self) -> None:
        _check_whole(self)
        _check_draw(self)
        _check_images(self)


@dataclass(frozen=True)
class EditSampling(TokenSampling):
    """How an image is edited: drawn as by `TokenSampling`, and with these.

    Attributes:
        source_scale: weight of the row that does not hold the source's pixels, for checkpoints with such a
            row (Janus-4o); lower keeps more of the source, 0 leaves that row and its cost out.
        candidates: redraws of an image under a mask, of which the one is kept that what stands behind the
            mask fits best; 1 takes the first. Candidate 0 is the only one where nothing stands behind it.
        strength: share of the tokens under a mask that are drawn anew; the others, chosen by the seed, stay.
    """

    source_scale: float = 5.0
    candidates: int = 4
    strength: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(
            0.0 <= self.source_scale < math.inf,
            "source_scale",
            "at least 0 (0 is off) and finite",
            self.source_scale,
        )
        _require(self.candidates >= 1, "candidates", "at least 1", self.candidates)
        _require(0.0 <= self.strength <= 1.0, "strength", "between 0 and 1", self.strength)


@dataclass(frozen=True)
class FlowSampling:
    """How an image is drawn by following a velocity field from noise.

    Attributes:
        num_steps: steps from noise to image. A step of `euler` asks the model once, one of `midpoint` or
            `heun` twice.
        guidance_scale: weight of the prompt against the unconditional row (classifier-free guidance); 1 is
            without guidance and costs half.
        seed: image i starts from the noise of seed + i, so it is the same in any batch.
        batch_size: images per prompt.
        solver: `euler`, as the reference draws, or `midpoint` or `heun`, whose error falls with the square of
            the number of steps.
        denoise: how much of given latents is drawn anew: 1 starts from noise alone, 0 gives them back.
    """

    num_steps: int = 30
    guidance_scale: float = 2.0
    seed: int = 0
    batch_size: int = 1
    solver: str = "euler"
    denoise: float = 1.0

    def __post_init__(self) -> None:
        _check_whole(self)
        _check_images(self)
        _check_seed(self.seed)
        _require(self.num_steps >= 1, "num_steps", "at least 1", self.num_steps)
        _require(0.0 <= self.denoise <= 1.0, "denoise", "between 0 and 1", self.denoise)
        if self.solver not in SOLVERS:
            raise ValueError(
                f"solver must be one of {', '.join(SOLVERS)}, got {self.solver!r}; choose one of these"
            )


def _check_whole(options: TextSampling | TokenSampling | FlowSampling) -> None:
    """Refuses fractions where whole numbers are counted; those of numpy are whole as well."""
    for name, declared in field_types(type(options)).items():
        if declared is int:
            value = getattr(options, name)
            try:
                operator.index(value)
            except TypeError as error:
                raise ValueError(
                    f"{name} must be a whole number, got {value!r}; round it, or convert it with int"
                ) from error


def _check_images(options: TokenSampling | FlowSampling) -> None:
    _require(
        0.0 <= options.guidance_scale < math.inf,
        "guidance_scale",
        "at least 0 (1 is off) and finite",
        options.guidance_scale,
    )
    _require(options.batch_size >= 1, "batch_size", "at least 1", options.batch_size)


def _check_draw(options: TextSampling | TokenSampling) -> None:
    _require(
        0.0 <= options.temperature < math.inf,
        "temperature",
        "at least 0 (0 is greedy) and finite",
        options.temperature,
    )
    _require(options.top_k >= 0, "top_k", "at least 0 (0 keeps all)", options.top_k)
    _require(0.0 < options.top_p <= 1.0, "top_p", "above 0 and at most 1 (1 keeps all)", options.top_p)
    _check_seed(options.seed)


def _check_seed(seed: int) -> None:
    _require(0 <= seed <= MAX_SEED, "seed", f"between 0 and {MAX_SEED}", seed)


def _require(condition: bool, name: str, rule: str, value: float) -> None:
    if not condition:
        raise ValueError(f"{name} must be {rule}, got {value}; set it within that range")

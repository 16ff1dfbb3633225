"""Training recipes: stages in order, and the optimizer settings that they share."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from ..models.flow_generation import FlowGeneration
from ..models.token_generation import TokenGeneration

# Patterns of parameter names, for `Stage.trains`.
VISION_TOWER = ("understanding.tower.*",)
IMAGE_TOKENIZER = ("generation.vq.*",)
ADAPTORS = ("understanding.aligner.*", "generation.aligner.*", "generation.head.*", "generation.embed.*")
BODY = (*ADAPTORS, "body.*")  # the language model with its adaptors
AUTOENCODER = ("generation.vae.*",)
FLOW_ADAPTORS = (
    "understanding.aligner.*",
    "understanding.start.*",
    "generation.encoder*",
    "generation.decoder*",
)
FLOW_BODY = (*FLOW_ADAPTORS, "body.*")

# The language model with its adaptors, by the class of `model.generation`.
BODIES: dict[type, tuple[str, ...]] = {TokenGeneration: BODY, FlowGeneration: FLOW_BODY}

# Fields of stages that former versions lack. They identify a run only where they are not the default, so that
# runs of these versions can be resumed.
LATER_FIELDS = ("alignment", "average", "draws", "generator_rate", "time_shift")

TASKS = ("understanding", "text", "generation", "editing")


@dataclass(frozen=True)
class Stage:
    """One stage of training."""

    name: str  # unique within the recipe; seeds the random streams of the stage
    objective: str  # a key of `objectives.OBJECTIVES`
    trains: tuple[str, ...]  # patterns of the parameter names to train (`body.*`); all others are frozen
    steps: int
    batch_size: int
    learning_rate: float  # peak
    generator_rate: float = 1.0  # factor of the learning rate for the parameters of `generation`
    warmup: int = 50  # steps over which the learning rate rises from zero
    decay: float = 0.6  # share of the steps, at the end, over which it falls to a tenth
    shares: tuple[int, ...] = (0, 0, 0)  # ratio of the samples of `TASKS`; omitted ones are 0
    caption_dropout: float = 0.1  # share of captions left out, as classifier-free guidance needs
    sees: str = "encoder"  # how the model sees the pictures of questions, a key of `VISION_INPUTS`
    lesson: str = ""  # a subset of the questions or edits that the data defines; empty for all
    alignment: float = 0.0  # weight of the similarity to the understanding encoder, for flows; 0 is off
    draws: int = 1  # noisy versions of each image to generate, for flows; `batch_size` counts them all
    time_shift: float = 0.0  # added to the logits of a flow's times; below 0, more of them are near the noise
    average: float = 0.0  # decay per step of the weights' moving average, which the stage ends with; 0 is off

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "learning_rate", "generator_rate"):
            value = getattr(self, name)
            if not value > 0:
                raise ValueError(f"{name} must be above 0, got {value}; to skip a stage, leave it out")
        if not (isinstance(self.draws, int) and self.draws >= 1):
            raise ValueError(
                f"draws must be a whole number of 1 or more, got {self.draws}; 1 is one version per image"
            )
        # NaN fails these too.
        if not self.alignment >= 0:
            raise ValueError(f"alignment must be 0 or more, got {self.alignment}; 0 turns it off")
        if not math.isfinite(self.time_shift):
            raise ValueError(f"time_shift must be finite, got {self.time_shift}; 0 is JanusFlow's")
        if not 0 <= self.average < 1:
            raise ValueError(f"average must be from 0 to below 1, got {self.average}; 0 turns it off")

    def identity(self) -> dict[str, Any]:
        """Returns all fields that determine the trained weights."""
        values = asdict(self)
        for field in fields(self):
            if field.name in LATER_FIELDS and values[field.name] == field.default:
                del values[field.name]
        return values

    def learning_rate_at(self, step: int) -> float:
        """Returns the learning rate of a step, counted from 0."""
        rise = min(1.0, (step + 1) / max(self.warmup, 1))
        remaining = (self.steps - step) / max(self.steps * self.decay, 1)
        return self.learning_rate * rise * max(0.1, min(1.0, remaining))


@dataclass(frozen=True)
class Recipe:
    """All stages in order, with the settings of AdamW (Janus, arXiv:2410.13848, section 3.3 and table 1)."""

    stages: tuple[Stage, ...]
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.05  # for matrices only
    clip: float = 1.0  # maximum norm of the gradient of all parameters together

    def __post_init__(self) -> None:
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise ValueError(
                f"stages must have different names, got {', '.join(names)}; they seed the random streams"
            )

    @property
    def trains_edits(self) -> bool:
        """Whether any stage has edits by instruction."""
        return any(dict(zip(TASKS, stage.shares, strict=False)).get("editing") for stage in self.stages)

    def with_each_stage(self, **changes: Any) -> Recipe:
        """Returns the recipe with some fields of every stage changed."""
        return replace(self, stages=tuple(replace(stage, **changes) for stage in self.stages))

    def with_alignment(self, weight: float) -> Recipe:
        """Returns the recipe with the weight of the alignment changed in the stages that have one."""
        if not any(stage.alignment for stage in self.stages):
            raise ValueError(
                f"alignment must be left out for a recipe without it, got {weight}; choose a model that "
                "draws by flow"
            )
        stages = (replace(stage, alignment=weight) if stage.alignment else stage for stage in self.stages)
        return replace(self, stages=tuple(stages))

    def only(self, objective: str) -> Recipe:
        """Returns the recipe with only the stages of one objective."""
        return replace(self, stages=tuple(stage for stage in self.stages if stage.objective == objective))

    def without(self, names: Collection[str]) -> Recipe:
        """Returns the recipe without the stages of these names; an unknown name is an error."""
        own = [stage.name for stage in self.stages]
        if not set(names) <= set(own):
            raise ValueError(
                f"stages that a checkpoint has had must be some of {', '.join(own)}, got {', '.join(names)}; "
                "use one trained by the command box, with its --model"
            )
        stages = tuple(stage for stage in self.stages if stage.name not in names)
        if not stages:
            raise ValueError(
                f"stages must remain to be trained, got a checkpoint that has had all: {', '.join(names)}; "
                "train from the start, or fine-tune it"
            )
        return replace(self, stages=stages)

    def until(self, last: str) -> Recipe:
        """Returns the recipe up to and including the stage of that name, which must exist."""
        names = [stage.name for stage in self.stages]
        if last not in names:
            raise ValueError(f"last stage must be one of {', '.join(names)}, got {last!r}")
        return replace(self, stages=self.stages[: names.index(last) + 1])


def finetuning_recipe(
    shares: tuple[int, ...],
    steps: int,
    batch_size: int,
    learning_rate: float,
    lora: bool,
    body: tuple[str, ...] = BODY,
) -> Recipe:
    """Returns one stage like Janus's third, which trains everything except the image autoencoder.

    With `lora`, only the adapters of the language model are trained; `body` are its own patterns of names,
    with its adaptors. For the other arguments see `Stage`.
    """
    trains = ("body.*lora_*",) if lora else (*body, *VISION_TOWER)
    stage = Stage("finetuning", "unified", trains, steps, batch_size, learning_rate, shares=shares)
    return Recipe((stage,))

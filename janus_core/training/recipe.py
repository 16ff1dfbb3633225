"""How a model is trained: stages in order, each a row of a table."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Stage:
    """One stage of training.

    Attributes:
        name: of the stage.
        objective: what is made small, a key of `objectives.OBJECTIVES`.
        trains: patterns of the names of parameters that move (`body.*`); all others are frozen.
        steps: optimizer steps.
        batch_size: samples per step.
        learning_rate: its peak.
        warmup: steps over which it rises from zero.
        decay: share of the steps, at the end, over which it falls to a tenth.
        shares: samples of understanding, text and generation in a batch, as a ratio.
        caption_dropout: share of drawings whose caption is hidden, so that guidance has a row to leave.
        sees: how pictures are seen that are asked about, a key of `vision.SEES`.
        lesson: what is asked about them, if not everything; a name that the data knows.
    """

    name: str
    objective: str
    trains: tuple[str, ...]
    steps: int
    batch_size: int
    learning_rate: float
    warmup: int = 50
    decay: float = 0.6
    shares: tuple[int, int, int] = (0, 0, 0)
    caption_dropout: float = 0.1
    sees: str = "encoder"
    lesson: str = ""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "learning_rate"):
            value = getattr(self, name)
            if not value > 0:
                raise ValueError(f"{name} must be above 0, got {value}; leave out a stage that is not wanted")

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        rising = min(1.0, (step + 1) / max(self.warmup, 1))
        left = (self.steps - step) / max(self.steps * self.decay, 1)
        return self.learning_rate * rising * max(0.1, min(1.0, left))


@dataclass(frozen=True)
class Recipe:
    """All stages, and what they share (Janus, arXiv:2410.13848, section 3.3 and table 1).

    Attributes:
        stages: in order.
        betas: AdamW's.
        weight_decay: AdamW's, of matrices; vectors have none.
        clip: the largest norm of all gradients together.
    """

    stages: tuple[Stage, ...]
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.05
    clip: float = 1.0

    def __post_init__(self) -> None:
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise ValueError(
                f"stages must have different names, got {', '.join(names)}; their draws come from these"
            )

    def seeing(self, sees: str) -> Recipe:
        """The same stages, with pictures seen in another way."""
        return replace(self, stages=tuple(replace(stage, sees=sees) for stage in self.stages))

    def only(self, objective: str) -> Recipe:
        """The stages of one objective, a key of `objectives.OBJECTIVES`."""
        return replace(self, stages=tuple(stage for stage in self.stages if stage.objective == objective))

    def until(self, last: str) -> Recipe:
        """The stages up to the one of that name.

        Raises:
            ValueError: if there is none.
        """
        names = [stage.name for stage in self.stages]
        if last not in names:
            raise ValueError(f"last stage must be one of {', '.join(names)}, got {last!r}")
        return replace(self, stages=self.stages[: names.index(last) + 1])

    def shortened(self, steps: int, batch_size: int) -> Recipe:
        """The same stages, each with so few steps and samples; for trying a recipe out."""
        return replace(
            self,
            stages=tuple(
                replace(stage, steps=steps, batch_size=batch_size, warmup=1) for stage in self.stages
            ),
        )


_SEES = ("understanding.tower.*",)
_VQ = ("generation.vq.*",)
_ADAPTORS = (
    "understanding.aligner.*",
    "generation.aligner.*",
    "generation.head.*",
    "generation.embed.*",
)
_READS = (*_ADAPTORS, "body.*")

# The demonstration model, for two CPU cores. What differs from the papers: the body starts from nothing, and
# learns to look before anything else. After 150 steps of text it stays where guessing leads, and a body that
# has drawn for long finds it much harder to look than one that is new. Looking is learnt soon and drawing is
# not, and a conversation asks up to six questions: there are four times as many drawings, twice as many at
# last. The vision tower, once it has learnt its phrases, stays as it is: while it moved with a body that did
# not ask for shapes yet, it lost what told them apart.
BOX = Recipe(
    (
        Stage("tokenizer", "tokenizer", _VQ, 2700, 16, 1.2e-3),
        Stage("vision", "contrast", _SEES, 800, 64, 1e-3),
        Stage("looking", "unified", _READS, 400, 24, 1e-3, decay=0.0, shares=(1, 0, 0), lesson="looking"),
        Stage("adaptors", "unified", _ADAPTORS, 80, 32, 1e-3, shares=(1, 0, 3)),
        Stage("unified", "unified", _READS, 1400, 44, 1e-3, decay=0.0, shares=(8, 2, 34)),
        Stage("annealing", "unified", _READS, 2200, 44, 1e-3, decay=1.0, shares=(14, 2, 28)),
    )
)


def finetuning(
    shares: tuple[int, int, int], steps: int, batch_size: int, learning_rate: float, lora: bool
) -> Recipe:
    """One stage of the third kind: all but the image tokenizer moves, or the body's adapters alone.

    Args:
        shares: samples of understanding, text and generation in a batch, as a ratio.
        steps: optimizer steps.
        batch_size: samples per step.
        learning_rate: its peak.
        lora: whether the body has adapters, which then are all that moves.
    """
    trains = ("body.*lora_*",) if lora else (*_READS, *_SEES)
    stage = Stage("finetuning", "unified", trains, steps, batch_size, learning_rate, shares=shares)
    return Recipe((stage,))

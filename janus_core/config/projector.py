"""Config of the projectors into the language model, for understanding and generation alike."""

from __future__ import annotations

from dataclasses import dataclass

from .checks import check_positive


@dataclass(frozen=True)
class ProjectorConfig:
    """`depth` linear layers with GELU between them (`aligner_config`, `gen_aligner_config`)."""

    input_size: int
    hidden_size: int
    depth: int

    def __post_init__(self) -> None:
        check_positive(self)

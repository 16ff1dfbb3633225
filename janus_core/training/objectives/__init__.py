"""Training objectives, by the names that stages use."""

from .contrast import ContrastObjective
from .tokenizer import TokenizerObjective
from .unified import UnifiedObjective

Objective = TokenizerObjective | ContrastObjective | UnifiedObjective

OBJECTIVES: dict[str, type[Objective]] = {
    "tokenizer": TokenizerObjective,
    "contrast": ContrastObjective,
    "unified": UnifiedObjective,
}

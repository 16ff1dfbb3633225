"""Training objectives, by the names that stages use."""

from .autoencoder import AutoencoderObjective
from .contrast import ContrastObjective
from .tokenizer import TokenizerObjective
from .unified import UnifiedObjective

Objective = TokenizerObjective | AutoencoderObjective | ContrastObjective | UnifiedObjective

OBJECTIVES: dict[str, type[Objective]] = {
    "tokenizer": TokenizerObjective,
    "autoencoder": AutoencoderObjective,
    "contrast": ContrastObjective,
    "unified": UnifiedObjective,
}

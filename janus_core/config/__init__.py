"""Frozen config dataclasses of a model and its parts, validated when they are constructed.

Field names follow the `config.json` of the released checkpoints. Configs do not access files: `checkpoints`
reads them from folders, and `presets` holds the sizes of released models.
"""

from .flow import FlowGenerationConfig, UViTConfig, VAEConfig
from .model import JanusConfig, LlamaConfig, SiglipConfig, UnderstandingConfig
from .projector import ProjectorConfig
from .tokens import TokenGenerationConfig, TokenHeadConfig, VQConfig

__all__ = [
    "FlowGenerationConfig",
    "JanusConfig",
    "LlamaConfig",
    "ProjectorConfig",
    "SiglipConfig",
    "TokenGenerationConfig",
    "TokenHeadConfig",
    "UViTConfig",
    "UnderstandingConfig",
    "VAEConfig",
    "VQConfig",
]

"""Frozen descriptions of every part of a model, with the checks that a part can make about itself.

Field names follow `config.json` of the released checkpoints. A configuration knows nothing of files:
`checkpoints` reads one from a folder, `presets` holds the sizes of the released models.
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

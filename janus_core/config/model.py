"""Configs of the full model, its vision encoder and its language model."""

from __future__ import annotations

from dataclasses import dataclass

from .checks import check_positive, require, require_equal, require_multiple
from .flow import FlowGenerationConfig
from .projector import ProjectorConfig
from .tokens import TokenGenerationConfig


@dataclass(frozen=True)
class JanusConfig:
    """Full model config: understanding encoder, language model, image generator."""

    understanding: UnderstandingConfig
    body: LlamaConfig
    generation: TokenGenerationConfig | FlowGenerationConfig

    def __post_init__(self) -> None:
        aligner, width = self.understanding.aligner, self.body.hidden_size
        source = "the language model's hidden_size"
        require_equal("aligner_config.n_embed", aligner.hidden_size, source, width)
        self.generation.check_width(width)


@dataclass(frozen=True)
class UnderstandingConfig:
    """Vision tower and the projector from its features to the language model."""

    vision: SiglipConfig
    aligner: ProjectorConfig
    start_embedding: bool = False  # whether a learned embedding replaces the start tag before each image

    def __post_init__(self) -> None:
        source, width = "the vision tower's width", self.vision.hidden_size
        require_equal("aligner_config.input_dim", self.aligner.input_size, source, width)

    @property
    def num_embeddings(self) -> int:
        """Embeddings per image in the language model's input."""
        return self.vision.num_positions + self.start_embedding


@dataclass(frozen=True)
class SiglipConfig:
    """SigLIP vision transformer (`vision_config` in the released checkpoints)."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    image_size: int
    patch_size: int
    layer_norm_eps: float = 1e-6

    def __post_init__(self) -> None:
        check_positive(self)
        heads = self.num_attention_heads
        rule = f"its {heads} heads (num_attention_heads)"
        require_multiple("vision width (hidden_size)", self.hidden_size, heads, rule)
        require(
            self.image_size >= self.patch_size,
            f"vision image_size must be at least patch_size {self.patch_size}, got {self.image_size}",
        )

    @property
    def num_positions(self) -> int:
        """Feature vectors per image (576 for the released models)."""
        return (self.image_size // self.patch_size) ** 2


@dataclass(frozen=True)
class LlamaConfig:
    """Language model, a Llama transformer (`language_config`)."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    rms_norm_eps: float
    rope_theta: float
    max_position_embeddings: int
    tie_word_embeddings: bool = False

    def __post_init__(self) -> None:
        check_positive(self)
        heads, groups = self.num_attention_heads, self.num_key_value_heads
        require_multiple("num_attention_heads", heads, groups, f"num_key_value_heads {groups}")
        require(self.head_dim % 2 == 0, f"head_dim must be even for rotary positions, got {self.head_dim}")

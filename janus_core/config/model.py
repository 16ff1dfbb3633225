"""The whole model, and the parts that see and think."""

from __future__ import annotations

from dataclasses import dataclass

from .checks import check_positive, require
from .flow import FlowGenerationConfig
from .projector import ProjectorConfig
from .tokens import TokenGenerationConfig


@dataclass(frozen=True)
class JanusConfig:
    """A whole model: what sees, what thinks, what draws."""

    understanding: UnderstandingConfig
    body: LlamaConfig
    generation: TokenGenerationConfig | FlowGenerationConfig

    def __post_init__(self) -> None:
        width = self.body.hidden_size
        require(
            self.understanding.aligner.hidden_size == width,
            f"aligner_config.n_embed must be the language model's hidden_size {width}, "
            f"got {self.understanding.aligner.hidden_size}",
        )
        self.generation.check_width(width)


@dataclass(frozen=True)
class UnderstandingConfig:
    """The vision tower and the projector behind it.

    Attributes:
        vision: sizes of the tower.
        aligner: sizes of the projector.
        start_embedding: whether a learned embedding stands before each image, in place of its start tag's.
    """

    vision: SiglipConfig
    aligner: ProjectorConfig
    start_embedding: bool = False

    def __post_init__(self) -> None:
        require(
            self.aligner.input_size == self.vision.hidden_size,
            f"aligner_config.input_dim must be the vision tower's width {self.vision.hidden_size}, "
            f"got {self.aligner.input_size}",
        )

    @property
    def num_embeddings(self) -> int:
        """Embeddings that the body reads of one image."""
        return self.vision.num_positions + self.start_embedding


@dataclass(frozen=True)
class SiglipConfig:
    """Sizes of the SigLIP vision transformer (`vision_config` in the released checkpoints)."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    image_size: int
    patch_size: int
    layer_norm_eps: float = 1e-6

    def __post_init__(self) -> None:
        check_positive(self)
        require(
            self.hidden_size % self.num_attention_heads == 0,
            f"vision width must be a multiple of its {self.num_attention_heads} heads, "
            f"got {self.hidden_size}",
        )
        require(
            self.image_size >= self.patch_size,
            f"vision image_size must be at least one patch of {self.patch_size} pixels, "
            f"got {self.image_size}",
        )

    @property
    def num_positions(self) -> int:
        """Feature vectors per image (576 for the released models)."""
        return (self.image_size // self.patch_size) ** 2


@dataclass(frozen=True)
class LlamaConfig:
    """Sizes of the transformer body (`language_config`)."""

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
        require(
            self.num_attention_heads % self.num_key_value_heads == 0,
            f"num_attention_heads must be a multiple of num_key_value_heads {self.num_key_value_heads}, "
            f"got {self.num_attention_heads}",
        )
        require(self.head_dim % 2 == 0, f"head_dim must be even for rotary positions, got {self.head_dim}")

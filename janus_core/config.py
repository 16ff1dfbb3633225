"""Frozen descriptions of every part of a model, with the checks that a part can make about itself.

Field names follow `config.json` of the released checkpoints. A configuration knows nothing of files:
`checkpoints` reads one from a folder, `presets` holds the sizes of the released models.
"""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class JanusConfig:
    """A whole model: what sees, what thinks, what draws."""

    understanding: UnderstandingConfig
    body: LlamaConfig
    generation: TokenGenerationConfig

    def __post_init__(self) -> None:
        width = self.body.hidden_size
        _require(
            self.understanding.aligner.hidden_size == width,
            f"aligner_config.n_embed must be the language model's hidden_size {width}, "
            f"got {self.understanding.aligner.hidden_size}",
        )
        _require(
            self.generation.aligner.hidden_size == width and self.generation.head.hidden_size == width,
            f"gen_aligner_config.n_embed and gen_head_config.n_embed must be the language model's "
            f"hidden_size {width}, got {self.generation.aligner.hidden_size} and "
            f"{self.generation.head.hidden_size}",
        )


@dataclass(frozen=True)
class UnderstandingConfig:
    """The vision tower and the projector behind it."""

    vision: SiglipConfig
    aligner: ProjectorConfig

    def __post_init__(self) -> None:
        _require(
            self.aligner.input_size == self.vision.hidden_size,
            f"aligner_config.input_dim must be the vision tower's width {self.vision.hidden_size}, "
            f"got {self.aligner.input_size}",
        )


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
        _check_positive(self)
        _require(
            self.hidden_size % self.num_attention_heads == 0,
            f"vision width must be a multiple of its {self.num_attention_heads} heads, "
            f"got {self.hidden_size}",
        )
        _require(
            self.image_size >= self.patch_size,
            f"vision image_size must be at least one patch of {self.patch_size} pixels, "
            f"got {self.image_size}",
        )

    @property
    def num_positions(self) -> int:
        """Feature vectors per image (576 for the released models)."""
        return (self.image_size // self.patch_size) ** 2


@dataclass(frozen=True)
class ProjectorConfig:
    """A stack of `depth` linear layers with GELU between them (`aligner_config`, `gen_aligner_config`)."""

    input_size: int
    hidden_size: int
    depth: int

    def __post_init__(self) -> None:
        _check_positive(self)


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
        _check_positive(self)
        _require(
            self.num_attention_heads % self.num_key_value_heads == 0,
            f"num_attention_heads must be a multiple of num_key_value_heads {self.num_key_value_heads}, "
            f"got {self.num_attention_heads}",
        )
        _require(self.head_dim % 2 == 0, f"head_dim must be even for rotary positions, got {self.head_dim}")


@dataclass(frozen=True)
class TokenGenerationConfig:
    """Drawing by VQ tokens: the tokenizer, the way in (`aligner`) and the way out (`head`) of the body."""

    vq: VQConfig
    aligner: ProjectorConfig
    head: TokenHeadConfig
    image_size: int

    def __post_init__(self) -> None:
        _require(
            self.image_size % self.vq.downsample_factor == 0,
            f"image_size must be a multiple of the tokenizer's {self.vq.downsample_factor} pixels per token, "
            f"got {self.image_size}",
        )
        _require(
            self.head.codebook_size == self.vq.codebook_size,
            f"gen_head_config.image_token_size must be the codebook's size {self.vq.codebook_size}, "
            f"got {self.head.codebook_size}",
        )

    @property
    def grid_size(self) -> int:
        """Tokens along one side of an image (24 for the released models)."""
        return self.image_size // self.vq.downsample_factor

    @property
    def num_tokens(self) -> int:
        """Tokens per image (576 for the released models)."""
        return self.grid_size**2


@dataclass(frozen=True)
class VQConfig:
    """Sizes of the VQ-16 image tokenizer (`gen_vision_config`)."""

    codebook_size: int
    codebook_dim: int
    ch: int
    encoder_ch_mult: tuple[int, ...]
    decoder_ch_mult: tuple[int, ...]
    num_res_blocks: int
    z_channels: int
    num_groups: int = 32

    def __post_init__(self) -> None:
        _check_positive(self)
        _require(
            len(self.encoder_ch_mult) == len(self.decoder_ch_mult) > 0,
            f"encoder and decoder must have as many levels, at least one, "
            f"got {self.encoder_ch_mult} and {self.decoder_ch_mult}",
        )
        for mult in (1, *self.encoder_ch_mult, *self.decoder_ch_mult):
            _require(
                self.ch * mult % self.num_groups == 0,
                f"VQ channels must be multiples of the {self.num_groups} normalisation groups, "
                f"got {self.ch * mult}",
            )

    @property
    def downsample_factor(self) -> int:
        """Pixels along one side of a token (16 for VQ-16)."""
        return 2 ** (len(self.encoder_ch_mult) - 1)


@dataclass(frozen=True)
class TokenHeadConfig:
    """Sizes of the image-token head (`gen_head_config` in the released checkpoints)."""

    hidden_size: int
    image_token_embed: int
    codebook_size: int

    def __post_init__(self) -> None:
        _check_positive(self)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(
            f"{message}; the config.json does not describe a Janus model that this version can build"
        )


def _check_positive(config: object) -> None:
    for field in fields(config):  # type: ignore[arg-type]
        value = getattr(config, field.name)
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, (int, float)) and not isinstance(number, bool):
                _require(number > 0, f"{type(config).__name__}.{field.name} must be positive, got {value}")

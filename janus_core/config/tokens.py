"""Drawing by VQ tokens."""

from __future__ import annotations

from dataclasses import dataclass

from .checks import check_positive, require
from .projector import ProjectorConfig


@dataclass(frozen=True)
class TokenGenerationConfig:
    """Drawing by VQ tokens: the tokenizer, the way in (`aligner`) and the way out (`head`) of the body."""

    vq: VQConfig
    aligner: ProjectorConfig
    head: TokenHeadConfig
    image_size: int

    def __post_init__(self) -> None:
        require(
            self.image_size % self.vq.downsample_factor == 0,
            f"image_size must be a multiple of the tokenizer's {self.vq.downsample_factor} pixels per token, "
            f"got {self.image_size}",
        )
        require(
            self.head.codebook_size == self.vq.codebook_size,
            f"gen_head_config.image_token_size must be the codebook's size {self.vq.codebook_size}, "
            f"got {self.head.codebook_size}",
        )

    def check_width(self, width: int) -> None:
        """Refuses a body of another width than the one that the aligner and the head fit.

        Raises:
            ValueError: if it is another.
        """
        require(
            self.aligner.hidden_size == width and self.head.hidden_size == width,
            f"gen_aligner_config.n_embed and gen_head_config.n_embed must be the language model's "
            f"hidden_size {width}, got {self.aligner.hidden_size} and {self.head.hidden_size}",
        )

    @property
    def codec_channels(self) -> int:
        """Channels of the image tokenizer at full resolution."""
        return self.vq.ch

    @property
    def grid_size(self) -> int:
        """Tokens along one side of an image (24 for the released models)."""
        return self.image_size // self.vq.downsample_factor

    @property
    def tokens_per_step(self) -> int:
        """Tokens of an image that pass the body at once."""
        return 1

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
        check_positive(self)
        require(
            len(self.encoder_ch_mult) == len(self.decoder_ch_mult) > 0,
            f"encoder and decoder must have as many levels, at least one, "
            f"got {self.encoder_ch_mult} and {self.decoder_ch_mult}",
        )
        for mult in (1, *self.encoder_ch_mult, *self.decoder_ch_mult):
            require(
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
        check_positive(self)

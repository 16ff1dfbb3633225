"""Config of autoregressive image generation with VQ tokens."""

from __future__ import annotations

from dataclasses import dataclass

from .checks import check_positive, require, require_equal, require_multiple
from .projector import ProjectorConfig


@dataclass(frozen=True)
class TokenGenerationConfig:
    """VQ-token image generation: image tokenizer, projector into the language model, and output head."""

    vq: VQConfig
    aligner: ProjectorConfig
    head: TokenHeadConfig
    image_size: int

    tokens_per_step = 1  # image tokens that the language model processes in one decode step

    def __post_init__(self) -> None:
        pixels = self.vq.downsample_factor
        require_multiple("image_size", self.image_size, pixels, f"the tokenizer's {pixels} pixels per token")
        found, expected = self.head.codebook_size, self.vq.codebook_size
        require_equal("gen_head_config.image_token_size", found, "the codebook's size", expected)

    def check_width(self, width: int) -> None:
        """Raises ValueError if the language model's width is not that of the aligner and the head."""
        require(
            self.aligner.hidden_size == width and self.head.hidden_size == width,
            f"gen_aligner_config.n_embed and gen_head_config.n_embed must be the language model's "
            f"hidden_size {width}, got {self.aligner.hidden_size} and {self.head.hidden_size}",
        )

    @property
    def codec_levels(self) -> list[tuple[int, int]]:
        """Input and output channels of the tokenizer's levels at full resolution: encoder's and decoder's."""
        return self.vq.outer_levels

    @property
    def grid_size(self) -> int:
        """Tokens along one side of an image (24 for the released models)."""
        return self.image_size // self.vq.downsample_factor

    def output_bytes(self, itemsize: int) -> int:
        """Working memory per sequence and token to sample from hidden states: logits in several copies."""
        return 32 * self.vq.codebook_size

    @property
    def num_tokens(self) -> int:
        """Tokens per image (576 for the released models)."""
        return self.grid_size**2


@dataclass(frozen=True)
class VQConfig:
    """VQ-16 image tokenizer (`gen_vision_config`)."""

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
            len(self.encoder_ch_mult) == len(self.decoder_ch_mult),
            "encoder_ch_mult and decoder_ch_mult must have the same length, "
            f"got {self.encoder_ch_mult} and {self.decoder_ch_mult}",
        )
        for mult in (1, *self.encoder_ch_mult, *self.decoder_ch_mult):
            require(
                self.ch * mult % self.num_groups == 0,
                f"VQ channels must be multiples of the {self.num_groups} normalisation groups (num_groups), "
                f"got ch (base_channels) {self.ch} times ch_mult (channel_multiplier) {mult}",
            )

    @property
    def outer_levels(self) -> list[tuple[int, int]]:
        """Input and output channels of the encoder's first and the decoder's last level."""
        encoder, decoder = self.encoder_ch_mult, self.decoder_ch_mult
        decoder_input = decoder[1] if len(decoder) > 1 else decoder[0]
        return [(self.ch, self.ch * encoder[0]), (self.ch * decoder_input, self.ch * decoder[0])]

    @property
    def downsample_factor(self) -> int:
        """Pixels along one side of a token (16 for VQ-16)."""
        return 2 ** (len(self.encoder_ch_mult) - 1)


@dataclass(frozen=True)
class TokenHeadConfig:
    """Output head for image tokens (`gen_head_config`)."""

    hidden_size: int
    image_token_embed: int
    codebook_size: int

    def __post_init__(self) -> None:
        check_positive(self)

"""Config of image generation by a flow over VAE latents, as in JanusFlow."""

from __future__ import annotations

from dataclasses import dataclass

from .checks import check_positive, require, require_equal, require_multiple

# JanusFlow was trained with SDXL's VAE (arXiv:2307.01952, section 2.4): pixels along one side of a latent,
# the factor that scales its latents to unit variance, and the widths of its levels.
SDXL_DOWNSAMPLE_FACTOR = 8
SDXL_SCALING_FACTOR = 0.13025
SDXL_BLOCK_OUT_CHANNELS = (128, 256, 512, 512)


@dataclass(frozen=True)
class FlowGenerationConfig:
    """Velocity-field image generation: U-ViT encoder and decoder around the language model, and a VAE."""

    encoder: UViTConfig  # from latents to the language model's embeddings (`vision_gen_enc_config`)
    decoder: UViTConfig  # from its hidden states to velocities (`vision_gen_dec_config`)
    hidden_size: int  # width of the language model, and of the timestep embedding
    rms_norm_eps: float  # of the norm between the language model and the decoder
    image_size: int  # pixels along one side
    vae: VAEConfig | None = None  # from latents to pixels; None if only latents are needed

    scaling_factor = SDXL_SCALING_FACTOR  # that the VAE's latents are multiplied by for the flow

    def __post_init__(self) -> None:
        check_positive(self)
        for name, uvit in (("vision_gen_enc_config", self.encoder), ("vision_gen_dec_config", self.decoder)):
            source = "the language model's hidden_size"
            require_equal(f"{name}.hidden_size", uvit.hidden_size, source, self.hidden_size)
        for name in ("channels", "block_out_channels", "patch_size"):
            found, expected = getattr(self.decoder, name), getattr(self.encoder, name)
            require_equal(f"{name} of vision_gen_dec_config", found, "the encoder's", expected)
        pixels = SDXL_DOWNSAMPLE_FACTOR * self.encoder.patch_size
        require_multiple("image_size", self.image_size, pixels, f"{pixels} pixels per token")
        if self.vae is not None:
            self._check_vae(self.vae)

    def _check_vae(self, vae: VAEConfig) -> None:
        """Rejects a VAE whose latents differ from those that the flow was trained on."""
        for found, expected, rule in (
            (vae.latent_channels, self.encoder.channels, "{} latent_channels"),
            (vae.downsample_factor, SDXL_DOWNSAMPLE_FACTOR, "block_out_channels for {} pixels per latent"),
            (vae.scaling_factor, SDXL_SCALING_FACTOR, "the scaling_factor {} that the flow was trained with"),
        ):
            if found != expected:
                raise ValueError(f"vae must have {rule.format(expected)}, got {found}; use the VAE of SDXL")

    def check_width(self, width: int) -> None:
        """Raises ValueError if the language model's width is not `hidden_size`."""
        source = "the language model's hidden_size"
        require_equal("vision_gen_enc_config.hidden_size", self.hidden_size, source, width)

    @property
    def codec_levels(self) -> list[tuple[int, int]]:
        """Input and output channels of the VAE's levels at full resolution; empty without a VAE."""
        return self.vae.outer_levels if self.vae else []

    @property
    def has_sdxl_latents(self) -> bool:
        """Whether the latents are those of SDXL's VAE, rather than of another one in the checkpoint."""
        return self.vae is None or self.vae.is_sdxl

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image's latents ([4, 48, 48] for the released model)."""
        side = self.image_size // SDXL_DOWNSAMPLE_FACTOR
        return (self.encoder.channels, side, side)

    @property
    def num_tokens(self) -> int:
        """Tokens per image: one for the timestep, and one per patch of latents (1 + 576)."""
        return 1 + (self.latent_shape[1] // self.encoder.patch_size) ** 2

    @property
    def tokens_per_step(self) -> int:
        """Image tokens that the language model processes in one step: all of them."""
        return self.num_tokens

    def output_bytes(self, itemsize: int) -> int:
        """Working memory per sequence and token to turn hidden states into a velocity.

        In a decoder block, 2 features and 3 inner activations, 4 times as wide, exist at the same time. The
        decoder is twice as wide as the encoder, whose features it takes as well.
        """
        return 30 * self.decoder.block_out_channels * itemsize


@dataclass(frozen=True)
class UViTConfig:
    """Shallow U-ViT of a flow (`ShallowUViTEncoder` or `ShallowUViTDecoder`)."""

    channels: int  # of the latents
    block_out_channels: int  # width of the blocks; those of the decoder take the skip connection's as well
    patch_size: int  # latents along one side of a token
    layers_in_middle: int  # number of blocks
    hidden_size: int  # width of the timestep embedding
    norm_eps: float
    use_bias: bool = True  # whether convolutions and linear layers have biases; the first one always has

    def __post_init__(self) -> None:
        check_positive(self)
        require(
            self.block_out_channels % 2 == 0,
            "block_out_channels must be even, for the sines and cosines of the timestep, "
            f"got {self.block_out_channels}",
        )
        size = self.patch_size
        require(size > 1 and size.bit_count() == 1, f"patch_size must be a power of 2 from 2, got {size}")

    @property
    def upsamples(self) -> int:
        """How often the decoder doubles height and width: from tokens to latents."""
        return self.patch_size.bit_length() - 1


@dataclass(frozen=True)
class VAEConfig:
    """Continuous image autoencoder (`AutoencoderKL` in diffusers; SDXL, arXiv:2307.01952)."""

    block_out_channels: tuple[int, ...]
    layers_per_block: int
    latent_channels: int
    norm_num_groups: int = 32
    scaling_factor: float = SDXL_SCALING_FACTOR

    def __post_init__(self) -> None:
        check_positive(self)
        for channels in self.block_out_channels:
            if channels % self.norm_num_groups:
                raise ValueError(
                    f"vae block_out_channels must be multiples of norm_num_groups {self.norm_num_groups}, "
                    f"got {channels}; use the VAE of SDXL with its own config.json"
                )

    @property
    def is_sdxl(self) -> bool:
        """Whether it has the sizes of SDXL's VAE, so that its latents mean the same."""
        return self.block_out_channels == SDXL_BLOCK_OUT_CHANNELS

    @property
    def outer_levels(self) -> list[tuple[int, int]]:
        """Input and output channels of the encoder's first and the decoder's last level."""
        width, *wider = self.block_out_channels
        return [(width, width), (wider[0] if wider else width, width)]

    @property
    def downsample_factor(self) -> int:
        """Pixels along one side of a latent (8 for SDXL)."""
        return 2 ** (len(self.block_out_channels) - 1)

"""Drawing by a flow over the latents of a VAE."""

from __future__ import annotations

from dataclasses import dataclass

from .checks import check_positive, require

# Pixels along one side of a latent of SDXL's VAE, and the factor that gives its latents unit variance
# (arXiv:2307.01952, section 2.4): what JanusFlow was trained on.
SDXL_DOWNSAMPLE_FACTOR = 8
SDXL_SCALING_FACTOR = 0.13025


@dataclass(frozen=True)
class FlowGenerationConfig:
    """Drawing by a velocity field: the way in, the way out, and the VAE if there is one.

    Attributes:
        encoder: latents to positions of the body (`vision_gen_enc_config`).
        decoder: positions of the body to velocities (`vision_gen_dec_config`).
        hidden_size: the body's width, which is also that of the embedded time.
        rms_norm_eps: of the norm between body and decoder.
        image_size: pixels along one side.
        vae: latents to pixels; None where only latents are wanted.
    """

    encoder: UViTConfig
    decoder: UViTConfig
    hidden_size: int
    rms_norm_eps: float
    image_size: int
    vae: VAEConfig | None = None

    def __post_init__(self) -> None:
        check_positive(self)
        for name, value in (
            ("vision_gen_enc_config.hidden_size", self.encoder.hidden_size),
            ("vision_gen_dec_config.hidden_size", self.decoder.hidden_size),
        ):
            require(
                value == self.hidden_size,
                f"{name} must be the language model's hidden_size {self.hidden_size}, got {value}",
            )
        require(
            self.encoder.patch_size == self.decoder.patch_size,
            f"vision_gen_dec_config must enlarge by the encoder's stride {self.encoder.patch_size}, "
            f"got {self.decoder.patch_size}",
        )
        for name in ("channels", "block_out_channels"):
            wanted, found = getattr(self.encoder, name), getattr(self.decoder, name)
            require(
                found == wanted,
                f"vision_gen_dec_config must have the encoder's {name} {wanted}, got {found}",
            )
        step = self.downsample_factor * self.encoder.patch_size
        require(
            self.image_size % step == 0,
            f"image_size must be a multiple of {step} pixels per position, got {self.image_size}",
        )
        self._check_vae()

    def _check_vae(self) -> None:
        """Refuses a VAE whose latents are not those that the flow was trained on."""
        if self.vae is None:
            return
        for name, found, wanted in (
            ("latent channels", self.vae.latent_channels, self.encoder.channels),
            ("pixels per latent", self.vae.downsample_factor, self.downsample_factor),
        ):
            if found != wanted:
                raise ValueError(f"vae must have {wanted} {name}, got {found}; use the VAE of SDXL")
        if self.vae.scaling_factor != self.scaling_factor:
            raise ValueError(
                f"vae must have the scaling_factor {self.scaling_factor} that the flow was trained with, got "
                f"{self.vae.scaling_factor}; use the VAE of SDXL"
            )

    def check_width(self, width: int) -> None:
        """Refuses a body of another width than the one that both ends fit.

        Raises:
            ValueError: if it is another.
        """
        require(
            self.hidden_size == width,
            f"vision_gen_enc_config.hidden_size must be the language model's hidden_size {width}, "
            f"got {self.hidden_size}",
        )

    @property
    def codec_channels(self) -> int:
        """Channels of the VAE at full resolution; 0 without one."""
        return self.vae.block_out_channels[0] if self.vae else 0

    @property
    def downsample_factor(self) -> int:
        """Pixels along one side of a latent."""
        return SDXL_DOWNSAMPLE_FACTOR

    @property
    def scaling_factor(self) -> float:
        """What a VAE's latents are multiplied by before the flow sees them."""
        return SDXL_SCALING_FACTOR

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image's latents ([4, 48, 48] for the released model)."""
        side = self.image_size // self.downsample_factor
        return (self.encoder.channels, side, side)

    @property
    def num_tokens(self) -> int:
        """Positions that an image takes in the body: one of time, and one per patch of latents (1 + 576)."""
        return 1 + (self.latent_shape[1] // self.encoder.patch_size) ** 2

    @property
    def tokens_per_step(self) -> int:
        """Positions of an image that pass the body at once: all."""
        return self.num_tokens


@dataclass(frozen=True)
class UViTConfig:
    """Sizes of one end of the flow, a shallow U-ViT (`ShallowUViTEncoder`, `ShallowUViTDecoder`).

    Attributes:
        channels: of the latents.
        block_out_channels: width of the blocks; the decoder's are as wide as this and its skip together.
        patch_size: latents along one side of a position.
        layers_in_middle: blocks.
        hidden_size: width of the embedded time.
        norm_eps: of the norms.
        use_bias: whether convolutions and linear layers have biases.
    """

    channels: int
    block_out_channels: int
    patch_size: int
    layers_in_middle: int
    hidden_size: int
    norm_eps: float
    use_bias: bool = True

    def __post_init__(self) -> None:
        check_positive(self)
        require(
            self.block_out_channels % 2 == 0,
            f"block_out_channels must be even, for sines and cosines of time, got {self.block_out_channels}",
        )


@dataclass(frozen=True)
class VAEConfig:
    """Sizes of a continuous image autoencoder (`AutoencoderKL` in diffusers; SDXL, arXiv:2307.01952)."""

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
                    f"vae channels must be multiples of its {self.norm_num_groups} normalisation groups, "
                    f"got {channels}; use the VAE of SDXL with its own config.json"
                )

    @property
    def downsample_factor(self) -> int:
        """Pixels along one side of a latent (8 for SDXL's)."""
        return 2 ** (len(self.block_out_channels) - 1)

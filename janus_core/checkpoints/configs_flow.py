"""JanusFlow's config.json and that of a diffusers VAE to configurations and back."""

from __future__ import annotations

from ..config import (
    FlowGenerationConfig,
    JanusConfig,
    ProjectorConfig,
    UnderstandingConfig,
    UViTConfig,
    VAEConfig,
)
from .configs import Json, llama_config, llama_json, vision_config, vision_json


def from_flow(config: Json) -> JanusConfig:
    """Reads the original layout's config.json of a model that draws by a flow."""
    vision = vision_config(config["vision_und_enc_config"]["params"])
    body = llama_config(config["language_config"])
    encoder, decoder = config["vision_gen_enc_config"]["params"], config["vision_gen_dec_config"]["params"]
    if encoder["kernel_size"] != encoder["stride"] or encoder["padding"]:
        raise ValueError(
            "vision_gen_enc_config.params must have a kernel_size equal to its stride and no padding, got "
            f"{encoder['kernel_size']}, {encoder['stride']} and {encoder['padding']}; this version builds no "
            "other encoder"
        )
    return JanusConfig(
        understanding=UnderstandingConfig(
            vision, ProjectorConfig(vision.hidden_size, body.hidden_size, depth=1), start_embedding=True
        ),
        body=body,
        generation=FlowGenerationConfig(
            encoder=_uvit(encoder, encoder["input_channels"], encoder["stride"]),
            decoder=_uvit(decoder, decoder["out_channels"], 2 ** decoder["upsamples"]),
            hidden_size=body.hidden_size,
            rms_norm_eps=body.rms_norm_eps,
            image_size=vision.image_size,
        ),
    )


def _uvit(params: Json, channels: int, patch_size: int) -> UViTConfig:
    widths = params["block_out_channels"]
    # The released files spell the encoder's switch in a way of their own.
    affine = params.get("elementwise_affine", params.get("elementwize_affine", True))
    if len(widths) != 1 or not params.get("use_mid_block", True) or not affine:
        raise ValueError(
            "vision_gen_enc_config and vision_gen_dec_config must have one width, a middle block and norms "
            f"with weights, got {params}; this version builds no other U-ViT"
        )
    return UViTConfig(
        channels=channels,
        block_out_channels=widths[0],
        patch_size=patch_size,
        layers_in_middle=params["layers_in_middle"],
        hidden_size=params["hidden_size"],
        norm_eps=params["norm_eps"],
        use_bias=params["use_bias"],
    )


def to_flow(config: JanusConfig, dtype_name: str) -> Json:
    """Writes the original layout's config.json, every size spelt out.

    Args:
        config: a model that draws by a flow.
        dtype_name: of its weights, for example `bfloat16`.
    """
    generation = config.generation
    assert isinstance(generation, FlowGenerationConfig)  # its layout is only chosen for such a model
    encoder, decoder = generation.encoder, generation.decoder
    return {
        "architectures": ["MultiModalityCausalLM"],
        "model_type": "multi_modality",
        "torch_dtype": dtype_name,
        "vision_und_enc_config": vision_json(config.understanding.vision, "vision_und_enc"),
        "vision_gen_enc_config": {
            "cls": "ShallowUViTEncoder",
            "model_type": "vision_gen_enc",
            "params": {
                "input_channels": encoder.channels,
                "kernel_size": encoder.patch_size,
                "stride": encoder.patch_size,
                "padding": 0,
                "elementwize_affine": True,
                "num_extra_tensors": 5,
                **_uvit_json(encoder),
            },
        },
        "vision_gen_dec_config": {
            "cls": "ShallowUViTDecoder",
            "model_type": "vision_gen_dec",
            "params": {
                "in_channels": decoder.block_out_channels,
                "out_channels": decoder.channels,
                "upsamples": decoder.patch_size.bit_length() - 1,
                "elementwise_affine": True,
                **_uvit_json(decoder),
            },
        },
        "language_config": llama_json(config.body, dtype_name),
    }


def _uvit_json(config: UViTConfig) -> Json:
    return {
        "block_out_channels": [config.block_out_channels],
        "layers_in_middle": config.layers_in_middle,
        "hidden_size": config.hidden_size,
        "norm_eps": config.norm_eps,
        "use_bias": config.use_bias,
        "use_mid_block": True,
    }


def from_diffusers(config: Json) -> VAEConfig:
    """Reads the config.json of a VAE that diffusers wrote."""
    return VAEConfig(
        block_out_channels=tuple(config["block_out_channels"]),
        layers_per_block=config["layers_per_block"],
        latent_channels=config["latent_channels"],
        norm_num_groups=config["norm_num_groups"],
        scaling_factor=config["scaling_factor"],
    )


def to_diffusers(config: VAEConfig) -> Json:
    """Writes the config.json of a VAE as diffusers does."""
    levels = len(config.block_out_channels)
    return {
        "_class_name": "AutoencoderKL",
        "act_fn": "silu",
        "block_out_channels": list(config.block_out_channels),
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "force_upcast": True,
        "in_channels": 3,
        "latent_channels": config.latent_channels,
        "layers_per_block": config.layers_per_block,
        "norm_num_groups": config.norm_num_groups,
        "out_channels": 3,
        "sample_size": 1024,
        "scaling_factor": config.scaling_factor,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
    }

"""The layout of deepseek-ai's JanusFlow: `model_type: multi_modality` with latents."""

from __future__ import annotations

from ...config import FlowGenerationConfig, JanusConfig, ProjectorConfig, UnderstandingConfig, UViTConfig
from ..keymap import KeyMap, Rule, rename
from . import shared
from .shared import Json


def _read_config(config: Json) -> JanusConfig:
    vision = shared.read_vision(config["vision_und_enc_config"]["params"])
    body = shared.read_llama(config["language_config"])
    encoder, decoder = config["vision_gen_enc_config"]["params"], config["vision_gen_dec_config"]["params"]
    kernel_size, stride, padding = (encoder[key] for key in ("kernel_size", "stride", "padding"))
    if kernel_size != stride or padding:
        raise ValueError(
            "vision_gen_enc_config.params must have a kernel_size equal to its stride and no padding, got "
            f"{kernel_size}, {stride} and {padding}; no other encoder is supported"
        )
    aligner = ProjectorConfig(vision.hidden_size, body.hidden_size, depth=1)
    return JanusConfig(
        understanding=UnderstandingConfig(vision, aligner, start_embedding=True),
        body=body,
        generation=FlowGenerationConfig(
            encoder=_read_uvit(encoder, channels=encoder["input_channels"], patch_size=stride),
            decoder=_read_uvit(
                decoder, channels=decoder["out_channels"], patch_size=2 ** decoder["upsamples"]
            ),
            hidden_size=body.hidden_size,
            rms_norm_eps=body.rms_norm_eps,
            image_size=vision.image_size,
        ),
    )


def _read_uvit(params: Json, channels: int, patch_size: int) -> UViTConfig:
    widths = params["block_out_channels"]
    # The released config.json misspells this key of the encoder.
    affine = params.get("elementwise_affine", params.get("elementwize_affine", True))
    if len(widths) != 1 or not params.get("use_mid_block", True) or not affine:
        raise ValueError(
            "vision_gen_enc_config and vision_gen_dec_config must have one width, a middle block and norms "
            f"with weights, got {params}; no other U-ViT is supported"
        )
    sizes = {"channels": channels, "block_out_channels": widths[0], "patch_size": patch_size}
    return shared.read_fields(UViTConfig, params | sizes)


def _write_config(config: JanusConfig, dtype_name: str) -> Json:
    """Writes every size explicitly, so that no reader depends on defaults."""
    generation = config.generation
    assert isinstance(generation, FlowGenerationConfig)  # the key map covers such models only
    encoder, decoder = generation.encoder, generation.decoder
    return {
        "architectures": ["MultiModalityCausalLM"],
        "model_type": "multi_modality",
        "torch_dtype": dtype_name,
        "vision_und_enc_config": shared.write_vision(config.understanding.vision, "vision_und_enc"),
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
                **_write_uvit(encoder),
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
                **_write_uvit(decoder),
            },
        },
        "language_config": shared.write_llama(config.body, dtype_name),
    }


def _write_uvit(config: UViTConfig) -> Json:
    same = {key: getattr(config, key) for key in ("layers_in_middle", "hidden_size", "norm_eps", "use_bias")}
    return {"block_out_channels": [config.block_out_channels], **same, "use_mid_block": True}


_TOWER = "vision_und_enc_model.vision_tower"

_KEY_MAP = KeyMap(
    name="original flow",
    rules=(
        Rule((f"{_TOWER}.pos_embed",), "understanding.tower.position_embedding.weight", leading_one=True),
        *rename(
            ("beg_of_und_embed", "understanding.start.weight"),
            (f"{_TOWER}.patch_embed.proj.*", "understanding.tower.patch_embed.*"),
            (f"{_TOWER}.*", "understanding.tower.*"),
            ("vision_und_enc_aligner.*", "understanding.aligner.layers.0.*"),
            ("vision_gen_enc_model.mid_block.res_blocks.*", "generation.encoder.blocks.*"),
            ("vision_gen_enc_model.*", "generation.encoder.*"),
            ("vision_gen_enc_aligner.*", "generation.encoder_aligner.*"),
            ("vision_gen_dec_aligner_norm.weight", "generation.decoder_norm.weight"),
            ("vision_gen_dec_aligner.*", "generation.decoder_aligner.*"),
            ("vision_gen_dec_model.input_norm.weight", "generation.decoder.input_norm.weight"),
            ("vision_gen_dec_model.mid_block.res_blocks.*", "generation.decoder.blocks.*"),
            ("vision_gen_dec_model.out_convs.0.norm.weight", "generation.decoder.norm_out.weight"),
            ("vision_gen_dec_model.out_convs.0.unpatch_conv.*", "generation.decoder.conv_out.*"),
            ("language_model.lm_head.weight", "body.lm_head.weight"),
        ),
        *shared.llama_rules("language_model.model."),
    ),
    dropped={
        f"{_TOWER}.attn_pool.*": shared.ATTENTION_POOLING,
        "language_model.model.layers.#.self_attn.rotary_emb.inv_freq": shared.ROTARY_TABLE,
    },
)

FLOW = shared.Layout(
    "multi_modality", "vision_gen_enc_config", _read_config, _write_config, _KEY_MAP, takes_vae=True
)

"""The layout of deepseek-ai's Janus and Janus-Pro: `model_type: multi_modality` with image tokens."""

from __future__ import annotations

from ...config import (
    JanusConfig,
    ProjectorConfig,
    TokenGenerationConfig,
    TokenHeadConfig,
    UnderstandingConfig,
    VQConfig,
)
from ...presets import IMAGE_TOKENIZERS
from ..keymap import KeyMap, Rule, rename
from . import shared
from .shared import Json

# Fields of our configs that have another name in config.json.
_PROJECTOR_NAMES = {"input_size": "input_dim", "hidden_size": "n_embed"}
_VQ_NAMES = {"codebook_size": "image_token_size", "codebook_dim": "n_embed"}
_HEAD_NAMES = {"hidden_size": "n_embed", "codebook_size": "image_token_size"}


def _read_config(config: Json) -> JanusConfig:
    vision = shared.read_vision(config["vision_config"]["params"])
    return JanusConfig(
        understanding=UnderstandingConfig(vision, _read_projector(config["aligner_config"]["params"])),
        body=shared.read_llama(config["language_config"]),
        generation=TokenGenerationConfig(
            vq=_read_vq(config["gen_vision_config"]),
            aligner=_read_projector(config["gen_aligner_config"]["params"]),
            head=shared.read_fields(TokenHeadConfig, config["gen_head_config"]["params"], **_HEAD_NAMES),
            image_size=vision.image_size,
        ),
    )


def _read_projector(params: Json) -> ProjectorConfig:
    kind = params.get("projector_type", "mlp_gelu")
    if kind != "mlp_gelu":
        raise ValueError(f"projector_type must be 'mlp_gelu', got {kind!r}; no other projector is supported")
    return shared.read_fields(ProjectorConfig, {"depth": 1} | params, **_PROJECTOR_NAMES)


def _read_vq(config: Json) -> VQConfig:
    kind = config.get("cls", "VQ-16")
    if kind not in IMAGE_TOKENIZERS:
        raise ValueError(
            f"gen_vision_config.cls must be one of {', '.join(IMAGE_TOKENIZERS)}, got {kind!r}; no other "
            "image tokenizer is supported"
        )
    sizes = IMAGE_TOKENIZERS[kind] | config["params"]
    for key in ("encoder_ch_mult", "decoder_ch_mult"):
        sizes[key] = tuple(sizes.get(key, sizes["ch_mult"]))
    return shared.read_fields(VQConfig, sizes, **_VQ_NAMES)


def _write_config(config: JanusConfig, dtype_name: str) -> Json:
    """Writes every size explicitly, so that no reader depends on defaults."""
    generation = config.generation
    assert isinstance(generation, TokenGenerationConfig)  # the key map covers such models only
    return {
        "architectures": ["MultiModalityCausalLM"],
        "model_type": "multi_modality",
        "torch_dtype": dtype_name,
        "vision_config": shared.write_vision(config.understanding.vision, "vision"),
        "aligner_config": _write_projector(config.understanding.aligner, "aligner"),
        "gen_aligner_config": _write_projector(generation.aligner, "gen_aligner"),
        "gen_vision_config": shared.write_part(generation.vq, "VQ-16", "gen_vision", **_VQ_NAMES),
        "gen_head_config": shared.write_part(generation.head, "vision_head", "gen_head", **_HEAD_NAMES),
        "language_config": shared.write_llama(config.body, dtype_name),
    }


def _write_projector(config: ProjectorConfig, model_type: str) -> Json:
    part = shared.write_part(config, "MlpProjector", model_type, **_PROJECTOR_NAMES)
    part["params"]["projector_type"] = "mlp_gelu"
    return part


_TOWER = "vision_model.vision_tower"
_VQ = "gen_vision_model"

_KEY_MAP = KeyMap(
    name="original",
    rules=(
        Rule((f"{_TOWER}.pos_embed",), "understanding.tower.position_embedding.weight", leading_one=True),
        *rename(
            (f"{_TOWER}.patch_embed.proj.*", "understanding.tower.patch_embed.*"),
            (f"{_TOWER}.*", "understanding.tower.*"),
            ("aligner.*", "understanding.aligner.*"),
            (f"{_VQ}.quantize.embedding.weight", "generation.vq.codebook.weight"),
            (f"{_VQ}.encoder.conv_blocks.#.downsample.*", "generation.vq.encoder.conv_blocks.#.resample.*"),
            (f"{_VQ}.decoder.conv_blocks.#.upsample.*", "generation.vq.decoder.conv_blocks.#.resample.*"),
            (f"{_VQ}.*", "generation.vq.*"),
            ("gen_aligner.*", "generation.aligner.*"),
            ("gen_head.*", "generation.head.*"),
            ("gen_embed.weight", "generation.embed.weight"),
            ("language_model.lm_head.weight", "body.lm_head.weight"),
        ),
        *shared.llama_rules("language_model.model."),
    ),
    dropped={
        f"{_TOWER}.attn_pool.*": shared.ATTENTION_POOLING,
        f"{_VQ}.quantize.codebook_used": "a usage counter from the tokenizer's training",
        "language_model.model.layers.#.self_attn.rotary_emb.inv_freq": shared.ROTARY_TABLE,
    },
)

ORIGINAL = shared.Layout("multi_modality", "gen_vision_config", _read_config, _write_config, _KEY_MAP)

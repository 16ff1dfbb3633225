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
from .sections import Fixed, Followed, Json, Row, Section, Values

# Fields of our configs that have another name in config.json.
_PROJECTOR_NAMES = {"input_size": "input_dim", "hidden_size": "n_embed"}
_VQ_NAMES = {"codebook_size": "image_token_size", "codebook_dim": "n_embed"}
_HEAD_NAMES = {"hidden_size": "n_embed", "codebook_size": "image_token_size"}


_PROJECTOR: dict[str, Row] = {
    "input_dim": Followed(),
    "n_embed": Followed(),
    "depth": Followed(int, 1),
    "projector_type": Fixed("mlp_gelu"),
}
_KIND = {"cls": Fixed("MlpProjector")}
_WHOLES = Followed(tuple[int, ...], None)

_SECTIONS = (
    *shared.vision_sections("vision_config"),
    Section("aligner_config", _KIND),
    Section("aligner_config.params", _PROJECTOR),
    Section("gen_vision_config", {"cls": Fixed(*IMAGE_TOKENIZERS)}),
    Section(
        "gen_vision_config.params",
        {
            "image_token_size": Followed(),
            "n_embed": Followed(),
            # Sizes that released configs leave to `cls`.
            **dict.fromkeys(("ch", "num_res_blocks", "z_channels", "num_groups"), Followed(int, None)),
            **dict.fromkeys(("ch_mult", "encoder_ch_mult", "decoder_ch_mult"), _WHOLES),
        },
    ),
    Section("gen_aligner_config", _KIND),
    Section("gen_aligner_config.params", _PROJECTOR),
    Section("gen_head_config", {"cls": Fixed("vision_head")}),
    Section(
        "gen_head_config.params",
        dict.fromkeys(("n_embed", "image_token_embed", "image_token_size"), Followed()),
    ),
    *shared.llama_sections("language_config"),
)
_SAME = (
    ("aligner_config.params.n_embed", "language_config.hidden_size"),
    ("gen_aligner_config.params.n_embed", "language_config.hidden_size"),
    ("gen_head_config.params.n_embed", "language_config.hidden_size"),
    ("gen_aligner_config.params.input_dim", "gen_vision_config.params.n_embed"),
    ("gen_head_config.params.image_token_size", "gen_vision_config.params.image_token_size"),
)


def _build_config(values: Values) -> JanusConfig:
    vision = shared.build_vision(values, "vision_config")
    return JanusConfig(
        understanding=UnderstandingConfig(vision, _build_projector(values["aligner_config.params"])),
        body=shared.build_llama(values, "language_config"),
        generation=TokenGenerationConfig(
            vq=_build_vq(values),
            aligner=_build_projector(values["gen_aligner_config.params"]),
            head=shared.read_fields(TokenHeadConfig, values["gen_head_config.params"], **_HEAD_NAMES),
            image_size=vision.image_size,
        ),
    )


def _build_projector(params: Json) -> ProjectorConfig:
    return shared.read_fields(ProjectorConfig, params, **_PROJECTOR_NAMES)


def _build_vq(values: Values) -> VQConfig:
    given = {key: value for key, value in values["gen_vision_config.params"].items() if value is not None}
    sizes = IMAGE_TOKENIZERS[values["gen_vision_config"]["cls"]] | given
    both = {f"{half}_ch_mult": sizes["ch_mult"] for half in ("encoder", "decoder")}
    return shared.read_fields(VQConfig, both | sizes, **_VQ_NAMES)


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
    sections={
        "vision_model.*": "vision_config.params",
        "aligner.*": "aligner_config.params",
        "gen_aligner.*": "gen_aligner_config.params",
        "gen_head.*": "gen_head_config.params",
        "gen_*": "gen_vision_config.params",
        "*": "language_config",
    },
)

ORIGINAL = shared.Layout(
    "multi_modality", "gen_vision_config", _SECTIONS, _SAME, _build_config, _write_config, _KEY_MAP
)

"""The layout of deepseek-ai's JanusFlow: `model_type: multi_modality` with latents."""

from __future__ import annotations

from ...config import FlowGenerationConfig, JanusConfig, ProjectorConfig, UnderstandingConfig, UViTConfig
from ...config.checks import require, require_equal
from ..keymap import KeyMap, Rule, rename
from . import shared
from .sections import Fixed, Followed, Json, Row, Section, Values

_UVIT: dict[str, Row] = {
    "block_out_channels": Followed(tuple[int, ...], (768,)),
    "layers_in_middle": Followed(int, 2),
    "hidden_size": Followed(int, 2048),
    "norm_eps": Followed(float, 1e-6),
    "use_bias": Followed(bool, True),
    "use_mid_block": Fixed(True),
    "elementwise_affine": Fixed(True),
}
_ENCODER, _DECODER = "vision_gen_enc_config.params", "vision_gen_dec_config.params"

_SECTIONS = (
    *shared.vision_sections("vision_und_enc_config"),
    Section("vision_gen_enc_config", {"cls": Fixed("ShallowUViTEncoder")}),
    Section(
        _ENCODER,
        {
            **_UVIT,
            "elementwize_affine": Fixed(True),  # so spelled in the released config.json
            "input_channels": Followed(int, 3),
            "stride": Followed(int, 4),
            "kernel_size": Followed(int, 7),
            "padding": Fixed(0, None),  # null means kernel minus stride
        },
    ),
    Section("vision_gen_dec_config", {"cls": Fixed("ShallowUViTDecoder")}),
    Section(
        _DECODER,
        {
            **_UVIT,
            "in_channels": Followed(int, 768),
            "out_channels": Followed(int, 3),
            "upsamples": Followed(int, 2),
        },
    ),
    *shared.llama_sections("language_config"),
)
_SAME = (
    (f"{_ENCODER}.hidden_size", "language_config.hidden_size"),
    (f"{_DECODER}.hidden_size", "language_config.hidden_size"),
    (f"{_DECODER}.out_channels", f"{_ENCODER}.input_channels"),
    (f"{_DECODER}.block_out_channels", f"{_ENCODER}.block_out_channels"),
    (f"{_ENCODER}.kernel_size", f"{_ENCODER}.stride"),
)


def _build_config(values: Values) -> JanusConfig:
    vision = shared.build_vision(values, "vision_und_enc_config")
    body = shared.build_llama(values, "language_config")
    aligner = ProjectorConfig(vision.hidden_size, body.hidden_size, depth=1)
    stride = values[_ENCODER]["stride"]
    power_of_2 = stride > 1 and stride.bit_count() == 1
    require(power_of_2, f"{_ENCODER}.stride must be a power of 2, at least 2, got {stride}")
    decoder = _build_uvit(values, _DECODER, "out_channels", stride)
    found, width = values[_DECODER]["in_channels"], decoder.block_out_channels
    require_equal(f"{_DECODER}.in_channels", found, "the width in block_out_channels", width)
    found, expected = values[_DECODER]["upsamples"], decoder.upsamples
    rule = f"{_DECODER}.upsamples must be {expected} for the encoder's stride {stride}"
    require(found == expected, f"{rule}, got {found}")
    return JanusConfig(
        understanding=UnderstandingConfig(vision, aligner, start_embedding=True),
        body=body,
        generation=FlowGenerationConfig(
            encoder=_build_uvit(values, _ENCODER, "input_channels", stride),
            decoder=decoder,
            hidden_size=body.hidden_size,
            rms_norm_eps=body.rms_norm_eps,
            image_size=vision.image_size,
        ),
    )


def _build_uvit(values: Values, path: str, channels: str, patch_size: int) -> UViTConfig:
    params = values[path]
    widths = params["block_out_channels"]
    require(len(widths) == 1, f"{path}.block_out_channels must hold one width, got {list(widths)}")
    sizes = {"channels": params[channels], "block_out_channels": widths[0], "patch_size": patch_size}
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
                "upsamples": decoder.upsamples,
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
            ("vision_gen_dec_model.mid_block.res_blocks.*", "generation.decoder.blocks.*"),
            ("vision_gen_dec_model.*", "generation.decoder.*"),
            ("language_model.lm_head.weight", "body.lm_head.weight"),
        ),
        *shared.llama_rules("language_model.model."),
    ),
    dropped={
        f"{_TOWER}.attn_pool.*": shared.ATTENTION_POOLING,
        "language_model.model.layers.#.self_attn.rotary_emb.inv_freq": shared.ROTARY_TABLE,
    },
    sections={
        "vision_und_enc_*": "vision_und_enc_config.params",
        "vision_gen_enc_*": _ENCODER,
        "vision_gen_dec_*": _DECODER,
        "*": "language_config",
    },
)

FLOW = shared.Layout(
    "multi_modality",
    "vision_gen_enc_config",
    _SECTIONS,
    _SAME,
    _build_config,
    _write_config,
    _KEY_MAP,
    takes_vae=True,
)

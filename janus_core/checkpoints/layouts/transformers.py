"""The layout of the transformers library: `model_type: janus`, as in the deepseek-community conversions."""

from __future__ import annotations

from ...config import (
    JanusConfig,
    ProjectorConfig,
    SiglipConfig,
    TokenGenerationConfig,
    TokenHeadConfig,
    UnderstandingConfig,
    VQConfig,
)
from ...config.checks import require
from ..keymap import KeyMap, Rule, rename
from .sections import Fixed, Followed, Section, Values
from .shared import (
    ROTARY_TABLE,
    Layout,
    build_llama,
    llama_rules,
    llama_sections,
    read_fields,
)

# With the defaults of transformers' JanusConfig.
_SECTIONS = (
    Section("", {"tie_word_embeddings": Followed(bool, True)}),
    Section(
        "vision_config",
        {
            "hidden_size": Followed(int, 1024),
            "num_hidden_layers": Followed(int, 24),
            "num_attention_heads": Followed(int, 16),
            "mlp_ratio": Followed(float, 4.0),
            "image_size": Followed(int, 384),
            "patch_size": Followed(int, 16),
            "projection_dim": Followed(int, 2048),
            "depth": Followed(int, 2),
            "layer_norm_eps": Followed(float, 1e-6),
            "num_image_tokens": Followed(int, None),
            "num_channels": Fixed(3),
            "hidden_act": Fixed("gelu"),
            "attention_bias": Fixed(True),
            "use_qk_norm": Fixed(False),
        },
    ),
    Section(
        "vq_config",
        {
            "embed_dim": Followed(int, 8),
            "num_embeddings": Followed(int, 16384),
            "latent_channels": Followed(int, 256),
            "base_channels": Followed(int, 128),
            "channel_multiplier": Followed(tuple[int, ...], (1, 1, 2, 2, 4)),
            "num_res_blocks": Followed(int, 2),
            "projection_dim": Followed(int, 2048),
            "num_hidden_layers": Followed(int, 2),
            "image_token_embed_dim": Followed(int, 2048),
            "double_latent": Fixed(False),
            "in_channels": Fixed(3),
            "out_channels": Fixed(3),
            "hidden_act": Fixed("gelu"),
        },
    ),
    *llama_sections("text_config"),
)
_SAME = (
    ("vision_config.projection_dim", "text_config.hidden_size"),
    ("vq_config.projection_dim", "text_config.hidden_size"),
    ("vq_config.image_token_embed_dim", "text_config.hidden_size"),
)


def _build_config(values: Values) -> JanusConfig:
    vision, vq = dict(values["vision_config"]), values["vq_config"]
    vision["intermediate_size"] = int(vision["hidden_size"] * vision["mlp_ratio"])
    tower = read_fields(SiglipConfig, vision)
    positions, found = tower.num_positions, vision["num_image_tokens"]
    sizes = f"image_size {tower.image_size} and patch_size {tower.patch_size}"
    rule = f"vision_config.num_image_tokens must be {positions} by {sizes}"
    require(found in (None, positions), f"{rule}, got {found}")
    # Version 5 asks the root, version 4 the language model.
    tied = values[""]["tie_word_embeddings"] or values["text_config"]["tie_word_embeddings"]
    return JanusConfig(
        understanding=UnderstandingConfig(
            vision=tower,
            aligner=ProjectorConfig(vision["hidden_size"], vision["projection_dim"], vision["depth"]),
        ),
        body=build_llama(values, "text_config", tied),
        generation=TokenGenerationConfig(
            vq=VQConfig(
                codebook_size=vq["num_embeddings"],
                codebook_dim=vq["embed_dim"],
                ch=vq["base_channels"],
                encoder_ch_mult=vq["channel_multiplier"],
                decoder_ch_mult=vq["channel_multiplier"],
                num_res_blocks=vq["num_res_blocks"],
                z_channels=vq["latent_channels"],
            ),
            aligner=ProjectorConfig(vq["embed_dim"], vq["projection_dim"], vq["num_hidden_layers"]),
            head=TokenHeadConfig(vq["image_token_embed_dim"], vq["projection_dim"], vq["num_embeddings"]),
            image_size=vision["image_size"],
        ),
    )


_TOWER = "model.vision_model"
_VQ = "model.vqmodel"
_MAX_PROJECTOR_DEPTH = 16


def _projector_rules(source: str, target: str) -> tuple[Rule, ...]:
    """Rules of a projector. The model numbers its activations too, so linear layers have even indices."""
    hidden = (
        (f"{source}.hidden_layers.{i}.*", f"{target}.layers.{2 * i + 2}.*")
        for i in range(_MAX_PROJECTOR_DEPTH)
    )
    return rename((f"{source}.fc1.*", f"{target}.layers.0.*"), *hidden)


def _fused_qkv_rule(kind: str) -> Rule:
    return Rule(
        tuple(f"{_TOWER}.encoder.layers.#.self_attn.{name}_proj.{kind}" for name in "qkv"),
        f"understanding.tower.blocks.#.attn.qkv.{kind}",
    )


_KEY_MAP = KeyMap(
    name="transformers",
    rules=(
        _fused_qkv_rule("weight"),
        _fused_qkv_rule("bias"),
        *rename(
            (f"{_TOWER}.embeddings.patch_embedding.*", "understanding.tower.patch_embed.*"),
            (f"{_TOWER}.embeddings.position_embedding.*", "understanding.tower.position_embedding.*"),
            (f"{_TOWER}.encoder.layers.#.layer_norm1.*", "understanding.tower.blocks.#.norm1.*"),
            (f"{_TOWER}.encoder.layers.#.layer_norm2.*", "understanding.tower.blocks.#.norm2.*"),
            (
                f"{_TOWER}.encoder.layers.#.self_attn.projection_layer.*",
                "understanding.tower.blocks.#.attn.proj.*",
            ),
            (f"{_TOWER}.encoder.layers.#.mlp.*", "understanding.tower.blocks.#.mlp.*"),
            (f"{_TOWER}.post_layernorm.*", "understanding.tower.norm.*"),
            (f"{_VQ}.quantize.embedding.weight", "generation.vq.codebook.weight"),
            (f"{_VQ}.encoder.down.#.block.#.*", "generation.vq.encoder.conv_blocks.#.res.#.*"),
            (f"{_VQ}.encoder.down.#.downsample.*", "generation.vq.encoder.conv_blocks.#.resample.*"),
            (f"{_VQ}.encoder.down.#.attn.#.*", "generation.vq.encoder.conv_blocks.#.attn.#.*"),
            (f"{_VQ}.decoder.up.#.block.#.*", "generation.vq.decoder.conv_blocks.#.res.#.*"),
            (f"{_VQ}.decoder.up.#.upsample.*", "generation.vq.decoder.conv_blocks.#.resample.*"),
            (f"{_VQ}.decoder.up.#.attn.#.*", "generation.vq.decoder.conv_blocks.#.attn.#.*"),
            (f"{_VQ}.encoder.mid.block_1.*", "generation.vq.encoder.mid.0.*"),
            (f"{_VQ}.encoder.mid.attn_1.*", "generation.vq.encoder.mid.1.*"),
            (f"{_VQ}.encoder.mid.block_2.*", "generation.vq.encoder.mid.2.*"),
            (f"{_VQ}.decoder.mid.block_1.*", "generation.vq.decoder.mid.0.*"),
            (f"{_VQ}.decoder.mid.attn_1.*", "generation.vq.decoder.mid.1.*"),
            (f"{_VQ}.decoder.mid.block_2.*", "generation.vq.decoder.mid.2.*"),
            (f"{_VQ}.*", "generation.vq.*"),
            ("model.generation_embeddings.weight", "generation.embed.weight"),
            ("model.generation_head.proj_out.*", "generation.head.output_mlp_projector.*"),
            ("model.generation_head.vision_head.*", "generation.head.vision_head.*"),
            ("lm_head.weight", "body.lm_head.weight"),
        ),
        *_projector_rules("model.aligner", "understanding.aligner"),
        *_projector_rules("model.generation_aligner", "generation.aligner"),
        *llama_rules("model.language_model."),
    ),
    dropped={
        f"{_TOWER}.embeddings.position_ids": "the numbers 0, 1, 2, …",
        "model.language_model.rotary_emb.inv_freq": ROTARY_TABLE,
    },
    sections={
        f"{_TOWER}.*": "vision_config",
        "model.aligner.*": "vision_config",
        f"{_VQ}.*": "vq_config",
        "model.generation_*": "vq_config",
        "*": "text_config",
    },
)

TRANSFORMERS = Layout(
    "janus", "vq_config", _SECTIONS, _SAME, _build_config, None, _KEY_MAP, trusts_chat_template=True
)

"""The names that checkpoints give their tensors, and the names of ours: data only."""

from __future__ import annotations

from ..config import JanusConfig
from .keymap import Layout, Rule


def _thirds(config: JanusConfig) -> tuple[int, ...]:
    return (1, 1, 1)


def _halves(config: JanusConfig) -> tuple[int, ...]:
    return (1, 1)


def _heads(config: JanusConfig) -> tuple[int, ...]:
    body = config.body
    return (body.num_attention_heads, body.num_key_value_heads, body.num_key_value_heads)


def same(*pairs: tuple[str, str]) -> tuple[Rule, ...]:
    """Rules that only rename."""
    return tuple(Rule((source,), target) for source, target in pairs)


def llama(prefix: str) -> tuple[Rule, ...]:
    """The body's names, which all layouts share but for a prefix."""
    return (
        Rule(
            tuple(f"{prefix}layers.#.self_attn.{name}_proj.weight" for name in "qkv"),
            "body.layers.#.self_attn.qkv_proj.weight",
            _heads,
        ),
        Rule(
            tuple(f"{prefix}layers.#.mlp.{name}_proj.weight" for name in ("gate", "up")),
            "body.layers.#.mlp.gate_up_proj.weight",
            _halves,
        ),
        *same(
            (f"{prefix}layers.#.*", "body.layers.#.*"),
            (f"{prefix}embed_tokens.weight", "body.embed_tokens.weight"),
            (f"{prefix}norm.weight", "body.norm.weight"),
        ),
    )


MAX_DEPTH = 16  # of projectors


def _projector_layers(source: str, target: str) -> tuple[tuple[str, str], ...]:
    """A projector's later layers: between two of ours stands an activation, which is counted too."""
    return tuple(
        (f"{source}.hidden_layers.{i}.*", f"{target}.layers.{2 * i + 2}.*") for i in range(MAX_DEPTH)
    )


ROTARY_TABLE = "rotary frequencies, computed from the positions"

# deepseek-ai's own files: `model_type: multi_modality` with image tokens.
ORIGINAL = Layout(
    name="original",
    rules=(
        Rule(
            ("vision_model.vision_tower.pos_embed",),
            "understanding.tower.position_embedding.weight",
            leading_one=True,
        ),
        *same(
            ("vision_model.vision_tower.patch_embed.proj.*", "understanding.tower.patch_embed.*"),
            ("vision_model.vision_tower.*", "understanding.tower.*"),
            ("aligner.*", "understanding.aligner.*"),
            ("gen_vision_model.quantize.embedding.weight", "generation.vq.codebook.weight"),
            (
                "gen_vision_model.encoder.conv_blocks.#.downsample.*",
                "generation.vq.encoder.conv_blocks.#.resample.*",
            ),
            (
                "gen_vision_model.decoder.conv_blocks.#.upsample.*",
                "generation.vq.decoder.conv_blocks.#.resample.*",
            ),
            ("gen_vision_model.*", "generation.vq.*"),
            ("gen_aligner.*", "generation.aligner.*"),
            ("gen_head.*", "generation.head.*"),
            ("gen_embed.weight", "generation.embed.weight"),
            ("language_model.lm_head.weight", "body.lm_head.weight"),
        ),
        *llama("language_model.model."),
    ),
    dropped={
        "vision_model.vision_tower.attn_pool.*": "SigLIP's pooling head; Janus reads the patches",
        "gen_vision_model.quantize.codebook_used": "a counter of the tokenizer's training",
        "language_model.model.layers.#.self_attn.rotary_emb.inv_freq": ROTARY_TABLE,
    },
)

# transformers' own files: `model_type: janus`, as in the deepseek-community conversions.
TRANSFORMERS = Layout(
    name="transformers",
    rules=(
        *(
            Rule(
                tuple(f"model.vision_model.encoder.layers.#.self_attn.{name}_proj.{kind}" for name in "qkv"),
                f"understanding.tower.blocks.#.attn.qkv.{kind}",
                _thirds,
            )
            for kind in ("weight", "bias")
        ),
        *same(
            ("model.vision_model.embeddings.patch_embedding.*", "understanding.tower.patch_embed.*"),
            (
                "model.vision_model.embeddings.position_embedding.*",
                "understanding.tower.position_embedding.*",
            ),
            ("model.vision_model.encoder.layers.#.layer_norm1.*", "understanding.tower.blocks.#.norm1.*"),
            ("model.vision_model.encoder.layers.#.layer_norm2.*", "understanding.tower.blocks.#.norm2.*"),
            (
                "model.vision_model.encoder.layers.#.self_attn.projection_layer.*",
                "understanding.tower.blocks.#.attn.proj.*",
            ),
            ("model.vision_model.encoder.layers.#.mlp.*", "understanding.tower.blocks.#.mlp.*"),
            ("model.vision_model.post_layernorm.*", "understanding.tower.norm.*"),
            ("model.aligner.fc1.*", "understanding.aligner.layers.0.*"),
            *_projector_layers("model.aligner", "understanding.aligner"),
            ("model.vqmodel.quantize.embedding.weight", "generation.vq.codebook.weight"),
            ("model.vqmodel.encoder.down.#.block.#.*", "generation.vq.encoder.conv_blocks.#.res.#.*"),
            ("model.vqmodel.encoder.down.#.downsample.*", "generation.vq.encoder.conv_blocks.#.resample.*"),
            ("model.vqmodel.encoder.down.#.attn.#.*", "generation.vq.encoder.conv_blocks.#.attn.#.*"),
            ("model.vqmodel.decoder.up.#.block.#.*", "generation.vq.decoder.conv_blocks.#.res.#.*"),
            ("model.vqmodel.decoder.up.#.upsample.*", "generation.vq.decoder.conv_blocks.#.resample.*"),
            ("model.vqmodel.decoder.up.#.attn.#.*", "generation.vq.decoder.conv_blocks.#.attn.#.*"),
            ("model.vqmodel.encoder.mid.block_1.*", "generation.vq.encoder.mid.0.*"),
            ("model.vqmodel.encoder.mid.attn_1.*", "generation.vq.encoder.mid.1.*"),
            ("model.vqmodel.encoder.mid.block_2.*", "generation.vq.encoder.mid.2.*"),
            ("model.vqmodel.decoder.mid.block_1.*", "generation.vq.decoder.mid.0.*"),
            ("model.vqmodel.decoder.mid.attn_1.*", "generation.vq.decoder.mid.1.*"),
            ("model.vqmodel.decoder.mid.block_2.*", "generation.vq.decoder.mid.2.*"),
            ("model.vqmodel.*", "generation.vq.*"),
            ("model.generation_embeddings.weight", "generation.embed.weight"),
            ("model.generation_aligner.fc1.*", "generation.aligner.layers.0.*"),
            *_projector_layers("model.generation_aligner", "generation.aligner"),
            ("model.generation_head.proj_out.*", "generation.head.output_mlp_projector.*"),
            ("model.generation_head.vision_head.*", "generation.head.vision_head.*"),
            ("lm_head.weight", "body.lm_head.weight"),
        ),
        *llama("model.language_model."),
    ),
    dropped={
        "model.vision_model.embeddings.position_ids": "counts from 0",
        "model.language_model.rotary_emb.inv_freq": ROTARY_TABLE,
    },
    says_roles=True,
)

"""The names of models that draw by a flow, and of the VAEs beside them: data only."""

from __future__ import annotations

from .keymap import Layout, Rule
from .keymaps import ROTARY_TABLE, llama, same

# Where a VAE lies in a model.
VAE_PREFIX = "generation.vae."

# deepseek-ai's own files of JanusFlow: `model_type: multi_modality` with latents.
FLOW = Layout(
    name="original flow",
    takes_vae=True,
    rules=(
        Rule(
            ("vision_und_enc_model.vision_tower.pos_embed",),
            "understanding.tower.position_embedding.weight",
            leading_one=True,
        ),
        *same(
            ("beg_of_und_embed", "understanding.start.weight"),
            ("vision_und_enc_model.vision_tower.patch_embed.proj.*", "understanding.tower.patch_embed.*"),
            ("vision_und_enc_model.vision_tower.*", "understanding.tower.*"),
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
        *llama("language_model.model."),
    ),
    dropped={
        "vision_und_enc_model.vision_tower.attn_pool.*": "SigLIP's pooling head; Janus reads the patches",
        "language_model.model.layers.#.self_attn.rotary_emb.inv_freq": ROTARY_TABLE,
    },
)

# Names of an attention's norm, query, key, value and output: of diffusers, and of diffusers before 0.15.
DIFFUSERS_ATTENTION = ("group_norm", "to_q", "to_k", "to_v", "to_out.0")
OLD_DIFFUSERS_ATTENTION = ("group_norm", "query", "key", "value", "proj_attn")


def diffusers_vae(name: str, attention: tuple[str, ...] = DIFFUSERS_ATTENTION) -> Layout:
    """A VAE in a folder of its own, as diffusers writes it; its attention is made of linear layers."""
    ours = ("norm", "q", "k", "v", "proj_out")
    attend = tuple(
        Rule(
            (f"{part}.mid_block.attentions.0.{theirs}.{kind}",),
            f"{VAE_PREFIX}{part}.mid.1.{our}.{kind}",
            trailing_ones=2 if kind == "weight" and our != "norm" else 0,
        )
        for part in ("encoder", "decoder")
        for our, theirs in zip(ours, attention, strict=True)
        for kind in ("weight", "bias")
    )
    rename = (
        (f"{part}.{theirs}", f"{VAE_PREFIX}{part}.{our}")
        for part, way in (("encoder", "down"), ("decoder", "up"))
        for theirs, our in (
            (f"{way}_blocks.#.resnets.#.conv_shortcut.*", "conv_blocks.#.res.#.nin_shortcut.*"),
            (f"{way}_blocks.#.resnets.#.*", "conv_blocks.#.res.#.*"),
            (f"{way}_blocks.#.{way}samplers.0.*", "conv_blocks.#.resample.*"),
            ("mid_block.resnets.0.*", "mid.0.*"),
            ("mid_block.resnets.1.*", "mid.2.*"),
            ("conv_norm_out.*", "norm_out.*"),
        )
    )
    return Layout(name, (*attend, *same(*rename, ("*", f"{VAE_PREFIX}*"))), {})


def single_file_vae(levels: int, prefix: str = "") -> Layout:
    """A VAE in one file with the names of its training code, as ComfyUI's `models/vae` holds them.

    Args:
        levels: resolutions; the names count the decoder's from the highest, the model from the lowest.
        prefix: before each name; other tensors than those with it belong to other parts of a checkpoint.
    """
    rename = (
        (f"{prefix}{part}.{theirs}", f"{VAE_PREFIX}{part}.{our}")
        for part, way in (("encoder", "down"), ("decoder", "up"))
        for theirs, our in (
            *(
                (f"{way}.{number}.{their_kind}.*", f"conv_blocks.{place}.{our_kind}.*")
                for place in range(levels)
                for number in (place if way == "down" else levels - 1 - place,)
                for their_kind, our_kind in (("block", "res"), (f"{way}sample", "resample"))
            ),
            ("mid.block_1.*", "mid.0.*"),
            ("mid.attn_1.*", "mid.1.*"),
            ("mid.block_2.*", "mid.2.*"),
        )
    )
    dropped = {"model_ema.*": "averages of training", "loss.*": "a network that only training needs"}
    if prefix:
        dropped = {"*": "other parts of the checkpoint"}
    return Layout("single-file VAE", same(*rename, (f"{prefix}*", f"{VAE_PREFIX}*")), dropped)

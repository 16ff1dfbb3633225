"""The description of a checkpoint layout, and the parts that several layouts have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any

from ...config import JanusConfig, LlamaConfig, SiglipConfig
from ...presets import LLAMA_DEFAULTS, VISION_TOWERS
from ..keymap import KeyMap, Rule, rename

Json = dict[str, Any]


@dataclass(frozen=True)
class Layout:
    """How a family of checkpoints describes its model in config.json and names its tensors.

    Attributes:
        model_type: `model_type` in its config.json.
        config_key: an entry of its config.json that other layouts of this `model_type` lack.
        read_config: reads the content of config.json.
        write_config: returns the content of config.json, given the name of the weights' dtype; None if saving
            in this layout is not supported.
        key_map: translates its tensor names.
        takes_vae: whether images are latents that a separate VAE decodes.
        trusts_chat_template: whether a chat template in its folders is the one of the training; original
            checkpoints often carry another model's.
    """

    model_type: str
    config_key: str
    read_config: Callable[[Json], JanusConfig]
    write_config: Callable[[JanusConfig, str], Json] | None
    key_map: KeyMap
    takes_vae: bool = False
    trusts_chat_template: bool = False

    def describes(self, config: Json) -> bool:
        """Whether a config.json is of this layout."""
        return config.get("model_type") == self.model_type and self.config_key in config


ROTARY_TABLE = "rotary frequencies, computed from the positions"
ATTENTION_POOLING = "SigLIP's pooling head; Janus uses the patch embeddings"


def llama_rules(prefix: str) -> tuple[Rule, ...]:
    """Rules of the language model; layouts differ in the prefix only."""
    return (
        Rule(
            tuple(f"{prefix}layers.#.self_attn.{name}_proj.weight" for name in "qkv"),
            "body.layers.#.self_attn.qkv_proj.weight",
            _qkv_shares,
        ),
        Rule(
            (f"{prefix}layers.#.mlp.gate_proj.weight", f"{prefix}layers.#.mlp.up_proj.weight"),
            "body.layers.#.mlp.gate_up_proj.weight",
        ),
        *rename(
            (f"{prefix}layers.#.*", "body.layers.#.*"),
            (f"{prefix}embed_tokens.weight", "body.embed_tokens.weight"),
            (f"{prefix}norm.weight", "body.norm.weight"),
        ),
    )


def _qkv_shares(config: JanusConfig) -> tuple[int, int, int]:
    """Query, key and value are as large as they have heads."""
    body = config.body
    return body.num_attention_heads, body.num_key_value_heads, body.num_key_value_heads


def read_llama(config: Json, default_tie: bool = False) -> LlamaConfig:
    """Reads the config of the language model, which all layouts write alike.

    Args:
        config: `language_config` or `text_config`.
        default_tie: whether input and output embeddings are tied if the file does not say so.
    """
    sizes: Json = LLAMA_DEFAULTS | {key: value for key, value in config.items() if value is not None}
    rope = sizes.get("rope_parameters") or sizes.get("rope_scaling") or {}
    rope_type = rope.get("rope_type", rope.get("type", "default"))
    if rope_type != "default":
        raise ValueError(
            f"language_config's rope type must be 'default', got {rope_type!r}; RoPE scaling is not supported"
        )
    activation = sizes.get("hidden_act", "silu")
    if activation != "silu":
        raise ValueError(
            f"language_config.hidden_act must be 'silu', got {activation!r}; the language model is a Llama"
        )
    heads = sizes["num_attention_heads"]
    sizes.setdefault("num_key_value_heads", heads)
    sizes.setdefault("head_dim", sizes["hidden_size"] // heads)
    sizes.setdefault("tie_word_embeddings", default_tie)
    sizes["rope_theta"] = float((sizes | rope)["rope_theta"])
    # Our field names are those of config.json.
    return LlamaConfig(**{field.name: sizes[field.name] for field in fields(LlamaConfig)})


def write_llama(body: LlamaConfig, dtype_name: str) -> Json:
    """Writes `language_config`; the inverse of `read_llama`."""
    return {"model_type": "llama", "torch_dtype": dtype_name, **asdict(body)}


def read_vision(params: Json) -> SiglipConfig:
    """Reads the config of the vision tower: sizes in the file override those known by the tower's name."""
    name = params["model_name"]
    sizes = VISION_TOWERS.get(name, {}) | params
    missing = [key for key in ("width", "layers", "heads", "mlp_ratio", "patch_size") if key not in sizes]
    if missing:
        raise ValueError(
            f"vision_config.params must name a known tower ({', '.join(VISION_TOWERS)}) or give its sizes, "
            f"got {name!r} without {', '.join(missing)}; add these to config.json"
        )
    feature = params.get("select_feature", "same")
    if feature != "same":
        raise ValueError(
            f"vision_config.params.select_feature must be 'same', got {feature!r}; Janus uses all patches"
        )
    layer = params.get("select_layer", -1)
    return SiglipConfig(
        hidden_size=sizes["width"],
        # A negative layer counts from the end: -1 keeps every block.
        num_hidden_layers=sizes["layers"] + layer + 1 if layer < 0 else min(sizes["layers"], layer),
        num_attention_heads=sizes["heads"],
        # The reference truncates this product; rounding first keeps 4303.9999999 from becoming 4303.
        intermediate_size=int(round(sizes["width"] * sizes["mlp_ratio"], 6)),
        image_size=sizes["image_size"],
        patch_size=sizes["patch_size"],
        layer_norm_eps=sizes.get("layer_norm_eps", 1e-6),
    )


def write_vision(vision: SiglipConfig, model_type: str) -> Json:
    """Writes `vision_config`; the inverse of `read_vision`."""
    sizes = {
        "width": vision.hidden_size,
        "layers": vision.num_hidden_layers,
        "heads": vision.num_attention_heads,
        "mlp_ratio": vision.intermediate_size / vision.hidden_size,
        "patch_size": vision.patch_size,
    }
    # Other programs know a tower by its released name only, so a tower with released sizes gets that.
    ending = f"_patch{vision.patch_size}_{vision.image_size}"
    released = (name for name, known in VISION_TOWERS.items() if known == sizes and name.endswith(ending))
    return {
        "cls": "CLIPVisionTower",
        "model_type": model_type,
        "params": {
            "image_size": vision.image_size,
            "model_name": next(released, f"siglip{ending}"),
            "select_feature": "same",
            "select_layer": -1,
            "layer_norm_eps": vision.layer_norm_eps,
            **sizes,
        },
    }

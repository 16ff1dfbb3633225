"""The description of a checkpoint layout, and the parts that several layouts have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

from ...config import JanusConfig, LlamaConfig, SiglipConfig
from ...presets import LLAMA_DEFAULTS, VISION_TOWERS
from ..keymap import KeyMap, Rule, rename

Json = dict[str, Any]
Config = TypeVar("Config")


@dataclass(frozen=True)
class Layout:
    """How a family of checkpoints describes its model in config.json and names its tensors."""

    model_type: str
    config_key: str  # an entry of its config.json that other layouts of this `model_type` lack
    read_config: Callable[[Json], JanusConfig]
    # The second argument is the name of the weights' dtype; None if saving in this layout is not supported.
    write_config: Callable[[JanusConfig, str], Json] | None
    key_map: KeyMap
    takes_vae: bool = False  # images are latents that a separate VAE decodes
    # Whether a chat template in its folders is the training's; original checkpoints often carry another one.
    trusts_chat_template: bool = False

    def describes(self, config: Json) -> bool:
        """Whether a config.json is of this layout."""
        return config.get("model_type") == self.model_type and self.config_key in config


def read_fields(config_class: type[Config], params: Json, **names: str) -> Config:
    """Builds a config dataclass from a part of config.json.

    Fields are looked up by name; `names` maps those whose key in config.json differs, as field="key".
    """
    field_names = [field.name for field in fields(config_class)]  # type: ignore[arg-type]
    return config_class(**{name: params[names.get(name, name)] for name in field_names})


def write_part(config: Any, cls: str, model_type: str, **names: str) -> Json:
    """Writes a part of config.json; its `params` are what `read_fields` reads with the same `names`."""
    params = {names.get(name, name): value for name, value in asdict(config).items()}
    return {"cls": cls, "model_type": model_type, "params": params}


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
    """The sizes of query, key and value are proportional to their numbers of heads."""
    heads, key_value_heads = config.body.num_attention_heads, config.body.num_key_value_heads
    return heads, key_value_heads, key_value_heads


def read_llama(config: Json, default_tie: bool = False) -> LlamaConfig:
    """Reads the config of the language model, `language_config` or `text_config`, alike in all layouts.

    `default_tie` applies if the file does not say whether input and output embeddings are tied.
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
    return read_fields(LlamaConfig, sizes)


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

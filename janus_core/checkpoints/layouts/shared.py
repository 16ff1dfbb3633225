"""The description of a checkpoint layout, and the parts that several layouts have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

from ...config import JanusConfig, LlamaConfig, SiglipConfig
from ...config.checks import require, require_equal, require_multiple
from ...presets import LLAMA_DEFAULTS, VISION_TOWERS
from ..keymap import KeyMap, Rule, rename
from .sections import Fixed, Followed, Json, Row, Section, Values, check_same

Config = TypeVar("Config")


@dataclass(frozen=True)
class Layout:
    """How a family of checkpoints describes its model in config.json and names its tensors."""

    model_type: str
    config_key: str  # an entry of its config.json that other layouts of this `model_type` lack
    sections: tuple[Section, ...]  # what is read from config.json
    same: tuple[tuple[str, str], ...]  # pairs of entries, by their paths, that must be equal
    build_config: Callable[[Values], JanusConfig]  # from the values of the sections
    # The second argument is the name of the weights' dtype; None if saving in this layout is not supported.
    write_config: Callable[[JanusConfig, str], Json] | None
    key_map: KeyMap
    takes_vae: bool = False  # images are latents that a separate VAE decodes
    # Whether a chat template in its folders is the training's; original checkpoints often carry another one.
    trusts_chat_template: bool = False

    def describes(self, config: Json) -> bool:
        """Whether a config.json is of this layout."""
        return config.get("model_type") == self.model_type and self.config_key in config

    def read_config(self, content: Json) -> JanusConfig:
        """Reads the content of a config.json.

        Raises:
            ValueError: naming the entry that is missing, of the wrong type, not supported or at odds with
                another one.
        """
        values = {section.path: section.read(content) for section in self.sections}
        for name, other in self.same:
            check_same(values, name, other)
        return self.build_config(values)


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


def llama_sections(path: str) -> tuple[Section, ...]:
    """Sections of the language model, `language_config` or `text_config`, alike in all layouts."""
    sizes: dict[str, Row] = {key: Followed(type(size), size) for key, size in LLAMA_DEFAULTS.items()}
    whole = Fixed(1.0, None)
    rope: dict[str, Row] = {
        "rope_theta": Followed(float, None),
        "partial_rotary_factor": whole,
        "rope_type": Fixed("default"),
    }
    return (
        Section(
            path,
            {
                **sizes,
                "num_key_value_heads": Followed(int, None),
                "head_dim": Followed(int, None),
                "tie_word_embeddings": Followed(bool, False),
                "model_type": Fixed("llama"),
                "hidden_act": Fixed("silu", "swish"),
                "attention_bias": Fixed(False),
                "mlp_bias": Fixed(False),
                "partial_rotary_factor": whole,
                "per_layer_config": Fixed(None),
            },
        ),
        Section(f"{path}.rope_parameters", rope, optional=True),
        # Before transformers 5; the key of the type was `type` at first.
        Section(f"{path}.rope_scaling", {**rope, "type": Fixed("default")}, optional=True),
    )


def build_llama(values: Values, path: str, tied: bool | None = None) -> LlamaConfig:
    """Builds the config of the language model from its sections; `tied` overrides its own entry."""
    sizes = dict(values[path])
    heads, width = sizes["num_attention_heads"], sizes["hidden_size"]
    if sizes["num_key_value_heads"] is None:
        sizes["num_key_value_heads"] = heads
    if sizes["head_dim"] is None:
        rule = f"num_attention_heads {heads}, as head_dim is not given"
        require_multiple(f"{path}.hidden_size", width, heads, rule)
        sizes["head_dim"] = width // heads
    if tied is not None:
        sizes["tie_word_embeddings"] = tied
    # The order of precedence is that of transformers.
    rope = values[f"{path}.rope_scaling"] or values[f"{path}.rope_parameters"]
    if rope.get("rope_theta") is not None:
        sizes["rope_theta"] = rope["rope_theta"]
    return read_fields(LlamaConfig, sizes)


def write_llama(body: LlamaConfig, dtype_name: str) -> Json:
    """Writes `language_config`; the inverse of `build_llama`."""
    return {"model_type": "llama", "torch_dtype": dtype_name, **asdict(body)}


# Sizes that released configs leave to `model_name`.
_TOWER_SIZES = {"width": int, "layers": int, "heads": int, "mlp_ratio": float, "patch_size": int}


def vision_sections(path: str) -> tuple[Section, ...]:
    """Sections of the vision tower in the layouts of deepseek-ai."""
    params: dict[str, Row] = {
        **{key: Followed(kind, None) for key, kind in _TOWER_SIZES.items()},
        "model_name": Followed(str, "siglip_large_patch16_384"),
        "image_size": Followed(int, 336),
        "select_layer": Followed(int, -2, signed=True),
        "select_feature": Fixed("same"),
        "layer_norm_eps": Followed(float, 1e-6),
        "ignore_head": Fixed(True),
        "pixel_mean": Fixed(None),
        "pixel_std": Fixed(None),
    }
    return Section(path, {"cls": Fixed("CLIPVisionTower")}), Section(f"{path}.params", params)


def build_vision(values: Values, path: str) -> SiglipConfig:
    """Builds the config of the vision tower; `model_name` supplies the sizes that the file omits."""
    params, path = values[f"{path}.params"], f"{path}.params"
    name = params["model_name"]
    require(name.startswith("siglip"), f"{path}.model_name must be that of a SigLIP tower, got {name!r}")
    known = VISION_TOWERS.get(name, {})
    sizes = known | {key: params[key] for key in _TOWER_SIZES if params[key] is not None}
    missing = ", ".join(key for key in _TOWER_SIZES if key not in sizes)
    rule = f"{path}.model_name must be a known tower ({', '.join(VISION_TOWERS)}) or come with its sizes"
    require(not missing, f"{rule}, got {name!r} without {missing}")
    for key, size in known.items():
        require_equal(f"{path}.{key}", sizes[key], f"that of model_name {name!r},", size)
    layers, layer = sizes["layers"], params["select_layer"]
    # A layer up to 0 counts from the end: -1 keeps every block.
    kept = min(layers, layers + layer + 1 if layer <= 0 else layer)
    require(kept > 0, f"{path}.select_layer must keep one of {layers} layers, got {layer}")
    return SiglipConfig(
        hidden_size=sizes["width"],
        num_hidden_layers=kept,
        num_attention_heads=sizes["heads"],
        # The reference truncates this product; rounding first keeps 4303.9999999 from becoming 4303.
        intermediate_size=int(round(sizes["width"] * sizes["mlp_ratio"], 6)),
        image_size=params["image_size"],
        patch_size=sizes["patch_size"],
        layer_norm_eps=params["layer_norm_eps"],
    )


def write_vision(vision: SiglipConfig, model_type: str) -> Json:
    """Writes `vision_config`; the inverse of `build_vision`."""
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

"""Maps the names of an adapter's modules to the tensors of a checkpoint.

Adapters name modules by their path in the model that was trained: a full Janus model in the original layout
or that of transformers, or only its language model. All names of an adapter must fit one of these.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from .keymap import KeyMap, ParameterSlice
from .naming import TRAINER_WRAPPERS

# Wrappers around the trained model or its modules; checkpoints do not have these parts in their names.
_WRAPPERS = (*TRAINER_WRAPPERS, r"base_model\.model", r"modules_to_save\.default", "modules_to_save")
_WRAPPER = re.compile(rf"(?:(?<=^)|(?<=\.))(?:{'|'.join(_WRAPPERS)})\.")

# Paths that the trained model can have within a full Janus model, as prefixes of its names.
_ROOTS = ("", "language_model.", "language_model.model.", "model.", "model.language_model.")

# Prefixes of names with underscores for dots, as kohya's and other diffusion trainers write them.
_FLAT_PREFIXES = ("lora_unet_", "lora_te_", "lora_te1_", "lora_transformer_", "lora_")

# Endings of tensors' names.
_PART = re.compile(
    r"(?P<module>.+?)\."
    r"(?:(?P<matrix>lora_A|lora_B|lora_down|lora_up|lora_embedding_A|lora_embedding_B)(?:\.default)?(?:\.weight)?"
    r"|(?P<alpha>alpha)|base_layer\.(?P<leaf>weight|bias))"
)
_MATRICES = {
    **{"lora_A": "down", "lora_B": "up", "lora_down": "down", "lora_up": "up"},
    **{"lora_embedding_A": "embedding_down", "lora_embedding_B": "embedding_up"},
}

# Parts of names that belong to other kinds of adapters.
_OTHER_KINDS = {
    "lora_magnitude_vector": "DoRA",
    "dora_scale": "DoRA",
    "lora_E": "AdaLoRA",
    "ranknum": "AdaLoRA",
    "ia3_l": "IA3",
    "hada_": "LoHa",
    "lokr_": "LoKr",
    "oft_": "OFT",
    "vera_lambda": "VeRA",
    "lora_mid": "LoCon with Tucker decomposition",
    "lora_A.bias": "LoRA with biases",
    "lora_B.bias": "LoRA with biases",
    "trainable_tokens": "trainable tokens",
}


@dataclass
class AdapterModules:
    """An adapter's tensors by module, in the adapter's own names.

    Attributes:
        matrices: those of each module that has any, by role: down, up, embedding_down, embedding_up, alpha.
        weights: full weights by name, which replace those of the checkpoint.
    """

    matrices: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    weights: dict[str, Tensor] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """The tensors of a checkpoint that the adapter changes, in the adapter's names."""
        return [*(f"{module}.weight" for module in self.matrices), *self.weights]


def split_names(tensors: Mapping[str, Tensor], source: object) -> AdapterModules:
    """Groups an adapter's tensors by module.

    Args:
        tensors: by name, as saved.
        source: the adapter, for error messages.

    Raises:
        ValueError: if a tensor belongs to another kind of adapter, such as DoRA.
    """
    modules = AdapterModules()
    for full_name, tensor in tensors.items():
        kind = next((kind for part, kind in _OTHER_KINDS.items() if part in full_name), None)
        if kind is not None:
            raise ValueError(
                f"adapter {source} must be plain LoRA, got {full_name}, which is {kind}; this is not "
                "supported, merge it into its checkpoint with the program that trained it"
            )
        name = _WRAPPER.sub("", full_name)
        found = _PART.fullmatch(name)
        if found is None:
            modules.weights[name] = tensor
        elif found["leaf"]:
            modules.weights[f"{found['module']}.{found['leaf']}"] = tensor
        else:
            role = "alpha" if found["alpha"] else _MATRICES[found["matrix"]]
            modules.matrices.setdefault(found["module"], {})[role] = tensor
    return modules


@dataclass(frozen=True)
class Places:
    """An adapter's names, translated by one layout.

    Attributes:
        key_map: of the layout.
        parts: the part of the model that each name refers to.
        unused: names of tensors that the layout drops.
        unknown: names that the layout does not have.
    """

    key_map: KeyMap
    parts: dict[str, ParameterSlice]
    unused: list[str]
    unknown: list[str]


def find_places(
    names: Iterable[str], layouts: Iterable[tuple[KeyMap, Mapping[str, ParameterSlice]]]
) -> Places:
    """Returns the first translation that resolves all names, or else the one that resolves most.

    Args:
        names: of an adapter, as `AdapterModules.names` has them.
        layouts: key maps, each with the tensors that a checkpoint of this layout has.
    """
    names = list(names)
    best: Places | None = None
    for key_map, expected in layouts:
        for translate in _translations(expected):
            places = Places(key_map, {}, [], [])
            for name in names:
                target = translate(name)
                if target in expected:
                    places.parts[name] = expected[target]
                else:
                    (places.unused if key_map.drops(target) else places.unknown).append(name)
            if not places.unknown:
                return places
            if best is None or len(places.unknown) < len(best.unknown):
                best = places
    assert best is not None  # there is always the checkpoint's own layout
    return best


class _Rooted:
    """Translates names by putting the path of the trained model before them."""

    def __init__(self, root: str) -> None:
        self._root = root

    def __call__(self, name: str) -> str:
        return self._root + name


class _Flat:
    """Translates names with underscores for dots, by a table of all names, so that nothing is guessed."""

    def __init__(self, expected: Iterable[str], prefix: str, root: str) -> None:
        table: dict[str, list[str]] = {}
        for name in expected:
            module, _, leaf = name.rpartition(".")
            if module.startswith(root):
                flat = prefix + module.removeprefix(root).replace(".", "_")
                table.setdefault(f"{flat}.{leaf}", []).append(name)
        self._table = {flat: names[0] for flat, names in table.items() if len(names) == 1}

    def __call__(self, name: str) -> str:
        return self._table.get(name, name)


def _translations(expected: Mapping[str, ParameterSlice]) -> Iterator[_Rooted | _Flat]:
    yield from map(_Rooted, _ROOTS)
    for prefix in _FLAT_PREFIXES:
        yield from (_Flat(expected, prefix, root) for root in _ROOTS)

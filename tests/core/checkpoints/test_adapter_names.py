"""Names of adapters' modules: any layout, wrapper and trained part of a model, and nothing guessed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from janus_nodes.janus_core import JanusPipeline, load_pipeline
from safetensors.torch import load_file, save_file
from support.adapters import distance, edit_adapter, logits, model_tree, write_with_peft
from support.checkpoints import GOLDEN, assert_same_weights, copy_checkpoint
from torch import Tensor

pytest.importorskip("peft")


# The same module of the language model, by the part that was wrapped and the wrappers around it.
SAME_NAMES = {
    "whole model": "base_model.model.language_model.model.layers.{}",
    "language model": "base_model.model.model.layers.{}",
    "language model without its head": "base_model.model.layers.{}",
    "whole port": "base_model.model.model.language_model.layers.{}",
    "port without its head": "base_model.model.language_model.layers.{}",
    "bare": "language_model.model.layers.{}",
    "of DeepSpeed": "_forward_module.base_model.model.language_model.model.layers.{}",
    "compiled and parallel": "module._orig_mod.base_model.model.language_model.model.layers.{}",
    "inside the whole model": "language_model.base_model.model.model.layers.{}",
}


def rewritten(source: Path, folder: Path, rename: Callable[[str], str]) -> Path:
    """A copy of an adapter with other names."""
    shutil.copytree(source, folder)

    def rename_all(tensors: dict[str, Tensor]) -> None:
        for name in list(tensors):
            tensors[rename(name)] = tensors.pop(name)

    return edit_adapter(folder, rename_all)


@pytest.fixture(scope="module")
def golden_base() -> Path:
    return GOLDEN / "janus-pro-tiny"


@pytest.fixture(scope="module")
def adapter(golden_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter of the golden checkpoint's language model, in the names of the original layout."""
    folder = tmp_path_factory.mktemp("adapter") / "language"
    write_language_adapter(folder, golden_base)
    return folder


def write_language_adapter(folder: Path, base: Path) -> None:
    tensors: dict[str, Tensor] = {}
    for file in base.glob("*.safetensors"):
        tensors |= load_file(file)
    write_with_peft(folder, model_tree(tensors), target_modules=["q_proj", "up_proj"])


@pytest.fixture(scope="module")
def adapted(golden_base: Path, adapter: Path) -> JanusPipeline:
    """The golden checkpoint with that adapter."""
    return load_pipeline(golden_base, dtype=torch.float32, adapters=[(adapter, 1.0)])


@pytest.mark.parametrize("form", SAME_NAMES)
def test_names_of_any_wrapping_are_the_same_modules(
    golden_base: Path, adapter: Path, adapted: JanusPipeline, form: str, tmp_path: Path
) -> None:
    start = SAME_NAMES["whole model"].format("")
    folder = rewritten(
        adapter, tmp_path / "named", lambda name: name.replace(start, SAME_NAMES[form].format(""))
    )
    found = load_pipeline(golden_base, dtype=torch.float32, adapters=[(folder, 1.0)])
    assert_same_weights(found.model, adapted.model)


@pytest.mark.parametrize("ending", [".default.weight", ".weight"])
def test_names_may_hold_the_name_of_peft_s_only_adapter(
    golden_base: Path, adapter: Path, adapted: JanusPipeline, ending: str, tmp_path: Path
) -> None:
    folder = rewritten(adapter, tmp_path / "named", lambda name: name.removesuffix(".weight") + ending)
    found = load_pipeline(golden_base, dtype=torch.float32, adapters=[(folder, 1.0)])
    assert_same_weights(found.model, adapted.model)


def flat(adapter: Path, prefix: str, root: str) -> dict[str, Tensor]:
    """An adapter's tensors with kohya's names, and an alpha for each module."""
    tensors = {}
    for name, tensor in load_file(adapter / "adapter_model.safetensors").items():
        module, _, matrix = name.removesuffix(".weight").rpartition(".")
        module = module.removeprefix("base_model.model.").removeprefix(root).replace(".", "_")
        kind = {"lora_A": "lora_down", "lora_B": "lora_up"}[matrix]
        tensors[f"{prefix}{module}.{kind}.weight"] = tensor
        tensors[f"{prefix}{module}.alpha"] = torch.tensor(6.0)
    return tensors


@pytest.mark.parametrize(
    ("prefix", "root"),
    [("lora_unet_", ""), ("lora_te_", "language_model."), ("lora_transformer_", "language_model.model.")],
)
def test_a_single_file_with_underscores_and_alphas_is_the_same_adapter(
    golden_base: Path, adapter: Path, adapted: JanusPipeline, prefix: str, root: str, tmp_path: Path
) -> None:
    file = tmp_path / "style.safetensors"
    save_file(flat(adapter, prefix, root), file)
    found = load_pipeline(golden_base, dtype=torch.float32, adapters=[(file, 1.0)])
    assert_same_weights(found.model, adapted.model)
    assert [each.name for each in found.adapters] == ["style.safetensors"]


def test_a_single_file_with_peft_s_names_needs_an_alpha(
    golden_base: Path, adapter: Path, adapted: JanusPipeline, tmp_path: Path
) -> None:
    file = tmp_path / "style.safetensors"
    tensors = load_file(adapter / "adapter_model.safetensors")
    save_file(tensors, file)
    with pytest.raises(
        ValueError, match=r"must give its alpha, got neither adapter_config\.json nor language"
    ):
        load_pipeline(golden_base, adapters=[(file, 1.0)])
    save_file(tensors, file, metadata={"lora_adapter_metadata": '{"r": 4, "lora_alpha": 6}'})
    found = load_pipeline(golden_base, dtype=torch.float32, adapters=[(file, 1.0)])
    assert_same_weights(found.model, adapted.model)
    with_config = adapter / "adapter_model.safetensors"
    found = load_pipeline(golden_base, dtype=torch.float32, adapters=[(with_config, 1.0)])
    assert_same_weights(found.model, adapted.model)


def test_weights_as_pickle_are_the_same_adapter(
    golden_base: Path, adapter: Path, adapted: JanusPipeline, tmp_path: Path
) -> None:
    shutil.copytree(adapter, tmp_path / "pickled")
    file = tmp_path / "pickled" / "adapter_model.safetensors"
    torch.save(load_file(file), file.with_suffix(".bin"))
    file.unlink()
    found = load_pipeline(golden_base, dtype=torch.float32, adapters=[(tmp_path / "pickled", 1.0)])
    assert_same_weights(found.model, adapted.model)


OTHER_KINDS = {
    "language_model.model.layers.0.self_attn.q_proj.lora_magnitude_vector.weight": "DoRA",
    "language_model.model.layers.0.self_attn.q_proj.dora_scale": "DoRA",
    "language_model.model.layers.0.self_attn.q_proj.lora_E": "AdaLoRA",
    "language_model.model.layers.0.self_attn.q_proj.ia3_l": "IA3",
    "language_model_model_layers_0_self_attn_q_proj.hada_w1_a": "LoHa",
    "language_model.model.layers.0.self_attn.q_proj.lora_B.bias": "LoRA with biases",
    "language_model.model.embed_tokens.token_adapter.trainable_tokens_delta": "trainable tokens",
}


@pytest.mark.parametrize("name", OTHER_KINDS)
def test_other_kinds_of_adapters_are_refused_by_name(
    golden_base: Path, adapter: Path, name: str, tmp_path: Path
) -> None:
    shutil.copytree(adapter, tmp_path / "other")
    edit_adapter(tmp_path / "other", lambda tensors: tensors.update({name: torch.ones(4)}))
    with pytest.raises(ValueError, match=rf"must be plain LoRA, got {name}, which is {OTHER_KINDS[name]};"):
        load_pipeline(golden_base, adapters=[(tmp_path / "other", 1.0)])


STRAYS = {
    "base_model.model.language_model.model.layers.9.self_attn.q_proj": "lora",
    "base_model.model.transformer.h.0.attn.c_attn": "lora",
    "base_model.model.language_model.score.weight": "whole",
    "base_model.model.language_model.model.layers.0.self_attn.q_proj.bias": "whole",
}


@pytest.mark.parametrize("name", STRAYS)
def test_a_name_that_the_model_lacks_is_refused(
    golden_base: Path, adapter: Path, name: str, tmp_path: Path
) -> None:
    shutil.copytree(adapter, tmp_path / "stray")

    def add(tensors: dict[str, Tensor]) -> None:
        if STRAYS[name] == "whole":
            tensors[name] = torch.ones(4)
        else:
            tensors |= {f"{name}.lora_{matrix}.weight": torch.ones(4, 4) for matrix in "AB"}

    edit_adapter(tmp_path / "stray", add)
    short = name.removeprefix("base_model.model.").replace(".", r"\.")
    with pytest.raises(ValueError, match=rf"must be for the model in .*, got 1 of \d+ names .*: {short}"):
        load_pipeline(golden_base, adapters=[(tmp_path / "stray", 1.0)])


def test_an_adapter_of_another_model_is_refused_with_some_of_its_names(
    golden_base: Path, tmp_path: Path
) -> None:
    file = tmp_path / "sdxl.safetensors"
    names = [f"lora_unet_down_blocks_{i}_attentions_0_proj_in" for i in range(9)]
    tensors = {f"{name}.lora_down.weight": torch.ones(4, 8) for name in names}
    tensors |= {f"{name}.lora_up.weight": torch.ones(8, 4) for name in names}
    tensors |= {f"{name}.alpha": torch.tensor(4.0) for name in names}
    save_file(tensors, file)
    with pytest.raises(
        ValueError, match=r"got 9 of 9 names that it lacks: lora_unet_down_blocks_0_.* and 4 more; load"
    ):
        load_pipeline(golden_base, adapters=[(file, 1.0)])


def test_an_adapter_fits_a_checkpoint_that_generates_by_flow(golden_root: Path, tmp_path: Path) -> None:
    flow = golden_root / "janusflow-tiny"
    write_language_adapter(tmp_path / "adapter", flow)
    plain = load_pipeline(flow, dtype=torch.float32)
    found = load_pipeline(flow, dtype=torch.float32, adapters=[(tmp_path / "adapter", 1.0)])
    name = "body.layers.0.mlp.gate_up_proj.weight"
    rows = plain.model.state_dict()[name], found.model.state_dict()[name]
    half = len(rows[0]) // 2
    assert torch.equal(rows[0][:half], rows[1][:half]) and not torch.equal(rows[0][half:], rows[1][half:])


def test_a_copy_of_the_checkpoint_takes_the_same_adapter(
    golden_base: Path, adapter: Path, adapted: JanusPipeline, tmp_path: Path
) -> None:
    folder = copy_checkpoint("janus-pro-tiny", tmp_path / "copy")
    found = load_pipeline(folder, dtype=torch.float32, adapters=[(str(adapter), 1)])
    assert distance(logits(found), logits(adapted)) == 0

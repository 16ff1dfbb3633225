"""Checkpoints of other programs: each is named with what to use instead, and not read."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from janus_nodes.janus_core import load_pipeline
from janus_nodes.janus_core.checkpoints import reading
from janus_nodes.janus_core.checkpoints.foreign import KINDS
from janus_nodes.janus_core.checkpoints.naming import is_harmless
from safetensors.torch import save_file
from support.checkpoints import GOLDEN, edit_json, edit_tensors, single_file_checkpoint
from support.parametrize import slow_except
from torch import Tensor

WEIGHT = "language_model.model.layers.0.self_attn.q_proj.weight"
LAYER = WEIGHT.removesuffix(".weight")
Edit = Callable[[dict[str, Tensor]], object]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the golden checkpoint in one file, to change."""
    return single_file_checkpoint(tmp_path / "model")


@pytest.fixture(autouse=True)
def nothing_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails a test that reads weights."""
    monkeypatch.setattr(reading, "map_file", lambda file: pytest.fail(f"{file} was read"))


def refused(folder: Path) -> str:
    with pytest.raises(ValueError, match="weights of a complete, unquantized Janus model, got") as raised:
        load_pipeline(folder)
    assert str(raised.value).startswith(f"{folder} must hold the ")
    return str(raised.value)


def replaced(*extra: str, dtype: torch.dtype = torch.uint8) -> Edit:
    """An edit that quantizes one weight, with these tensors beside it."""

    def edit(tensors: dict[str, Tensor]) -> None:
        tensors[WEIGHT] = torch.zeros(tensors[WEIGHT].shape, dtype=torch.uint8).to(dtype)
        tensors.update({name: torch.ones(1) for name in extra})

    return edit


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("quantized with bitsandbytes", [f"{WEIGHT}.absmax", f"{WEIGHT}.quant_map"]),
        ("quantized with bitsandbytes", [f"{WEIGHT}.quant_state.bitsandbytes__nf4"]),
        ("quantized with bitsandbytes", [f"{LAYER}.SCB"]),
        ("scaled fp8", ["scaled_fp8", f"{LAYER}.scale_weight"]),
        ("scaled fp8", [f"{LAYER}.weight_scale"]),
        ("scaled fp8", [f"{LAYER}.weight_scale_inv"]),
        ("scaled fp8", [f"{LAYER}.comfy_quant"]),
        ("GPTQ or AWQ", [f"{LAYER}.qweight", f"{LAYER}.qzeros", f"{LAYER}.scales"]),
        ("GPTQ or AWQ", [f"{LAYER}.g_idx"]),
        ("compressed-tensors", [f"{LAYER}.weight_packed", f"{LAYER}.weight_scale"]),
        ("quantized for MLX", [f"{LAYER}.scales", f"{LAYER}.biases"]),
    ],
)
def test_quantized_weights_are_known_by_their_tensors(folder: Path, kind: str, names: list[str]) -> None:
    edit_tensors(folder, replaced(*names, dtype=torch.float8_e4m3fn if "fp8" in kind else torch.uint8))
    message = refused(folder)
    assert kind in message
    assert any(name in message for name in names)
    assert "use the checkpoint that it was made from, such as deepseek-ai/Janus-Pro-1B in bf16" in message
    assert "precision to int8 or int4" in message


@pytest.mark.parametrize(
    ("kind", "entry"),
    [
        ("quantized with bitsandbytes", {"quant_method": "bitsandbytes", "load_in_4bit": True}),
        ("quantized with bitsandbytes", {"load_in_8bit": True}),
        ("GPTQ or AWQ", {"quant_method": "gptq", "bits": 4}),
        ("GPTQ or AWQ", {"quant_method": "awq"}),
        ("compressed-tensors", {"quant_method": "compressed-tensors"}),
        ("scaled fp8", {"quant_method": "fp8"}),
        ("quantized weights", {"quant_method": "hqq"}),
        ("quantized weights", {"quant_method": "torchao"}),
        ("quantized weights", "something new"),
    ],
)
@pytest.mark.parametrize("part", slow_except([None, "language_config"], None))
def test_quantized_weights_are_known_by_config_json(
    folder: Path, kind: str, entry: object, part: str | None
) -> None:
    edit_json(
        folder / "config.json",
        lambda config: (config[part] if part else config).update(quantization_config=entry),
    )
    message = refused(folder)
    assert kind in message
    assert "quantization_config" in message
    assert "use the checkpoint that it was made from" in message


def test_a_stale_entry_can_be_removed(folder: Path) -> None:
    edit_json(folder / "config.json", lambda config: config.update(quantization_config={"quant_method": "x"}))
    assert "if its weights are not quantized, remove this entry" in refused(folder)


@pytest.mark.parametrize(
    "names",
    [
        [f"{LAYER}.lora_A.weight", f"{LAYER}.lora_B.weight"],
        [f"base_model.model.{LAYER}.lora_A.default.weight"],
        [f"{LAYER}.base_layer.weight"],
        ["lora_unet_mid_block.lora_down.weight", "lora_unet_mid_block.lora_up.weight"],
        [f"{LAYER}.modules_to_save.default.weight"],
    ],
)
@pytest.mark.parametrize("whole", [True, False])
def test_unmerged_adapters_are_told_how_to_be_merged(folder: Path, names: list[str], whole: bool) -> None:
    def add(tensors: dict[str, Tensor]) -> None:
        if not whole:
            tensors.clear()
        tensors.update({name: torch.ones(4, 4) for name in names})

    edit_tensors(folder, add)
    message = refused(folder)
    assert "an adapter without its base model" in message
    assert names[0] in message
    assert (
        "load its base and apply it with Janus LoRA, in Python with load_pipeline(base, adapters=" in message
    )
    assert "or merge it into its base first, with PEFT's merge_and_unload" in message


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"])
@pytest.mark.parametrize("alone", [True, False])
def test_adapter_files_are_never_ignored(folder: Path, name: str, alone: bool) -> None:
    if alone:
        for file in folder.iterdir():
            file.unlink()
    (folder / name).write_text("{}", encoding="utf-8")
    message = refused(folder)
    kind = "an adapter without its base model" if alone else "full weights beside adapter files"
    assert f"got {kind} ({name}); " in message
    assert ("without adapter files" if alone else "if the adapter is merged into these weights") in message


def test_other_tensors_beside_an_adapter_are_no_whole_weights(folder: Path) -> None:
    save_file({"base_model.model.aligner.weight": torch.ones(4)}, folder / "model.safetensors")
    (folder / "adapter_config.json").write_text("{}", encoding="utf-8")
    assert "an adapter without its base model (adapter_config.json)" in refused(folder)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("a GGUF file", "Janus-Pro-1B-Q4_K_M.gguf"),
        ("an export for another program", "model.onnx"),
        ("an export for another program", "onnx/language_model.onnx"),
        ("a distributed training state", "zero_to_fp32.py"),
        ("a distributed training state", "pytorch_model_fsdp_0/__0_0.distcp"),
        ("a diffusers model", "model_index.json"),
    ],
)
def test_other_formats_are_known_by_their_files(folder: Path, kind: str, name: str) -> None:
    (folder / "model.safetensors").unlink()
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("{}", encoding="utf-8")
    assert f"{kind} ({Path(name).name})" in refused(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "janus.ckpt"])
def test_a_gguf_file_is_known_by_its_content(folder: Path, name: str) -> None:
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(b"GGUF\x03\0\0\0" + bytes(100))
    assert f"a GGUF file ({name})" in refused(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_pointer_of_git_lfs_is_known(folder: Path, name: str) -> None:
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4000\n")
    message = refused(folder)
    assert f"a Git LFS pointer instead of the weights ({name})" in message
    assert "run `git lfs pull`" in message


def test_a_torch_script_program_is_known(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with zipfile.ZipFile(folder / "model.pt", "w") as archive:
        for name in ("data.pkl", "constants.pkl", "code/__torch__.py"):
            archive.writestr(f"model/{name}", b"")
    assert "a TorchScript program (model.pt); use the model's state_dict" in refused(folder)


def test_exports_beside_the_weights_are_no_fault(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    for name in ("model.gguf", "model.onnx", "zero_to_fp32.py"):
        (folder / name).write_bytes(b"GGUF")
    load_pipeline(folder)


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("a diffusion model", ["model.diffusion_model.input_blocks.0.0.weight"]),
        ("a diffusion model", ["double_blocks.0.img_attn.qkv.weight"]),
        ("another vision-language model", ["multi_modal_projector.linear_1.weight"]),
        ("another vision-language model", ["model.visual.blocks.0.attn.qkv.weight"]),
    ],
)
def test_weights_of_other_families_are_named(folder: Path, kind: str, names: list[str]) -> None:
    def replace(tensors: dict[str, Tensor]) -> None:
        tensors.clear()
        tensors.update({name: torch.ones(2) for name in names})

    edit_tensors(folder, replace)
    message = refused(folder)
    assert f"the weights of {kind} ({names[0]})" in message
    assert "use a Janus-1.3B, Janus-Pro or JanusFlow checkpoint" in message


def test_a_diffusers_config_is_named(folder: Path) -> None:
    config = {"_class_name": "UNet2DConditionModel", "_diffusers_version": "0.30.0"}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert "a diffusers model (_diffusers_version in config.json)" in refused(folder)


def released_names() -> Iterable[str]:
    for file in sorted((GOLDEN / "real_configs").glob("*.keys.json")):
        yield from json.loads(file.read_text(encoding="utf-8"))


def test_no_released_tensor_looks_foreign_or_superfluous() -> None:
    names = dict.fromkeys(released_names())
    assert len(names) > 1000
    contents: Any = SimpleNamespace(folder=Path("nowhere"), config={}, weights=[], infos=names)
    for kind in KINDS:
        for sign in kind.signs:
            assert sign(contents) is None, kind.name
    assert {name for name in names if is_harmless(name)} <= {
        name for name in names if name.endswith((".codebook_used", ".inv_freq"))
    }

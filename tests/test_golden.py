"""The recorded reference numbers are complete, and the `golden` fixture finds them by name."""

from __future__ import annotations

from typing import Any

import pytest


def test_every_recorded_tensor_has_its_recorded_shape_and_dtype(golden: Any) -> None:
    case = golden("janus-pro-tiny")
    assert len(case.manifest["tensors"]) > 100
    for name, entry in case.manifest["tensors"].items():
        tensor = case.tensor(name)
        assert list(tensor.shape) == entry["shape"], name
        assert str(tensor.dtype) == f"torch.{entry['dtype']}", name


def test_values_are_found_by_name_in_all_manifests(golden: Any) -> None:
    case = golden("janus-pro-tiny")
    assert case.value("pad_id") == case.value("edit/pad_id")
    assert case.value("r1_edit/image") == "landscape_rgb"
    assert (case.checkpoint / "config.json").is_file()


def test_unknown_golden_is_named(golden: Any) -> None:
    with pytest.raises(FileNotFoundError, match="got 'janus-pro-huge'"):
        golden("janus-pro-huge")

"""What types of devices can do, with stand-ins for devices that are not there."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from janus_nodes.janus_core.batch.local import local_devices
from janus_nodes.janus_core.models.devices import pins_memory, present_accelerator
from janus_nodes.janus_core.pipeline.device_memory import empty_cache, free_bytes
from janus_nodes.janus_core.pipeline.rows import most_rows


def untold(device: torch.device) -> tuple[int, int]:
    """What some of Intel's cards say."""
    raise RuntimeError("The device does not support querying the available free memory.")


NEW_XPU = {
    "mem_get_info": lambda device: (1000, 5000),
    "memory_reserved": lambda device: 300,
    "memory_allocated": lambda device: 100,
}
MPS = {"recommended_max_memory": lambda: 900, "current_allocated_memory": lambda: 200}


@pytest.mark.parametrize(
    ("kind", "functions", "free"),
    [
        ("xpu", NEW_XPU, 1200),
        ("xpu", NEW_XPU | {"mem_get_info": untold}, None),
        ("xpu", {}, None),
        ("mps", MPS, 700),
    ],
)
def test_every_accelerator_is_used(
    monkeypatch: pytest.MonkeyPatch, kind: str, functions: dict[str, object], free: int | None
) -> None:
    emptied = []

    def module(device: torch.device | str) -> SimpleNamespace:
        name = torch.device(device).type
        own = functions if name == kind else {}
        return SimpleNamespace(
            is_available=lambda: name == kind,
            device_count=lambda: 2,
            empty_cache=lambda: emptied.append(name),
            **own,
        )

    monkeypatch.setattr(torch, "get_device_module", module)
    device = torch.device(kind, 0)
    assert present_accelerator() == kind
    assert local_devices("auto") == [f"{kind}:0", f"{kind}:1"]
    assert local_devices(f"{kind}:1") == [f"{kind}:1"]
    assert free_bytes(device) == free
    assert free_bytes(torch.device("cuda")) is None
    assert most_rows(device) == (8 if free is None else 32)
    empty_cache(device)
    assert emptied == [kind]


def test_without_an_accelerator_the_cpu_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    module = SimpleNamespace(is_available=lambda: False)
    monkeypatch.setattr(torch, "get_device_module", lambda device: module)
    assert present_accelerator() is None
    assert local_devices("auto") == ["cpu"]
    assert most_rows(torch.device("cpu")) == 8


@pytest.mark.parametrize(("kind", "pins"), [("cuda", True), ("xpu", True), ("mps", False), ("meta", False)])
@pytest.mark.parametrize("works", [True, False])
def test_memory_is_pinned_where_copies_can_wait_for_nobody(
    monkeypatch: pytest.MonkeyPatch, kind: str, pins: bool, works: bool
) -> None:
    def empty(*_: object, pin_memory: bool, device: str) -> None:
        if not works:
            raise RuntimeError("cannot pin memory")

    pins_memory.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(torch, "empty", empty)
        assert pins_memory(kind) == (pins and works)
    pins_memory.cache_clear()

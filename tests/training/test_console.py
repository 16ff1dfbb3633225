"""What commands say."""

from __future__ import annotations

import pytest
from janus_nodes.janus_core.training import console


def test_progress_is_said_every_few_seconds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = {"time": 0.0}
    monkeypatch.setattr(console.time, "monotonic", lambda: clock["time"])
    report = console.progress("images checked")
    for done, seconds in enumerate((1.0, 4.9, 5.0, 6.0, 9.9, 11.0), start=1):
        clock["time"] = seconds
        report(done, 6)
    assert capsys.readouterr().out == "3 of 6 images checked\n6 of 6 images checked\n"

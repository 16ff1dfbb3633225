"""Jobs: what is refused before a model is loaded, and which rows are left to do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from janus_nodes.janus_core import FlowSampling, TextSampling, TokenSampling
from janus_nodes.janus_core.batch import __main__ as command
from janus_nodes.janus_core.batch import extras
from janus_nodes.janus_core.batch import job as job_module
from janus_nodes.janus_core.batch.options import BatchOptions
from janus_nodes.janus_core.batch.rows import digest
from janus_nodes.janus_core.batch.sources.records import Columns
from support.batch import BAD, CHECKPOINT, COMMAND, job, write_rows


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "set")


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command that must be refused, without loading a model, and returns what it says."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a model is loaded")

    monkeypatch.setattr("janus_nodes.janus_core.batch.worker.load_pipeline", refuse)

    def run(*arguments: object) -> str:
        assert command.main([str(argument) for argument in arguments]) == 2
        text = capsys.readouterr().err
        assert text.count("\n") == 1
        return text

    return run


def test_parts_hold_the_rows_that_are_not_done(source: Path, tmp_path: Path) -> None:
    whole = job(source, tmp_path / "out")
    opened = whole.open_source()
    parts = list(whole.parts(opened, set()))
    ids = [row.id for part in parts for row in part.rows]
    assert len(ids) == len(set(ids)) == opened.count() and {*BAD} < {*ids}
    assert [len(part.rows) for part in parts[:-1]] == [4] * (len(parts) - 1)
    done = {digest(row.id) for row in parts[1].rows} | {digest(parts[2].rows[0].id)}
    left = list(whole.parts(opened, done))
    assert [part.number for part in left] == [0, *range(2, len(parts))]
    assert left[1].rows == parts[2].rows[1:]
    shares = [list(whole.parts(opened, done, share=(index, 3))) for index in range(3)]
    assert sorted((part for share in shares for part in share), key=lambda part: part.number) == left


def test_an_output_is_continued_only_with_the_same_options(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.with_name("other.jsonl").write_bytes(source.read_bytes())
    first = job(source, tmp_path / "out")
    first.prepare()
    settings = json.loads((tmp_path / "out" / "batch.json").read_text(encoding="utf-8"))
    assert settings["task"] == "ask" and settings["checkpoint"] == "janus-pro-tiny"
    # What rows do not depend on may change.
    replace(first, options=replace(first.options, batch_size=1, rows_per_part=9, threads=2)).prepare()
    other = replace(first, options=replace(first.options, sampling=TextSampling(seed=1)))
    monkeypatch.setattr(BatchOptions, "check_checkpoint", lambda self: None)
    for name, changed in (
        ("source", replace(first, source=source.with_name("other.jsonl"))),
        ("text_column", replace(first, columns=Columns(text="q"))),
        ("vae", replace(first, options=replace(first.options, vae="other"))),
    ):
        with pytest.raises(ValueError, match=f"{name} must be that of the run in"):
            changed.prepare()
    with pytest.raises(
        ValueError, match=r"sampling must be that of the run in .*out.*; choose another output"
    ):
        other.prepare()


def test_commands_are_refused_before_a_model_is_loaded(
    source: Path, tmp_path: Path, says: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    assert "source must exist, got" in says("ask", tmp_path / "none", out, *COMMAND)
    assert "checkpoint must be a folder, got" in says("ask", source, out, "--checkpoint", tmp_path / "none")
    assert "temperature must be at least 0" in says("ask", source, out, *COMMAND, "--temperature", -1)
    assert "num_steps must be left out for 'janus-pro-tiny'" in says(
        "draw", source, out, *COMMAND, "--num-steps", 3
    )
    assert "share must be left out with retry_failed" in says(
        "ask", source, out, *COMMAND, "--share", "1/2", "--retry-failed"
    )
    assert "rows_per_part must be left out with share" in says("ask", source, out, *COMMAND, "--share", "1/2")
    (tmp_path / "empty.jsonl").write_text("\n", encoding="utf-8")
    empty = says("ask", tmp_path / "empty.jsonl", out, *COMMAND)
    assert "source must hold rows, got none in " in empty and "empty.jsonl; name a file or folder" in empty
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert "output must be writable, got" in says("ask", source, tmp_path / "file" / "out", *COMMAND)
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    assert 'ray must be installed for clusters, got none; run: pip install "ray[data]"' in says(
        "ask", source, out, *COMMAND, "--ray"
    )
    assert "pyarrow must be installed for parquet files" in says(
        "ask", source, out, *COMMAND, "--format", "parquet"
    )


def test_parts_of_the_run_itself_are_no_source(tmp_path: Path) -> None:
    texts = write_rows(tmp_path / "texts")
    images = tmp_path / "images" / "sub"
    images.mkdir(parents=True)
    (texts.parent / "1.png").rename(images / "1.png")
    for folder, task, more in ((images.parent, "caption", {}), (texts.parent, "ask", {"kind": "jsonl"})):
        whole = job(folder, folder, task, **more)
        rows = list(whole.prepare()[0].rows())
        whole.open_sink().write(0, [{"id": rows[0].id, "text": "A fox."}])
        again = whole.prepare()[0]
        assert list(again.rows()) == rows and again.count() == len(rows)
    with pytest.raises(ValueError, match=r"output must lie outside of .*images, whose images are read, got"):
        job(images.parent, images.parent / "drawn", "draw").prepare()


def test_several_machines_may_start_at_once(source: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(job(source, tmp_path / "out").prepare) for _ in range(8)]
    assert [future.exception() for future in futures] == [None] * 8
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["batch.json"]


def test_an_output_that_cannot_be_written_is_refused(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "out")

    monkeypatch.setattr(job_module, "write_atomically", refuse)
    with pytest.raises(ValueError, match=r"output must be writable, got: .*Permission denied"):
        job(source, tmp_path / "out").prepare()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"task": "sing"}, "task must be one of caption, ask, draw, score, encode, got 'sing'"),
        ({"dtype": "fp8"}, "dtype must be one of auto, bf16"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"threads": 1.5}, "threads must be a whole number"),
        ({"sampling": TokenSampling()}, "sampling must be TextSampling for caption, got TokenSampling"),
        ({"task": "score", "sampling": TextSampling()}, "sampling must be None for score"),
        (
            {"task": "draw", "sampling": TokenSampling(batch_size=2)},
            "batch_size of sampling must be 1, got 2",
        ),
        ({"background": "pink"}, "background must be one of grey, white, black, got 'pink'"),
        ({"question": None}, "question must be text"),
    ],
)
def test_options_are_checked(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BatchOptions(CHECKPOINT, **given)


def test_a_checkpoint_must_be_able_to_do_the_task(golden_root: Path, tmp_path: Path) -> None:
    flow = tmp_path / "janusflow-tiny"
    shutil.copytree(golden_root / flow.name, flow, ignore=shutil.ignore_patterns("vae", "goldens"))
    with pytest.raises(ValueError, match="checkpoint must generate images token by token to encode"):
        BatchOptions(flow, "encode").check_checkpoint()
    with pytest.raises(ValueError, match="vae must be given for 'janusflow-tiny', which draws latents"):
        BatchOptions(flow, "draw").check_checkpoint()
    with pytest.raises(ValueError, match="model must generate images with FlowSampling"):
        BatchOptions(CHECKPOINT, "draw", sampling=FlowSampling()).check_checkpoint()
    BatchOptions(flow, "caption").check_checkpoint()


def test_a_command_that_is_stopped_early_says_so(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "run_locally", stop)
    assert command.main(["ask", str(source), str(tmp_path / "out"), *COMMAND]) == 1
    assert capsys.readouterr().err == "stopped; run the same command again to continue\n"

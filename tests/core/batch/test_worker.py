"""What a worker makes of rows: the same for any batch, and a bad row hurts no other."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from janus_nodes.janus_core import TextSampling, TokenSampling
from janus_nodes.janus_core.batch.options import BatchOptions
from janus_nodes.janus_core.batch.rows import Row, seed_offset
from janus_nodes.janus_core.batch.worker import Worker
from PIL import Image
from support.batch import BAD, CHECKPOINT, VARIED, job, write_rows

GUIDED = TokenSampling(seed=5)


def options(task: str, **more: Any) -> BatchOptions:
    return BatchOptions(CHECKPOINT, task, dtype="fp32", threads=1, **more)


@pytest.fixture(scope="module")
def worker() -> Worker:
    """A worker, whose options tests replace."""
    return Worker(options("ask", batch_size=3))


def rows(count: int, images: bool = True) -> list[Row]:
    rng = np.random.default_rng(1)
    return [
        Row(
            f"row {number}",
            "A fox." * (1 + number % 4),
            rng.integers(0, 256, (9, 12 + number, 3), dtype=np.uint8) if images and number % 4 else None,
        )
        for number in range(count)
    ]


@pytest.mark.parametrize(
    ("task", "sampling"),
    [
        ("ask", VARIED),
        ("caption", TextSampling(max_new_tokens=5)),
        ("draw", GUIDED),
        ("score", None),
        ("encode", None),
    ],
)
def test_a_row_does_not_depend_on_its_batch(worker: Worker, task: str, sampling: Any) -> None:
    given = rows(7, images=task != "draw")
    if task in ("caption", "score", "encode"):
        given = [row for row in given if row.image is not None]
    worker.options = options(task, sampling=sampling)
    found = {}
    for size in (1, 3, 8):
        worker._batch_size = size
        order = given if size != 3 else given[::-1]
        found[size] = {result["id"]: result for result in worker.run(order)}
    assert found[1] == found[3] == found[8]
    assert [result["error"] for result in found[1].values()] == [None] * len(given)


def test_a_drawing_is_the_one_that_its_seed_gives_in_a_node(worker: Worker) -> None:
    worker.options, worker._batch_size = options("draw", sampling=GUIDED), 4
    result = worker.run(rows(3, images=False))[1]
    assert result["seed"] == 5 + seed_offset("row 1")
    alone = worker.pipeline.generate(result["text"], replace(GUIDED, seed=result["seed"]))
    assert alone.tokens[0].tolist() == result["tokens"]
    picture = np.asarray(Image.open(io.BytesIO(result["image"])))
    np.testing.assert_array_equal(picture, (alone.images[0] * 255).round().to(torch.uint8).numpy())


def test_bad_rows_are_reported_by_id_and_hurt_no_other(worker: Worker, tmp_path: Path) -> None:
    task = job(write_rows(tmp_path / "set"), tmp_path / "out")
    worker.options, worker._batch_size = task.options, 3
    given = [row for part in task.parts(task.open_source(), ()) for row in part.rows]
    given.append(Row("placeholder", "Look at <image_placeholder>."))  # which the model itself refuses
    results = {result["id"]: result for result in worker.run(given)}
    assert len(results) == len(given)
    failed = {row_id: result["error"] for row_id, result in results.items() if result["error"]}
    assert failed.keys() == {*BAD, "placeholder"}
    for row_id, message in BAD.items():
        assert message in failed[row_id]
    assert "question must hold one <image_placeholder> per image" in failed["placeholder"]
    good = [row for row in given if row.id not in failed]
    assert worker.run(good) == [results[row.id] for row in good]


def test_pixels_of_another_type_are_refused(worker: Worker) -> None:
    worker.options, worker._batch_size = options("encode"), 1
    (result,) = worker.run([Row("a", image=np.ones((4, 4, 3), np.float32))])
    assert result["error"] == "image must have pixels of type uint8, got float32; convert them"


def test_a_caption_without_text_is_a_failure(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    worker.options = options("caption", sampling=TextSampling(max_new_tokens=1))
    monkeypatch.setattr(worker.pipeline.prompts.tokenizer, "decode", lambda ids: " \n")
    (result,) = worker.run(rows(2)[1:])
    assert result["error"] == "its caption must hold text, got none; ask another question"


def test_a_model_that_fails_for_all_rows_ends_the_run(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker.options, worker._batch_size = options("ask", sampling=VARIED), 2

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(worker.pipeline, "understand", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        worker.run(rows(3))


def test_stopping_leaves_complete_batches(worker: Worker) -> None:
    worker.options, worker._batch_size = options("ask", sampling=VARIED), 2
    given = rows(7)
    some = worker.run(given, lambda: True)
    assert len(some) == 2
    ids = {result["id"] for result in some}
    rest = worker.run([row for row in given if row.id not in ids])
    assert sorted([*some, *rest], key=lambda result: result["id"]) == worker.run(given)


def test_a_batch_has_rows_of_similar_length(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    worker.options, worker._batch_size = options("ask", sampling=VARIED), 2
    seen: list[list[str]] = []
    compute = worker._compute
    monkeypatch.setattr(
        worker, "_compute", lambda inputs: seen.append([each.text for each in inputs]) or compute(inputs)
    )
    worker.run([Row(f"{length}", "word " * length) for length in (9, 1, 8, 2)])
    assert [[len(text.split()) for text in batch] for batch in seen] == [[1, 2], [8, 9]]

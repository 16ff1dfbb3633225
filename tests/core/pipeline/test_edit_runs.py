"""Which results of an edit are drawn together."""

from __future__ import annotations

import pytest
from janus_nodes.janus_core.pipeline.edit_runs import EditRun, split_runs


def blocks(num_images: int, per_image: int, masked: tuple[int, ...] = ()) -> list[EditRun]:
    """The results of several images, in order."""
    return [
        EditRun([image], list(range(image * per_image, (image + 1) * per_image)), masked)
        for image in range(num_images)
    ]


@pytest.mark.parametrize("max_batch_size", [1, 2, 3, 4, 8, 100])
@pytest.mark.parametrize("per_image", [1, 2, 3, 9])
def test_every_row_is_drawn_once_and_no_run_is_too_large(per_image: int, max_batch_size: int) -> None:
    runs = split_runs(blocks(5, per_image), max_batch_size)
    assert [row for run in runs for row in run.rows] == list(range(5 * per_image))
    for run in runs:
        assert len(run.rows) <= max_batch_size
        assert len(run.rows) % len(run.sources) == 0
        copies = len(run.rows) // len(run.sources)
        assert [row // per_image for row in run.rows[::copies]] == run.sources
    if per_image == 1:
        assert len(runs) == -(-5 // max_batch_size)


def test_images_that_draw_other_positions_are_apart() -> None:
    one, two = (1, 2), (1, 3)
    first, second, third = (run for run in blocks(3, 2, one))
    runs = split_runs([first, EditRun(second.sources, second.rows, two), third], 8)
    assert [(run.sources, run.masked) for run in runs] == [([0, 2], one), ([1], two)]
    assert runs[0].rows == [0, 1, 4, 5]
    assert split_runs([], 8) == []

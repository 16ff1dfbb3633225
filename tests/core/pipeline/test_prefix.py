"""Saved prefixes, and what sequences have in common."""

from __future__ import annotations

import weakref

import pytest
import torch
from janus_nodes.janus_core.pipeline.prefix import (
    SavedPrefix,
    common_length,
    image_embeds_between,
    with_unique_image_ids,
)


@pytest.mark.parametrize("length", range(8))
def test_saved_prefixes_are_truncated_at_any_length(length: int) -> None:
    whole = torch.arange(7.0).view(1, 1, 7, 1)
    parts = tuple((part, -part) for part in whole.split([3, 1, 3], dim=2))
    module = torch.nn.Linear(1, 1)
    remembered = SavedPrefix(weakref.ref(module), torch.device("cpu"), [], None, parts)  # type: ignore[arg-type]
    assert remembered.num_bytes == 2 * whole.nbytes
    kept = remembered.truncated(length)
    assert sum(keys.shape[2] for keys, _ in kept) == length
    if length:
        assert torch.equal(torch.cat([keys for keys, _ in kept], dim=2), whole[:, :, :length])
        assert torch.equal(torch.cat([values for _, values in kept], dim=2), -whole[:, :, :length])


def test_common_length_is_that_of_the_shared_prefix() -> None:
    assert common_length([[1, 2, 3]]) == 3
    assert common_length([[1, 2, 3], [1, 2], [1, 2, 4]]) == 2
    assert common_length([[1, 2, 3], [2, 2, 3], [1, 2, 3]]) == 0
    assert common_length([[1, -1, -1, 5], [1, -1, -2, 5]]) == 2


def test_images_that_sequences_do_not_share_get_unique_ids() -> None:
    rows = [[7, -1, -1, 8, -2, -3], [7, -1, -1, 8, -2, -3], [7, -1, 8]]
    assert with_unique_image_ids(rows, 3) == rows
    apart = with_unique_image_ids(rows, 1)
    assert common_length(apart[:2]) == 4
    own = [{value for value in row if value < -1} for row in apart]
    assert own[0].isdisjoint(own[1])
    assert apart[2] == rows[2]
    assert common_length(with_unique_image_ids(rows, 0)) == 1


def test_images_between_positions_are_those_that_stand_there() -> None:
    embeds = torch.arange(4.0).view(1, 2, 2, 1)
    content = [5, -1, -1, 6, -2, -2, 7]
    assert image_embeds_between(embeds, content, 0).flatten().tolist() == [0, 1, 2, 3]
    assert image_embeds_between(embeds, content, 2).flatten().tolist() == [1, 2, 3]
    assert image_embeds_between(embeds, content, 2, 5).flatten().tolist() == [1, 2]
    assert image_embeds_between(embeds, content, 6) is None
    assert image_embeds_between(None, content, 0) is None

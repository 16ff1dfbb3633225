"""Ids of rows, and the random stream of each."""

from __future__ import annotations

from janus_nodes.janus_core.batch.rows import Row, content_id, digest, seed_offset, with_unique_ids


def test_an_id_that_occurs_again_is_a_failure_with_an_id_of_its_own() -> None:
    rows = [Row("a", "x"), Row("b"), Row("a", "y"), Row("a#2"), Row("a")]
    unique = list(with_unique_ids(rows))
    assert [row.id for row in unique] == ["a", "b", "a#2", "a#2#2", "a#3"]
    assert [bool(row.problem) for row in unique] == [False, False, True, True, True]
    assert unique[2].problem == "id must occur once, got 'a' again; give each row an id of its own"


def test_content_gives_an_id() -> None:
    assert content_id("a", b"b") == content_id("a", b"b")
    assert len({content_id("ab"), content_id("a", b"b"), content_id("", b"ab"), content_id("\ud800")}) == 4


def test_offsets_of_seeds_have_32_bits_and_follow_from_the_id() -> None:
    offsets = [seed_offset(f"row {number}") for number in range(1000)]
    assert offsets == [seed_offset(f"row {number}") for number in range(1000)]
    assert len(set(offsets)) == 1000 and max(offsets) < 2**32
    assert len(digest("a")) == 16

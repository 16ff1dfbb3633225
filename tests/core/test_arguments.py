"""Checks of texts and whole numbers, and values in error messages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from janus_nodes.janus_core import checked_text, checked_whole, shown
from janus_nodes.janus_core.arguments import checked_path, checked_texts, listed


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "None"),
        (3, "3"),
        ("a \ud800\n", r"'a \ud800\n'"),
        ("a" * 500, "'" + "a" * 79 + "…"),
        ([1, 2], "list of 2"),
        ({}, "dict of 0"),
        (np.zeros((2, 3), np.uint8), "ndarray of shape [2, 3] and uint8"),
        (torch.zeros(4), "Tensor of shape [4] and torch.float32"),
        (object(), "object"),
    ],
)
def test_any_value_is_shown_on_one_short_line(value: Any, expected: str) -> None:
    assert shown(value) == expected
    expected.encode()


@pytest.mark.parametrize("value", [None, 3, 2.5, b"x", [], ["a"], ("a",), object(), " \n"])
def test_what_is_no_text_is_refused(value: Any) -> None:
    message = f"prompt must hold text, got {re.escape(shown(value))}; write one"
    with pytest.raises(ValueError, match=f"^{message}$"):
        checked_text("prompt", value, "write one")
    if value != " \n":
        with pytest.raises(ValueError, match=r"^prompt must be text, got "):
            checked_text("prompt", value, "write one", may_be_blank=True)


@pytest.mark.parametrize(("text", "place"), [("a\0", 1), ("\ud83d", 0), ("ab\udc00c", 2)])
def test_characters_that_cannot_be_tokenized_are_refused(text: str, place: int) -> None:
    with pytest.raises(ValueError, match=rf"^prompt must .* text, got '\\.*' at position {place}; remove"):
        checked_text("prompt", text, "write one")


@pytest.mark.parametrize("text", ["A cat.", "红", "👩‍🚀\n\t", np.str_("A cat.")])
def test_any_other_text_is_returned(text: str) -> None:
    assert checked_text("prompt", text, "write one") is text
    assert checked_texts("prompt", text, "write one") == [text]
    assert checked_texts("prompt", (text, text), "write one") == [text, text]


@pytest.mark.parametrize("texts", [None, 3, b"ab", {"a": 1}, {"a"}, ["a", None], ["a", 3], ["a", " "]])
def test_what_holds_something_else_than_texts_is_refused(texts: Any) -> None:
    with pytest.raises(ValueError, match=r"^prompt must hold text, got .*; write one$"):
        checked_texts("prompt", texts, "write one")


@pytest.mark.parametrize("value", [None, 2.0, "2", True, [2], torch.zeros(2), object()])
def test_what_is_no_whole_number_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^keep must be a whole number, got {re.escape(shown(value))};"):
        checked_whole("keep", value)
    assert checked_whole("keep", np.int32(2)) == 2


@pytest.mark.parametrize("path", ["a/b", Path("a/b")])
def test_paths_are_returned_as_path(path: str | Path) -> None:
    assert checked_path("folder", path) == Path("a/b")


@pytest.mark.parametrize("path", [None, 5, [], b"a", "", "a\0b"])
def test_what_is_no_path_is_refused(path: Any) -> None:
    with pytest.raises(ValueError, match=r"^folder must be a path, got .*; give a str or a pathlib\.Path$"):
        checked_path("folder", path)


def test_names_beyond_the_twentieth_are_counted() -> None:
    assert listed(["a", "b"]) == "a, b"
    assert listed(["a"] * 20) == ", ".join(["a"] * 20)
    assert listed(["a"] * 22) == ", ".join(["a"] * 20) + " and 2 more"
    assert listed("abc", 3) == "a, b, c"
    assert listed("abcd", 3) == "a, b, c and 1 more"

"""JSON is extracted from answers, and answers without JSON are refused."""

from __future__ import annotations

from typing import Any

import pytest
from janus_nodes.janus_core import json_text, parse_json


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        (' [1, 2.5, "x", null, true] \n', [1, 2.5, "x", None, True]),
        ('"red"', "red"),
        ('```json\n{"a": [1]}\n```', {"a": [1]}),
        ('Sure [see below]:\n```\n[{"a": {}}]\n```\nAnything else?', [{"a": {}}]),
        ('The answer is {"a": "}{"} and no more.', {"a": "}{"}),
        ('{broken} then {"a": 1} then {"b": 2}', {"a": 1}),
        ('```json\nnothing\n``` but {"a": 1}', {"a": 1}),
        ('```json\n{"a": 1}', {"a": 1}),
        ('{"ключ": "图像"}', {"ключ": "图像"}),
    ],
)
def test_json_is_found(answer: str, value: Any) -> None:
    assert parse_json(answer) == value
    assert parse_json(json_text(answer)) == value


@pytest.mark.parametrize(
    "answer",
    [
        "{'box': [1, 2, 3, 4]}",
        '{"a": 1 "b": [1, 2]}',
        '{name: "x", box: {"x": 1}}',
        '{"objects": ["cat", "dog",], "n": [1]}',
        '{"a": 1e999}',
        "",
        "a red star",
        '{"a": 1',
        "{'a': 1}",
        '{"a": NaN}',
        "[Infinity]",
        '{"a": [1, 2], "b',
        "[" * 100_000,
        "[ " * 50_000,
    ],
)
def test_answers_without_json_are_refused_and_quoted(answer: str) -> None:
    with pytest.raises(
        ValueError, match=r"answer must hold JSON, got .*; say in the question which"
    ) as error:
        parse_json(answer)
    assert repr(answer) in str(error.value)


def test_json_text_is_one_line_and_keeps_unicode() -> None:
    assert json_text('{"a":\n "图像",\n "b": [1,2]}') == '{"a": "图像", "b": [1, 2]}'

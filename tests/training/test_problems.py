"""Errors in a data set are collected, and raised as one."""

from __future__ import annotations

import pytest
from janus_nodes.janus_core.training.problems import Problems


def collected(*errors: Exception, place: str = "") -> Problems:
    problems = Problems()
    for error in errors:
        with problems.collected(place):
            raise error
    return problems


def test_without_problems_nothing_is_refused() -> None:
    Problems().refuse()


@pytest.mark.parametrize("error", [ValueError("a.png: broken"), FileNotFoundError("a.png: missing")])
def test_a_single_problem_is_raised_as_it_is(error: Exception) -> None:
    with pytest.raises(type(error), match=rf"^{error}$"):
        collected(error).refuse()


def test_missing_files_among_other_problems_are_values_that_must_be_corrected() -> None:
    with pytest.raises(ValueError, match=r"got 2 problems:\nbroken\nmissing$"):
        collected(ValueError("broken"), FileNotFoundError("missing")).refuse()


def test_a_place_is_put_before_errors_of_any_kind() -> None:
    error = UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed")
    with pytest.raises(ValueError, match=r"^a.txt: 'utf-8' codec can't encode .*"):
        collected(error, place="a.txt").refuse()


def test_other_errors_pass_through() -> None:
    with pytest.raises(RuntimeError, match=r"^a bug$"):
        collected(RuntimeError("a bug"))

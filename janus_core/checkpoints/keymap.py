"""Key maps: how tables of names are applied, in both directions.

A rule's patterns are names in which `#` stands for a number and `*` for any rest; both sides have the same
ones, in the same order. A rule with several sources joins them, in that order, along the first dimension of
its target.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from ..config import JanusConfig


@dataclass(frozen=True)
class Rule:
    """One row of a key map.

    Attributes:
        sources: patterns of the checkpoint's names.
        target: pattern of the model's name.
        shares: relative sizes of the sources within the target, which may depend on the model's sizes.
        leading_one: whether the checkpoint's tensor has a first dimension of 1 that the model's lacks.
        trailing_ones: last dimensions of 1 that the model's tensor has and the checkpoint's lacks.
    """

    sources: tuple[str, ...]
    target: str
    shares: Callable[[JanusConfig], tuple[int, ...]] = lambda config: (1,)
    leading_one: bool = False
    trailing_ones: int = 0


@dataclass(frozen=True)
class Layout:
    """A way in which checkpoints name their tensors.

    Attributes:
        name: for error messages.
        rules: the first that fits a name decides.
        dropped: patterns of names that the model has no use for, each with the reason.
        takes_vae: whether a VAE, which has a layout of its own, fills the rest of the model.
        says_roles: whether a chat template in its folders is the one that the model was trained with.
    """

    name: str
    rules: tuple[Rule, ...]
    dropped: Mapping[str, str]
    takes_vae: bool = False
    says_roles: bool = False


@dataclass(frozen=True)
class Place:
    """Where a checkpoint's tensor goes: rows [start, start + length) of a parameter."""

    target: str
    start: int
    length: int
    leading_one: bool
    trailing_ones: int = 0

    def source_shape(self, target_shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape that the checkpoint's tensor has."""
        rows = (self.length, *target_shape[1 : len(target_shape) - self.trailing_ones])
        return (1, *rows) if self.leading_one else rows


def places(layout: Layout, config: JanusConfig, targets: Mapping[str, tuple[int, ...]]) -> dict[str, Place]:
    """Every name that a checkpoint of this layout has, with the place of its tensor.

    Args:
        layout: the table.
        config: sizes, for how joined tensors share a parameter.
        targets: shapes of the model's parameters by name.

    Raises:
        KeyError: if no rule makes one of the parameters; an error in the table.
    """
    found: dict[str, Place] = {}
    for target, shape in targets.items():
        rule = next((rule for rule in layout.rules if _fill(rule.target, rule.sources[0], target)), None)
        if rule is None:
            raise KeyError(f"no rule of layout {layout.name!r} makes parameter {target!r}")
        shares = rule.shares(config)
        start = 0
        for pattern, share in zip(rule.sources, shares, strict=True):
            source = _fill(rule.target, pattern, target)
            assert source is not None  # the sources of a rule have the same wildcards
            length = shape[0] * share // sum(shares)
            found[source] = Place(target, start, length, rule.leading_one, rule.trailing_ones)
            start += length
    return found


def covers(layout: Layout, targets: Iterable[str]) -> bool:
    """Whether a layout has a rule for every one of the model's names."""
    return all(any(matches(rule.target, [target]) for rule in layout.rules) for target in targets)


def is_dropped(layout: Layout, name: str) -> bool:
    """Whether a checkpoint's tensor is known to be of no use."""
    return any(_regex(pattern).fullmatch(name) for pattern in layout.dropped)


def matches(pattern: str, names: Iterable[str]) -> bool:
    """Whether any name fits a pattern."""
    return any(_regex(pattern).fullmatch(name) for name in names)


def _fill(pattern: str, other: str, name: str) -> str | None:
    """Rewrites `name`, which fits `pattern`, by the pattern `other`; None if it does not fit."""
    match = _regex(pattern).fullmatch(name)
    if match is None:
        return None
    values = iter(match.groups())
    return re.sub(r"[#*]", lambda _: next(values), other)


@functools.cache
def _regex(pattern: str) -> re.Pattern[str]:
    return re.compile(re.escape(pattern).replace(r"\#", r"(\d+)").replace(r"\*", r"(.+)"))

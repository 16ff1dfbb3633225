"""Key maps: tables that translate a checkpoint's tensor names to the model's parameter names.

A rule's patterns are names with wildcards: `#` matches a number and `*` any text. Both sides of a rule have
the same wildcards, in the same order. A rule with several sources concatenates them, in that order, along the
first dimension of its target, as for the query, key and value projections.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..config import JanusConfig

Shape = tuple[int, ...]

# Parameters beside a quantized weight, in files named after it. They have as many rows, and follow its rule.
FACTORS = ("scale", "zero")


@dataclass(frozen=True)
class Rule:
    """One line of a key map.

    Attributes:
        sources: patterns of the checkpoint's names.
        target: pattern of the parameter's name.
        shares: relative sizes of the sources within the target, computed from the model's config; None if all
            have the same size.
        leading_one: whether the checkpoint's tensor has a first dimension of 1 that the parameter lacks.
        trailing_ones: last dimensions of 1 that the parameter has and the checkpoint's tensor lacks.
    """

    sources: tuple[str, ...]
    target: str
    shares: Callable[[JanusConfig], Sequence[int]] | None = None
    leading_one: bool = False
    trailing_ones: int = 0


@dataclass(frozen=True)
class ParameterSlice:
    """The part of a model parameter that one tensor of a checkpoint fills."""

    parameter: str
    start: int  # index along the parameter's first dimension
    shape: Shape  # of the part
    source_shape: Shape  # of the tensor in the checkpoint; differs from `shape` by dimensions of 1 only

    @property
    def end(self) -> int:
        """Index along the parameter's first dimension where the part ends."""
        return self.start + self.shape[0]


@dataclass(frozen=True)
class KeyMap:
    """How a layout's tensor names translate to parameter names."""

    name: str  # of the layout, for error messages
    rules: tuple[Rule, ...]  # the first one whose target matches a parameter applies
    dropped: Mapping[str, str]  # patterns of tensors that the model does not use, each with the reason
    sections: Mapping[str, str]  # paths of the sections in config.json that give their sizes, by pattern

    def expected_tensors(self, config: JanusConfig, shapes: Mapping[str, Shape]) -> dict[str, ParameterSlice]:
        """Returns every tensor name that a checkpoint must have, with the part of the model it fills.

        `shapes` are those of the model's parameters by name.
        """
        expected: dict[str, ParameterSlice] = {}
        for parameter, shape in shapes.items():
            target, suffix = parameter, ""
            layer, _, leaf = parameter.rpartition(".")
            if leaf in FACTORS and f"{layer}.weight" in shapes:
                target, suffix = f"{layer}.weight", f".{leaf}"
            rule = self._rule(target)
            if rule is None:  # an error in the table
                raise KeyError(f"no rule of the {self.name!r} key map fills parameter {parameter!r}")
            shares = [1] * len(rule.sources) if rule.shares is None else rule.shares(config)
            start = 0
            for source, share in zip(rule.sources, shares, strict=True):
                part = (shape[0] * share // sum(shares), *shape[1:])
                source_shape = part[: len(part) - rule.trailing_ones]
                if rule.leading_one:
                    source_shape = (1, *source_shape)
                name = _translate(target, rule.target, source) + suffix
                expected[name] = ParameterSlice(parameter, start, part, source_shape)
                start += part[0]
        return expected

    def covers(self, parameters: Iterable[str]) -> bool:
        """Whether every one of these parameters has a rule."""
        return all(self._rule(name) is not None for name in parameters)

    def _rule(self, parameter: str) -> Rule | None:
        return next((rule for rule in self.rules if matches(rule.target, parameter)), None)

    def drops(self, name: str) -> bool:
        """Whether a checkpoint's tensor is known to be unused."""
        return any(matches(pattern, name) for pattern in self.dropped)

    def sections_of(self, names: Iterable[str]) -> set[str]:
        """Paths of the sections in config.json that give the sizes of these tensors."""
        return {
            next((path for pattern, path in self.sections.items() if matches(pattern, name)), "")
            for name in names
        }


def rename(*pairs: tuple[str, str]) -> tuple[Rule, ...]:
    """Rules that only rename: (source, target) pairs."""
    return tuple(Rule((source,), target) for source, target in pairs)


def matches(pattern: str, name: str) -> bool:
    """Whether a name matches a pattern with wildcards."""
    return _regex(pattern).fullmatch(name) is not None


def _translate(name: str, pattern: str, other: str) -> str:
    """Copies what the wildcards of `pattern` match in `name` into the wildcards of `other`."""
    match = _regex(pattern).fullmatch(name)
    assert match is not None  # the caller has found this rule by its pattern
    values = iter(match.groups())
    return re.sub(r"[#*]", lambda _: next(values), other)


@functools.cache
def _regex(pattern: str) -> re.Pattern[str]:
    return re.compile(re.escape(pattern).replace(r"\#", r"(\d+)").replace(r"\*", r"(.+)"))

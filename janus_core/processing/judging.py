"""Questions and answer tokens for scoring images and for multiple choice."""

from __future__ import annotations

from collections.abc import Sequence

from ..arguments import checked_text, shown

# The default question for a score; its answer begins with one of `VERDICTS`.
SCORE_TEMPLATE = "Does this image match the description? Answer Yes or No.\nDescription: {description}"
VERDICTS = ("Yes", "No")

_PLACEHOLDER = "{description}"


def score_question(template: str, description: str) -> str:
    """Puts a description into a yes-or-no question at {description}; other braces are plain text."""
    checked_text("description", description, "write what the image should show")
    checked_text("template", template, f"write a question with {_PLACEHOLDER} in it")
    if _PLACEHOLDER not in template:
        raise ValueError(
            f"template must hold {_PLACEHOLDER}, got {template!r}; write it where the description should go"
        )
    return template.replace(_PLACEHOLDER, description.strip())


def validate_choices(options: Sequence[str]) -> list[str]:
    """Validates and strips the options of a multiple-choice question."""
    if isinstance(options, str):
        raise ValueError(f"options must be a list of texts, got the text {options!r}; put each into a list")
    if not isinstance(options, Sequence):
        raise ValueError(f"options must be a list of texts, got {shown(options)}; put each into a list")
    stripped = [checked_text("options", each, "remove it", may_be_blank=True).strip() for each in options]
    if len(stripped) < 2:
        raise ValueError(f"options must be at least 2, got {len(stripped)}; add another option")
    for option in stripped:
        if not option:
            raise ValueError("options must hold text, got an empty one; remove it")
        if stripped.count(option) > 1:
            raise ValueError(f"options must differ, got {option!r} more than once; remove one")
    return stripped


def first_difference(one: Sequence[int], other: Sequence[int]) -> tuple[list[int], list[int]]:
    """Cuts two tokenized answers after the first token in which they differ, usually the very first.

    That token decides which answer is likelier: the tokens before it are equally likely in both.
    """
    for index, (token, other_token) in enumerate(zip(one, other, strict=False)):
        if token != other_token:
            return list(one[: index + 1]), list(other[: index + 1])
    raise ValueError(
        f"tokenizer must encode {' and '.join(VERDICTS)} differently, got tokens {list(one)} and "
        f"{list(other)}; use the tokenizer.json that belongs to the checkpoint"
    )

"""What a model is asked when it judges: whether a text is true of an image, and which of some texts is."""

from __future__ import annotations

from collections.abc import Sequence

# Asks for an answer that begins with one of `VERDICTS`, in their spelling.
SCORE_TEMPLATE = "Does this image match the description? Answer Yes or No.\nDescription: {description}"
VERDICTS = ("Yes", "No")

_PLACE = "{description}"


def score_question(template: str, description: str) -> str:
    """The question whether an image is as described.

    Args:
        template: a question that "Yes" or "No" answers, with {description} where the description stands.
            Other braces are text.
        description: what the image should show.

    Raises:
        ValueError: if there is no description, or no place for it.
    """
    if not isinstance(description, str) or not description.strip():
        raise ValueError(f"description must hold text, got {description!r}; write what the image should show")
    if _PLACE not in template:
        raise ValueError(
            f"template must hold {_PLACE}, got {template!r}; write it where the description should stand"
        )
    return template.replace(_PLACE, description.strip())


def validate_choices(options: Sequence[str]) -> list[str]:
    """The texts to choose from, without spaces around them.

    Raises:
        ValueError: if there are fewer than two, or one is empty or given twice.
    """
    if isinstance(options, str):
        raise ValueError(f"options must be a list of texts, got the text {options!r}; put each into a list")
    stripped = [option.strip() for option in options]
    if len(stripped) < 2:
        raise ValueError(f"options must be at least 2, got {len(stripped)}; add what else could be true")
    for option in stripped:
        if not option:
            raise ValueError("options must hold text, got an empty one; remove it")
        if stripped.count(option) > 1:
            raise ValueError(f"options must differ, got {option!r} more than once; remove one")
    return stripped


def first_difference(one: Sequence[int], other: Sequence[int]) -> tuple[list[int], list[int]]:
    """Two answers up to the first token in which they differ; with usual tokenizers, one token each.

    What they share before it is equally likely in both, so it has no part in which of them is likelier.

    Raises:
        ValueError: if one begins with all of the other.
    """
    for index, (mine, theirs) in enumerate(zip(one, other, strict=False)):
        if mine != theirs:
            return list(one[: index + 1]), list(other[: index + 1])
    raise ValueError(
        f"tokenizer must tell {' from '.join(VERDICTS)}, got tokens {list(one)} and {list(other)}; "
        "use the tokenizer.json that belongs to the checkpoint"
    )

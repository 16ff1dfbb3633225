"""An answer as a caption."""

from __future__ import annotations


def caption_line(answer: str) -> str:
    """The answer as one line: any white space becomes a single space.

    Raises:
        ValueError: if it holds no text.
    """
    if not (words := answer.split()):
        raise ValueError("its caption must hold text, got none; ask another question")
    return " ".join(words)

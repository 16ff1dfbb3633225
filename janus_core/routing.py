"""Which task a free request asks for."""

from __future__ import annotations

# What can be asked for, in the order of the letters below.
TASKS = ("understand", "generate", "edit", "describe and generate")
LETTERS = "ABCD"

_QUESTION = (
    "Request: {request}\n"
    "What does this request ask for?\n"
    "A. Words\n"
    "B. A new picture\n"
    "C. A changed picture\n"
    "D. Words, then a new picture\n"
    "Answer with the letter."
)


def routing_question(request: str) -> str:
    """The question whose answer is the letter of a task, as multiple-choice tests of such models ask."""
    return _QUESTION.format(request=request.strip())

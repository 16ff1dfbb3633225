"""Answers as strings with a finish reason, and detection of repetitive endings."""

from __future__ import annotations

import re

EOS, LENGTH = "eos", "length"  # how an answer can end

# A tail counts as repetitive if the same words occur at least this often in a row, over at least this many
# bytes. Shorter ones, such as the zeros of a matrix or three equal items of a list, may be intended.
_TIMES, _BYTES = 3, 40
# Chinese, Japanese and Korean put no spaces between words, so each character counts as one.
_UNSPACED = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_WORD = re.compile(rf"[{_UNSPACED}]|(?:(?![{_UNSPACED}])\w)+")


class Answer(str):
    """The text of an answer, usable as any str.

    Attributes:
        finish_reason: "eos" if the model ended the answer itself; "length" if it was cut off at
            `max_new_tokens`, or at the end of the model's context.
        unfamiliar: whether an image that it is about is unlike all that the checkpoint was trained on;
            False if this is unknown. The answer then means little.
    """

    finish_reason: str
    unfamiliar: bool

    def __new__(cls, text: str, finish_reason: str = EOS, unfamiliar: bool = False) -> Answer:
        """Creates an answer with this text."""
        answer = super().__new__(cls, text)
        answer.finish_reason, answer.unfamiliar = finish_reason, unfamiliar
        return answer

    @property
    def is_cut(self) -> bool:
        """Whether the answer was cut off before its end."""
        return self.finish_reason == LENGTH

    @property
    def repeats(self) -> bool:
        """Whether the answer ends in a repetition; see the function `repeats`."""
        return repeats(self)


def repeats(text: str) -> bool:
    """Whether a text ends with the same words, three times or more in a row, over at least 40 bytes of words.

    Punctuation and case are ignored. The last word may be cut off.
    """
    words = _WORD.findall(text.casefold())
    return _has_periodic_tail(words) or _has_periodic_tail(words[:-1])


def _has_periodic_tail(words: list[str]) -> bool:
    """Whether words at the end recur at a fixed distance, over a tail that is long enough."""
    for period in range(1, len(words) // _TIMES + 1):
        start = len(words) - period
        while start > 0 and words[start - 1] == words[start - 1 + period]:
            start -= 1
        tail = words[start:]
        if len(tail) >= _TIMES * period and sum(len(word.encode()) for word in tail) >= _BYTES:
            return True
    return False

"""Draws image tokens ahead of those that are certain, with the same result as one after the other.

A token is the winner of a race between its logits and the noise of its position (`TokenSampler`), so it is a
function of the tokens before it. Several are guessed and read in one pass, which says of each position what
follows. Guesses that equal what was drawn are right, and the first token after them is certain as well
(predictive sampling, arXiv:2002.09928). So a pass draws one token at least, and never another token.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import zip_longest

import torch
import torch.nn.functional as F
from torch import Tensor

from .decoding import ImageDecoder
from .logits import TokenSampler
from .results import DrawnTokens

_log = logging.getLogger(__name__)


class TokenDrawer:
    """Draws tokens of several images, each at its own pace.

    In a pass, every image reads its last certain token and the guesses after it. A window of one token leaves
    no room for guesses: this is plain drawing. Tokens that are not drawn are given, and read along.

    Attributes:
        predicted: for each image, the numbers of the tokens that the decoder's hidden states predict after
            nothing but certain ones: hidden state i predicts number `predicted[image][i]`.
    """

    def __init__(
        self, decoder: ImageDecoder, sampler: TokenSampler, tokens: Tensor, drawn: Sequence[int], window: int
    ) -> None:
        """Takes the tokens [B, N] of images, and the numbers of those to draw, in ascending order.

        The first of these is the token that the decoder's logits predict. `window` is how many are drawn in
        a pass at most.
        """
        self._decoder, self._sampler, self._window = decoder, sampler, window
        self._num_tokens, self._num_drawn = tokens.shape[1], len(drawn)
        # What a window draws past the last one goes to a column of its own.
        self._tokens = F.pad(tokens, (0, 1))
        self._drawn = [*drawn, *[self._num_tokens] * (2 * window)]
        self._drawn_tensor = torch.tensor(self._drawn, device=tokens.device)
        # Of `drawn`, how many are certain. Given tokens after the last one count as one more: they are read.
        self._certain = [0] * len(tokens)
        self._last = len(drawn) + (drawn[-1] < self._num_tokens - 1)
        self._starts = [self._num_tokens] * len(tokens)  # where the last pass began in each image
        # Where tokens are guessed, on the host: all of them, and how often each is among the certain ones.
        self._rows: list[list[int]] = self._tokens.tolist() if window > 1 else []
        self._counts: list[Counter[int]] = [Counter() for _ in self._rows]
        self.predicted = [range(0)] * len(tokens)

    @property
    def tokens(self) -> Tensor:
        """[B, N], of which the first `settled` are certain."""
        return self._tokens[:, : self._num_tokens]

    @property
    def settled(self) -> int:
        """How many tokens at the start are certain, in every image."""
        return self._drawn[min(self._certain)]

    def steps(self) -> Iterator[int]:
        """Draws all tokens, and yields `settled` after the prompt's pass and after each of the others."""
        self._settle()
        yield self.settled
        while min(self._certain) < self._last:
            self._read()
            self._settle()
            yield self.settled

    def result(self) -> DrawnTokens:
        """What was drawn, after all steps; how many passes it took is logged."""
        self._decoder.check_finite()
        images, passes = len(self.tokens), self._decoder.passes
        _log.info("Drew %d tokens of each of %d images in %d passes.", self._num_drawn, images, passes)
        return DrawnTokens(self.tokens, passes)

    def _read(self) -> None:
        """Reads every image's last certain token that was drawn, and what is given or guessed after it."""
        last = self._num_tokens - 1  # which predicts nothing, and is never read
        self._starts = starts = [self._drawn[certain - 1] for certain in self._certain]
        stops = [min(self._drawn[certain + self._window - 1], last) for certain in self._certain]
        num_new = max(stop - start for start, stop in zip(starts, stops, strict=True))
        if self._window == 1:  # all images have drawn as many
            self._decoder.read(self._tokens[:, starts[0] : starts[0] + num_new], starts)
            return
        first = self._drawn_tensor.new_tensor(starts)[:, None]
        numbers = first + torch.arange(num_new, device=first.device)
        after = self._next_drawn(self._window) - 1 - first
        self._decoder.read(
            self._tokens.gather(1, numbers.clamp(max=last)), starts, after.clamp(0, num_new - 1)
        )

    def _settle(self) -> None:
        """Draws from the decoder's logits, and counts what is certain."""
        said = self._sampler.draw_ahead(self._decoder.logits)
        right = self._place_one(said) if self._window == 1 else self._place(said)
        before = self._certain
        self._certain = [min(one + 1 + more, self._last) for one, more in zip(before, right, strict=True)]
        self._sampler.settle([after - one for one, after in zip(before, self._certain, strict=True)])
        self.predicted = [
            range(start + 1, self._drawn[certain - 1])
            for start, certain in zip(self._starts, self._certain, strict=True)
        ]

    def _place_one(self, said: Tensor) -> list[int]:
        """Sets the next token of every image, at the same number in all of them, to what was drawn [B, 1]."""
        self._tokens[:, self._drawn[self._certain[0]]] = said[:, 0]
        return [0] * len(said)

    def _place(self, said: Tensor) -> list[int]:
        """Sets the next tokens to what was drawn [B, K]; counts the right guesses before a wrong one."""
        images = zip(self._rows, self._counts, self._certain, said.tolist(), strict=True)
        right = [self._place_row(row, counts, certain, drawn) for row, counts, certain, drawn in images]
        self._tokens.copy_(torch.tensor(self._rows))
        return right

    def _place_row(self, row: list[int], counts: Counter[int], certain: int, said: list[int]) -> int:
        """Sets an image's next tokens, and guesses those after them; returns how many guesses were right."""
        numbers = self._drawn[certain : certain + len(said) + self._window - 1]
        guesses = [row[number] for number in numbers[: len(said) - 1]]
        wrong = (place for place, guess in enumerate(guesses) if guess != said[place])
        right = next(wrong, len(guesses))
        counts.update(said[: right + 1])
        # Without another guess, a token is the one that the image has most often.
        ((usual, _),) = counts.most_common(1)
        for number, token in zip_longest(numbers, said, fillvalue=usual):
            row[number] = token
        return right

    def _next_drawn(self, count: int) -> Tensor:
        """Numbers [B, count] of the next tokens to draw of each image."""
        first = self._drawn_tensor.new_tensor(self._certain)[:, None]
        return self._drawn_tensor[first + torch.arange(count, device=first.device)]

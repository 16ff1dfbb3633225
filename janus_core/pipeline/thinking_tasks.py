"""Tasks that think about an image in words and draw it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..sampling.options import TextSampling, TokenSampling
from ..sampling.results import GeneratedImages
from ..sampling.steps import OnImage, OnStep, ignore_image, ignore_step, may_preview
from .answer import Answer
from .image_tasks import ImageTasks
from .rows import fit
from .text_tasks import TextTasks
from .thinking.request import AUTO, Thoughts, default_thinking, resolve_form, thinking_request
from .thinking.reviews import ReviewDrawer
from .thinking.rounds import DrawnRounds, Verdict, draw_rounds
from .thinking.thoughts import Thought, ThoughtDrawer
from .thinking.workspace import kept_bytes, thinking_bytes

# The score from which an image counts as right.
KEEPING_SCORE = 0.5


@dataclass(frozen=True)
class ThoughtImages(GeneratedImages):
    """Images with the texts that a model wrote about them.

    `images` and `tokens` are the best of each image's rounds by P(Yes), the earlier one of equals.

    Attributes:
        thoughts: the thought that each image was drawn after; empty for forms that draw first.
        thought_ids: token ids of each thought as sampled, end token included.
        first_images: [B, H, W, 3] of the first round.
        first_tokens: [B, N] of these.
        verdicts: [B, 1 + rounds] float32, P(Yes) of the image of each round, NaN if none was drawn; None if
            images were not judged.
        reflections: what was written about the images of each round but the last, for every image.
        kept: [B] int64, the round of each of `images`; 0 is the first.
        notes: sentences for the user: which texts were cut off.
    """

    thoughts: list[Answer]
    thought_ids: list[list[int]]
    first_images: Tensor
    first_tokens: Tensor
    verdicts: Tensor | None
    reflections: list[list[Answer]]
    kept: Tensor
    notes: tuple[str, ...] = ()


class ThinkingTasks(TextTasks, ImageTasks):
    """Drawing with thoughts and reviews; `JanusPipeline` describes the callbacks."""

    @torch.no_grad()
    def think_and_draw(
        self,
        prompt: str,
        form: str = AUTO,
        options: TokenSampling | None = None,
        thinking: TextSampling | None = None,
        rounds: int = 1,
        thoughts: Thoughts | None = None,
        *,
        question: str | None = None,
        on_text: OnStep = ignore_step,
        on_step: OnStep = ignore_step,
        on_image: OnImage = ignore_image,
    ) -> ThoughtImages:
        """Draws images as fine-tunes do that reason in words, before the image or after it.

        Args:
            prompt: what to draw.
            form: how the checkpoint was trained to do it; `describe` works with any that draws token by
                token; `auto` is detected by the checkpoint's name, else `describe`.
            options: guidance, randomness and number of images; the checkpoint's own by default.
            thinking: length and randomness of the texts; as the form's authors by default, with the images'
                seed. The text about image i draws from seed + i.
            rounds: how often at most an image is judged and drawn again, for forms that review images: until
                the verdict is Yes. 0 only draws.
            thoughts: texts or token ids in place of the model's thoughts; one for all images or one for each.
            question: for forms that ask with one, in place of the checkpoint's own; {} is the prompt.
            on_text: called after every token of a text with the ids so far; raise to cancel.
            on_step: see `JanusPipeline`.
            on_image: see `JanusPipeline`.
        """
        resolve_form(self, form)  # before options, whose kind depends on the model
        checked = self.image_options(options)
        assert isinstance(checked, TokenSampling)
        request = thinking_request(self, prompt, form, checked, thinking, rounds, thoughts, question)
        previews = may_preview(on_text) or may_preview(on_step)
        runtime, _ = fit(
            self, request.parts, lambda smaller: (None, thinking_bytes(smaller, request, previews))
        )
        # What the drawings need stays reserved while images are scored, but for what is kept of them: that is
        # allocated already, and a reservation is of free memory.
        kept = kept_bytes(runtime, request)
        judging = replace(
            self,
            reserve=lambda needed, parts: self.reserve(max(needed, runtime.reserved - kept), runtime.parts),
            room=lambda device, parts: self.room(device, runtime.parts),
        )

        def judge_by_score(images: Sequence[int], pictures: Tensor, round: int) -> list[Verdict]:
            scores = judging.score(pictures, prompt, on_image=on_image).tolist()
            return [Verdict(score, score >= KEEPING_SCORE) for score in scores]

        def decode(tokens: Tensor) -> Tensor:
            return runtime._decode(tokens, on_image)

        if request.form.thinking is None:
            reviewer = ReviewDrawer(runtime, request, on_text, on_step)
            return _result(draw_rounds(reviewer, decode, reviewer.judge, request.rounds), [])
        drawer = ThoughtDrawer(runtime, request, on_text, on_step)
        judge = judge_by_score if request.form.scored else None
        return _result(draw_rounds(drawer, decode, judge, request.rounds), drawer.thoughts)

    def resolve_thinking_form(self, form: str = AUTO) -> str:
        """The form that `think_and_draw` takes for this name, such as that of `auto` for this checkpoint."""
        return resolve_form(self, form).name

    def thinking_options(self, form: str = AUTO, seed: int = 0) -> TextSampling:
        """Options of the texts of a form, as its authors sample them."""
        return default_thinking(resolve_form(self, form), seed)


def _result(drawn: DrawnRounds, thoughts: list[Thought]) -> ThoughtImages:
    texts = [("thought", [[thought.text] for thought in thoughts]), ("reflection", drawn.reflections)]
    notes = tuple(
        f"The {name} of image {image + 1} was cut off before its end; raise max_new_tokens."
        for name, answers in texts
        for image, of_image in enumerate(answers)
        if any(answer.is_cut for answer in of_image)
    )
    return ThoughtImages(
        images=drawn.images,
        tokens=drawn.tokens,
        passes=drawn.passes,
        thoughts=[thought.text for thought in thoughts],
        thought_ids=[thought.ids for thought in thoughts],
        first_images=drawn.first_images,
        first_tokens=drawn.first_tokens,
        verdicts=drawn.verdicts,
        reflections=drawn.reflections,
        kept=drawn.kept,
        notes=notes,
    )

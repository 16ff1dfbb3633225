"""Drawing several images and keeping those that the model itself judges to be best."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..processing.chat import DEFAULT_SYSTEM_PROMPT
from ..processing.judging import SCORE_TEMPLATE, VERDICTS, score_question
from ..sampling.options import FlowSampling, TokenSampling
from ..sampling.results import GeneratedImages, GeneratedLatents
from ..sampling.steps import OnImage, OnStep, ignore_image, ignore_step
from .pipeline import JanusPipeline


@dataclass(frozen=True)
class RankedImages:
    """Images with what they were judged to be worth.

    Attributes:
        drawn: the images, and the tokens or latents that they are made of, the best first.
        scores: [B] float32 in [0, 1], as `JanusPipeline.score` gives them, the highest first.
    """

    drawn: GeneratedImages | GeneratedLatents
    scores: Tensor


def best_of(
    pipeline: JanusPipeline,
    prompt: str,
    options: TokenSampling | FlowSampling | None = None,
    *,
    keep: int = 1,
    negative_prompt: str = "",
    template: str = SCORE_TEMPLATE,
    on_step: OnStep = ignore_step,
    on_image: OnImage = ignore_image,
) -> RankedImages:
    """Draws `options.batch_size` images of a prompt, judges each by it, and keeps the best.

    Published for models of this kind as best-of-N selection (UniGen, arXiv:2505.14682).

    Args:
        pipeline: what draws and judges.
        prompt: what to draw.
        options: guidance, randomness and how many images are drawn.
        keep: how many are given back; 0 for all.
        negative_prompt: what to move away from, as in `JanusPipeline.generate`.
        template: how the model is asked, as in `JanusPipeline.score`.
        on_step: called as `on_step(step, total, state)` for each step of drawing, then for each judged image;
            may raise to cancel.
        on_image: called as `on_image(done, total)` when an image has become pixels; may raise as well.

    Returns:
        The best first; of equals, the one drawn first.

    Raises:
        ValueError: if more are to be kept than are drawn, the model's images have no pixels, or an input does
            not fit.
    """
    options = pipeline.image_options(options)
    count = options.batch_size
    if not 0 <= keep <= count:
        raise ValueError(
            f"keep must be from 0 (all) to the {count} images that are drawn, got {keep}; draw more or keep "
            "fewer"
        )
    # Before the long part, so that a question that does not fit costs nothing.
    question = score_question(template, prompt)
    pipeline.prompts.answers(VERDICTS, [question])
    pipeline.prompts.understanding([question], 1, DEFAULT_SYSTEM_PROMPT)
    if not pipeline.model.generation.can_decode:
        raise ValueError(
            f"model must turn latents into pixels to judge them, got {pipeline.folder.name!r} without a VAE; "
            "load it with vae"
        )
    drawing: list[tuple[int, Tensor]] = []

    def tell_of_step(step: int, total: int, state: Tensor) -> None:
        drawing[:] = [(total, state)]
        on_step(step, total + count, state)

    def tell_of_judged(done: int, total: int) -> None:
        steps, state = drawing[0]
        on_step(steps + done, steps + total, state)

    drawn = pipeline.generate(
        prompt, options, negative_prompt=negative_prompt, on_step=tell_of_step, on_image=on_image
    )
    assert drawn.images is not None
    scores = pipeline.score(drawn.images, prompt, template=template, on_image=tell_of_judged)
    order = scores.argsort(descending=True, stable=True)[: keep or count]
    return RankedImages(drawn.select(order), scores[order])

"""Best-of-N generation: draws several images and keeps those that the model scores highest."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..arguments import checked_text, checked_whole
from ..processing.chat import DEFAULT_SYSTEM_PROMPT
from ..processing.judging import SCORE_TEMPLATE, VERDICTS, score_question
from ..sampling.options import FlowSampling, TokenSampling
from ..sampling.results import GeneratedImages, GeneratedLatents
from ..sampling.steps import OnImage, OnStep, ignore_image, ignore_step, may_preview
from .pipeline import JanusPipeline


@dataclass(frozen=True)
class RankedImages:
    """Images with their scores, the best first.

    Attributes:
        drawn: the images with their tokens or latents.
        scores: [B] float32 in [0, 1], from `JanusPipeline.score`.
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
    """Draws `options.batch_size` images of a prompt, scores each against it, and keeps the best.

    For models of this kind, see UniGen (arXiv:2505.14682).

    Args:
        pipeline: the model.
        prompt: what to draw.
        options: guidance, randomness and number of images to draw; the checkpoint's own by default.
        keep: number of images to return; 0 for all.
        negative_prompt: as in `JanusPipeline.generate`.
        template: as in `JanusPipeline.score`.
        on_step: called after every step of drawing, then after every scored image; raise to cancel.
        on_image: called after every decoded image; raise to cancel.

    Returns:
        The best first; of equal ones, the one drawn first.

    Raises:
        ValueError: if `keep` is larger than the batch, the model cannot decode images, or an input does not
            fit.
    """
    options = pipeline.image_options(options)
    count = options.batch_size
    if not 0 <= checked_whole("keep", keep) <= count:
        raise ValueError(f"keep must be from 0 (all) to {count} images, got {keep}; draw more or keep fewer")
    # Before drawing, so that a question that does not fit costs nothing.
    question = score_question(template, checked_text("prompt", prompt, "describe the image to draw"))
    pipeline.prompts.answers(VERDICTS, [question])
    pipeline.prompts.understanding([question], 1, DEFAULT_SYSTEM_PROMPT)
    if not pipeline.model.generation.can_decode:
        raise ValueError(
            f"model must turn latents into pixels to judge them, got {pipeline.folder.name!r} without a VAE; "
            "load it with vae"
        )
    progress = _Progress(on_step, count)
    drawn = pipeline.generate(
        prompt, options, negative_prompt=negative_prompt, on_step=progress, on_image=on_image
    )
    assert drawn.images is not None
    scores = pipeline.score(drawn.images, prompt, template=template, on_image=progress.scored)
    order = scores.argsort(descending=True, stable=True)[: keep or count]
    return RankedImages(drawn.select(order), scores[order])


class _Progress:
    """An `OnStep` of drawing that reports scored images as further steps, with the last state of drawing."""

    def __init__(self, on_step: OnStep, num_images: int) -> None:
        self._on_step, self._num_images = on_step, num_images
        self.previews = may_preview(on_step)

    def __call__(self, step: int, total: int, state: Tensor) -> None:
        self._num_steps, self._state = total, state
        self._on_step(step, total + self._num_images, state)

    def scored(self, done: int, total: int) -> None:
        self._on_step(self._num_steps + done, self._num_steps + total, self._state)

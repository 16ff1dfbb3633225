"""Requests to draw images of one prompt or of several, split into runs that are drawn together."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ..arguments import checked_texts, checked_whole
from ..prompt_batch import PromptBatch
from ..sampling.guidance import uses_guidance
from ..sampling.image_sampler import ImageSampler
from ..sampling.options import FlowSampling, TokenSampling
from .edit_runs import EditRun, split_runs
from .runtime import Runtime


@dataclass(frozen=True)
class DrawingRequest:
    """What to draw: for each prompt in turn, equally many images.

    Attributes:
        prompts: one text for each prompt.
        negative_prompt: of all of them.
        seed_offsets: for each image, what is added to the seed.
    """

    prompts: list[str]
    negative_prompt: str
    seed_offsets: list[int]


@dataclass(frozen=True)
class DrawingRun:
    """Images that are drawn as one batch.

    Attributes:
        prompt: a sequence for each prompt, and with guidance as many unconditional ones after them.
        condition_rows: the sequences of a single prompt of that length, for the estimate of memory.
        sources: indices of the prompts.
        rows: indices of the images, those of a prompt adjacent.
    """

    prompt: PromptBatch
    condition_rows: PromptBatch
    sources: list[int]
    rows: list[int]


def drawing_request(
    prompt: str | Sequence[str],
    negative_prompt: str,
    batch_size: int,
    rows: Sequence[int] | None,
    starts: Collection[str],
) -> DrawingRequest:
    """Checks the arguments of `JanusPipeline.generate`; `starts` names the tensors that it was given.

    Raises:
        ValueError: if they do not fit together.
    """
    prompts = checked_texts("prompt", prompt, "describe the image to draw")
    count = len(prompts) * batch_size
    offsets = list(range(count)) if rows is None else [checked_whole("rows", each) for each in rows]
    if len(offsets) != count:
        raise ValueError(
            f"rows must be one index for each of the {count} images, got {len(offsets)}; leave them out"
        )
    if starts and (len(prompts) > 1 or rows is not None):
        raise ValueError(
            f"{next(iter(starts))} must be None for several prompts or with rows, got a tensor; draw one "
            "prompt at a time"
        )
    return DrawingRequest(prompts, negative_prompt, offsets)


def drawing_runs(
    runtime: Runtime, request: DrawingRequest, options: TokenSampling | FlowSampling, sampler: ImageSampler
) -> list[DrawingRun]:
    """Splits a request into runs of at most `max_batch_size` images, and tokenizes the prompts.

    Raises:
        ValueError: if a prompt does not fit into the model's context.
    """
    size = options.batch_size
    blocks = [
        EditRun([source], list(range(source * size, (source + 1) * size)))
        for source in range(len(request.prompts))
    ]
    groups = [blocks] if sampler.joins_prompts else [[block] for block in blocks]
    runs = [run for group in groups for run in split_runs(group, runtime.max_batch_size)]
    return [_tokenized(runtime, request, options, sampler, run) for run in runs]


def _tokenized(
    runtime: Runtime,
    request: DrawingRequest,
    options: TokenSampling | FlowSampling,
    sampler: ImageSampler,
    run: EditRun,
) -> DrawingRun:
    def batch(prompts: list[str]) -> PromptBatch:
        return runtime.prompts.generation(
            prompts,
            request.negative_prompt,
            uses_guidance(options.guidance_scale),
            runtime.model.generation.config.num_tokens,
            sampler.prompt_style,
        )

    prompts = [request.prompts[source] for source in run.sources]
    joined = batch(prompts)
    if len(prompts) == 1:
        return DrawingRun(joined, joined, run.sources, run.rows)
    alone = max((batch([text]) for text in prompts), key=lambda prompt: prompt.length)
    return DrawingRun(joined, alone, run.sources, run.rows)

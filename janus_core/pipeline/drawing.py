"""Requests to draw images of one prompt or of several, split into runs that are drawn together."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from ..arguments import checked_texts, checked_whole
from ..prompt_batch import PromptBatch
from ..sampling.guidance import uses_guidance
from ..sampling.image_sampler import ImageSampler
from ..sampling.options import FlowSampling, TokenSampling
from .edit_runs import EditRun, split_runs
from .runtime import Runtime
from .workspace import codec_bytes, drawing_bytes


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


def plan_drawing(
    runtime: Runtime,
    request: DrawingRequest,
    options: TokenSampling | FlowSampling,
    sampler: ImageSampler,
    prompts: Callable[[tuple[int, ...]], PromptBatch],
    *,
    pixels: bool,
    preview: bool,
) -> tuple[list[EditRun], int]:
    """Splits a request into runs of at most `max_batch_size` images, whose sources are indices of prompts.

    `prompts` is the `prompt_batch` of some of these.

    Returns:
        The runs, and the bytes that they need at most, `pixels` and previews included.

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
    phases = [codec_bytes(runtime, len(request.seed_offsets))] if pixels else []
    for run in runs:
        num_sources = len(run.sources)
        phases.append(
            drawing_bytes(
                runtime,
                prompts(tuple(run.sources)).first_of(num_sources),
                len(run.rows),
                preview,
                num_sources=num_sources,
                lookahead=getattr(options, "lookahead", 1),
            )
        )
    return runs, max(phases)


def prompt_batch(
    runtime: Runtime,
    request: DrawingRequest,
    options: TokenSampling | FlowSampling,
    sampler: ImageSampler,
    sources: Sequence[int],
) -> PromptBatch:
    """A sequence for each of some prompts, and with guidance as many unconditional ones after them.

    Raises:
        ValueError: if a prompt does not fit into the model's context.
    """
    return runtime.prompts.generation(
        [request.prompts[source] for source in sources],
        request.negative_prompt,
        uses_guidance(options.guidance_scale),
        runtime.model.generation.config.num_tokens,
        sampler.prompt_style,
    )

"""The table of tasks: what a row needs, what is computed, and which columns it fills."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..captioning.caption import caption_line
from ..pipeline.answer import Answer
from ..pipeline.pipeline import JanusPipeline
from ..processing.images import to_pillow
from ..sampling.options import MAX_SEED, FlowSampling, TextSampling, TokenSampling
from .rows import Result

if TYPE_CHECKING:
    from .options import BatchOptions

Sampling = TextSampling | TokenSampling | FlowSampling


@dataclass(frozen=True)
class Input:
    """A row that is ready to be computed.

    Attributes:
        text: a question, a prompt or a description.
        image: [S, S, 3] uint8, letterboxed; None without an image.
        offset: what is added to the seed.
    """

    text: str
    image: Tensor | None
    offset: int


@dataclass(frozen=True)
class Task:
    """A kind of work.

    Attributes:
        does: what it does, for the command's help.
        compute: results of a batch of inputs, which either all have an image or none.
        image: whether a row must have one (True), may have one (None), or has none (False).
        texts: names of the column that holds a row's text, the first that is there; empty for none.
        own_question: whether the options' question stands for a row's text.
        sampling: classes of options of the random draws.
        columns: what is written for each row, beside its `id` and `error`, with the types of a parquet file.
        formats: those that hold all of it, the default one first.
        rows_per_part: rows that are written together.
    """

    does: str
    compute: Callable[[JanusPipeline, Sequence[Input], BatchOptions], list[Result]]
    image: bool | None
    texts: tuple[str, ...]
    own_question: bool
    sampling: tuple[type[Sampling], ...]
    columns: dict[str, str]
    formats: tuple[str, ...]
    rows_per_part: int


def _images(inputs: Sequence[Input]) -> Tensor | None:
    """Images [B, S, S, 3] in [0, 1]; None if the inputs have none."""
    images = [each.image for each in inputs if each.image is not None]
    return torch.stack(images).float() / 255 if images else None


def _answered(pipeline: JanusPipeline, inputs: Sequence[Input], options: BatchOptions) -> list[Answer]:
    sampling = options.sampling
    assert isinstance(sampling, TextSampling)
    return pipeline.understand(
        _images(inputs),
        [each.text for each in inputs],
        sampling,
        system_prompt=options.system_prompt,
        rows=[each.offset for each in inputs],
    )


def _answer_columns(answer: Answer, text: str) -> Result:
    return {
        "text": text,
        "finish_reason": answer.finish_reason,
        "repeats": answer.repeats,
        "unfamiliar": answer.unfamiliar,
    }


def _caption(pipeline: JanusPipeline, inputs: Sequence[Input], options: BatchOptions) -> list[Result]:
    results: list[Result] = []
    for answer in _answered(pipeline, inputs, options):
        try:
            results.append(_answer_columns(answer, caption_line(answer)))
        except ValueError as error:
            results.append({"error": str(error)})
    return results


def _ask(pipeline: JanusPipeline, inputs: Sequence[Input], options: BatchOptions) -> list[Result]:
    answers = _answered(pipeline, inputs, options)
    return [
        {"question": each.text, **_answer_columns(answer, str(answer))}
        for each, answer in zip(inputs, answers, strict=True)
    ]


def _draw(pipeline: JanusPipeline, inputs: Sequence[Input], options: BatchOptions) -> list[Result]:
    assert not isinstance(options.sampling, TextSampling)
    sampling = pipeline.image_options(options.sampling)
    drawn = pipeline.generate(
        [each.text for each in inputs],
        sampling,
        negative_prompt=options.negative_prompt,
        rows=[each.offset for each in inputs],
    )
    assert drawn.images is not None  # a checkpoint that cannot decode is refused before
    tokens = getattr(drawn, "tokens", None)
    return [
        {
            "text": each.text,
            # Typed into a node, this seed draws the same image.
            "seed": (int(sampling.seed) + each.offset) & MAX_SEED,
            "tokens": None if tokens is None else tokens[row].tolist(),
            "image": _png(drawn.images[row]),
        }
        for row, each in enumerate(inputs)
    ]


def _score(pipeline: JanusPipeline, inputs: Sequence[Input], options: BatchOptions) -> list[Result]:
    images = _images(inputs)
    assert images is not None
    texts = [each.text for each in inputs]
    scores = pipeline.score(images, texts, system_prompt=options.system_prompt).tolist()
    return [{"text": text, "score": round(score, 6)} for text, score in zip(texts, scores, strict=True)]


def _encode(pipeline: JanusPipeline, inputs: Sequence[Input], options: BatchOptions) -> list[Result]:
    images = _images(inputs)
    assert images is not None
    return [{"tokens": tokens} for tokens in pipeline.encode_tokens(images).tolist()]


def _png(image: Tensor) -> bytes:
    buffer = io.BytesIO()
    to_pillow(image, (0.0, 0.0, 0.0)).save(buffer, format="PNG")
    return buffer.getvalue()


_ANSWER = {"text": "string", "finish_reason": "string", "repeats": "bool", "unfamiliar": "bool"}
_TEXT_FORMATS = ("jsonl", "parquet", "txt")

TASKS: dict[str, Task] = {
    "caption": Task(
        does="describes images",
        compute=_caption,
        image=True,
        texts=(),
        own_question=True,
        sampling=(TextSampling,),
        columns={"file_name": "string", **_ANSWER},
        formats=_TEXT_FORMATS,
        rows_per_part=256,
    ),
    "ask": Task(
        does="answers a question of each row, about its image if it has one",
        compute=_ask,
        image=None,
        texts=("question", "prompt", "text"),
        own_question=True,
        sampling=(TextSampling,),
        columns={"file_name": "string", "question": "string", **_ANSWER},
        formats=_TEXT_FORMATS,
        rows_per_part=256,
    ),
    "draw": Task(
        does="draws an image of each prompt",
        compute=_draw,
        image=False,
        texts=("prompt", "text", "caption"),
        own_question=False,
        sampling=(TokenSampling, FlowSampling),
        columns={
            "file_name": "string",
            "text": "string",
            "seed": "uint64",
            "tokens": "list<int32>",
            "image": "binary",
        },
        formats=("png", "tar", "parquet"),
        rows_per_part=64,
    ),
    "score": Task(
        does="rates how well each image matches its text",
        compute=_score,
        image=True,
        texts=("text", "caption", "prompt"),
        own_question=False,
        sampling=(),
        columns={"file_name": "string", "text": "string", "score": "double"},
        formats=("jsonl", "parquet"),
        rows_per_part=256,
    ),
    "encode": Task(
        does="encodes images as tokens",
        compute=_encode,
        image=True,
        texts=(),
        own_question=False,
        sampling=(),
        columns={"file_name": "string", "tokens": "list<int32>"},
        formats=("jsonl", "parquet"),
        rows_per_part=256,
    ),
}

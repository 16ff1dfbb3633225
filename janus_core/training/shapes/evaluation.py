"""How well a model knows the drawn world: drawing, seeing, and its image tokenizer.

The kinds of prompts are GenEval's (arXiv:2310.11513), those of questions about presence POPE's
(arXiv:2305.10355); pictures are judged by reading them back into scenes.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from ...pipeline.inputs import VisionFeatures
from ...pipeline.pipeline import JanusPipeline
from ...sampling.options import TextSampling, TokenSampling
from ..pictures import drawn, to_images, to_pictures
from ..vision import SEES
from .draw import draw_scene
from .prompt_specs import CATEGORIES, PromptSpec, framed, random_wish
from .questions import Question, random_question
from .read import read_picture, same_things
from .scene import random_scene

QUESTION_KINDS = ("describe", "colour", "shape", "count", "where", "relation", "background")
HELD_OUT_CATEGORIES = ("counting", "colours", "colour attribution")


@dataclass(frozen=True)
class Share:
    """Successes out of trials."""

    hits: int
    total: int

    @property
    def value(self) -> float:
        """The share itself."""
        return self.hits / self.total if self.total else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's interval of 95 % confidence."""
        if not self.total:
            return math.nan, math.nan
        z = 1.96
        centre = self.value + z * z / (2 * self.total)
        spread = z * math.sqrt(self.value * (1 - self.value) / self.total + z * z / (4 * self.total**2))
        scale = 1 + z * z / self.total
        return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)

    def summary(self) -> dict[str, Any]:
        """For a report."""
        low, high = self.interval
        return {"value": round(self.value, 4), "low": round(low, 4), "high": round(high, 4), **asdict(self)}


@dataclass(frozen=True)
class Estimate:
    """Any other figure, with its interval of 95 % confidence."""

    value: float
    interval: tuple[float, float]

    def summary(self) -> dict[str, Any]:
        """For a report."""
        low, high = self.interval
        return {"value": round(self.value, 4), "low": round(low, 4), "high": round(high, 4)}


Measure = Share | Estimate


def evaluate_drawing(
    pipeline: JanusPipeline,
    count: int,
    options: TokenSampling,
    held_out: bool = False,
) -> dict[str, Share]:
    """Draws prompts of every category and reads the pictures.

    Args:
        pipeline: the model.
        count: prompts per category.
        options: temperature, guidance and top-p; picture i of a category has seed + i.
        held_out: asks for what training leaves out, in the categories that can.
    """
    categories = HELD_OUT_CATEGORIES if held_out else CATEGORIES
    shares = {}
    for category in categories:
        pairs = (draw_wish(pipeline, category, index, options, held_out) for index in range(count))
        shares[category] = Share(sum(wish.fulfilled(read_picture(picture)) for wish, picture in pairs), count)
    return shares


def draw_wish(
    pipeline: JanusPipeline, category: str, index: int, options: TokenSampling, held_out: bool = False
) -> tuple[PromptSpec, np.ndarray]:
    """The prompt of a number in its category, and what the model draws for it with that much more seed."""
    rng = random.Random(f"drawing {category} {held_out} {index}")
    wish = random_wish(category, rng, held_out)
    sampling = replace(options, seed=options.seed + index)
    (picture,) = drawn(pipeline, framed(wish.phrase, rng), sampling)
    return wish, picture


def evaluate_answers(
    pipeline: JanusPipeline,
    kinds: Sequence[str],
    count: int,
    held_out: bool = False,
    sees: str = "encoder",
) -> dict[str, Share]:
    """Asks questions of every kind about scenes that training did not see; an answer is right or wrong.

    Args:
        pipeline: the model.
        kinds: of questions.
        count: questions per kind, each about a scene of its own.
        held_out: asks about scenes with what training leaves out.
        sees: how pictures are seen, a key of `vision.SEES`.
    """
    shares = {}
    for kind in kinds:
        pictures, questions = _asked(kind, count, held_out)
        answers = _answers(pipeline, pictures, questions, sees)
        hits = sum(_same(given, asked.answer) for given, asked in zip(answers, questions, strict=True))
        shares[kind] = Share(hits, count)
    return shares


def evaluate_presence(pipeline: JanusPipeline, count: int, sees: str = "encoder") -> dict[str, Measure]:
    """Asks whether something is there: accuracy, precision, recall, F1 and share of yes, as POPE does."""
    pictures, questions = _asked("exist", count, held_out=False)
    said = np.array([_same(answer, "Yes.") for answer in _answers(pipeline, pictures, questions, sees)])
    true = np.array([question.answer == "Yes." for question in questions])
    both = int((said & true).sum())
    return {
        "accuracy": Share(int((said == true).sum()), count),
        "precision": Share(both, int(said.sum())),
        "recall": Share(both, int(true.sum())),
        "f1": resampled(_f1, np.stack((said, true), axis=1)),
        "yes_share": Share(int(said.sum()), count),
    }


def evaluate_tokenizer(pipeline: JanusPipeline, count: int) -> dict[str, Measure]:
    """Sends scenes through the tokenizer and back: PSNR in dB, objects still read, codes used."""
    scenes = [random_scene(random.Random(f"tokenizer {index}"), held_out=None) for index in range(count)]
    psnr, read, used = [], [], set()
    for scene in scenes:
        picture = draw_scene(scene)
        tokens = pipeline.encode_tokens(torch.stack(to_images([picture])))
        (decoded,) = to_pictures(pipeline.decode_tokens(tokens))
        error = np.square((decoded.astype(np.float64) - picture) / 255).mean()
        psnr.append(-10 * math.log10(max(error, 1e-10)))
        read.append(same_things(read_picture(decoded), scene))
        used.update(tokens.flatten().tolist())
    codes = pipeline.model.token_generation.config.vq.codebook_size
    return {
        "psnr": resampled(np.mean, np.array(psnr)),
        "objects_read": resampled(np.mean, np.array(read)),
        "codes_used": Share(len(used), codes),
    }


def resampled(statistic: Callable[[np.ndarray], Any], values: np.ndarray) -> Estimate:
    """A statistic of samples [N, ...] with the interval of 95 % of 1,000 bootstrap resamples."""
    rng = np.random.default_rng(0)
    draws = [statistic(values[rng.integers(len(values), size=len(values))]) for _ in range(1000)]
    low, high = np.percentile(draws, (2.5, 97.5))
    return Estimate(float(statistic(values)), (float(low), float(high)))


def _f1(pairs: np.ndarray) -> float:
    """Of pairs [N, 2] of what was said and what is true."""
    said, true = pairs.T
    return float(2 * (said & true).sum() / max(said.sum() + true.sum(), 1))


def _asked(kind: str, count: int, held_out: bool) -> tuple[list[np.ndarray], list[Question]]:
    pictures: list[np.ndarray] = []
    questions: list[Question] = []
    index = 0
    while len(questions) < count:
        rng = random.Random(f"question {kind} {held_out} {index}")
        index += 1
        scene = random_scene(rng, held_out)
        try:
            questions.append(random_question(scene, rng, kind))
        except ValueError:  # the scene allows no such question
            continue
        pictures.append(draw_scene(scene))
    return pictures, questions


def _answers(
    pipeline: JanusPipeline, pictures: list[np.ndarray], questions: list[Question], sees: str
) -> list[str]:
    images = to_images(pictures)
    texts = [question.text for question in questions]
    with torch.no_grad():
        embeds = torch.cat([SEES[sees](pipeline, [image]) for image in images])
    return pipeline.understand(VisionFeatures(embeds, embeds), texts, TextSampling(max_new_tokens=64))


def _same(given: str, right: str) -> bool:
    return given.strip().lower() == right.lower()

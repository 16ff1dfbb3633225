"""Measures how well a model generates, answers and tokenizes pictures of the shapes world.

Prompts have the categories of GenEval (arXiv:2310.11513), and questions about presence are those of POPE
(arXiv:2305.10355). Generated pictures are judged by reading them back into scenes.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch

from ...models.token_generation import TokenGeneration
from ...pipeline.inputs import VisionFeatures
from ...pipeline.pipeline import JanusPipeline
from ...sampling.options import EditSampling, FlowSampling, TextSampling, TokenSampling
from ..pictures import VISION_INPUTS, generate_pictures, reconstruct, to_images, to_pictures
from .drawing import draw_scene, found_share, read_picture
from .edits import EDIT_KINDS, Edit, follows, keeps_the_rest, random_edit
from .prompt_specs import CATEGORIES, PromptSpec, paraphrase, random_prompt_spec
from .questions import Question, random_question
from .scene import random_scene

QUESTION_KINDS = ("describe", "colour", "shape", "count", "where", "relation", "background")
HELD_OUT_CATEGORIES = ("counting", "colours", "colour attribution")

# Pictures that are generated together.
_TOGETHER = 8

# The confidence of 1.96 standard deviations, the usual rounding of 95 %.
_CONFIDENCE = 0.95000421


@dataclass(frozen=True)
class Measure:
    """A measured value with its 95 % confidence interval; hits and total if it is a share."""

    value: float
    low: float
    high: float
    hits: int | None = None
    total: int | None = None


@dataclass(frozen=True)
class EvaluatedModel:
    """A model with the way it is used in an evaluation."""

    pipeline: JanusPipeline
    # How it generates; picture i of a category gets the seed `options.seed` + i.
    options: TokenSampling | FlowSampling
    sees: str = "encoder"  # how it sees pictures, a key of `VISION_INPUTS`

    def generate(self, specs: Sequence[PromptSpec], prompts: Sequence[str], first: int) -> list[np.ndarray]:
        """Generates pictures `first`, … of a category, [H, W, 3] uint8, from prompts that ask for `specs`."""
        options = replace(self.options, seed=self.options.seed + first)
        return generate_pictures(self.pipeline, prompts, options)

    def edit(self, edit: Edit, index: int) -> np.ndarray:
        """Makes edit `index` of a kind; returns its picture, [H, W, 3] uint8."""
        values = {field.name: getattr(self.options, field.name) for field in fields(self.options)}
        options = EditSampling(**values | {"seed": self.options.seed + index})
        (source,) = to_images([draw_scene(edit.source)])
        (picture,) = to_pictures(self.pipeline.edit(source, edit.instruction, options).images)
        return picture

    def answer(self, pictures: Sequence[np.ndarray], questions: Sequence[Question]) -> list[str]:
        """Answers one question about each picture."""
        vision_input = VISION_INPUTS[self.sees]
        with torch.no_grad():
            embeds = torch.cat([vision_input(self.pipeline, [image]) for image in to_images(pictures)])
        texts = [question.text for question in questions]
        features = VisionFeatures(embeds, embeds)
        return list(self.pipeline.understand(features, texts, TextSampling(max_new_tokens=64)))


def evaluate_drawing(model: EvaluatedModel, count: int, held_out: bool = False) -> dict[str, Measure]:
    """Returns the share of `count` generated pictures per category that satisfy their prompt.

    With `held_out`, prompts ask for combinations held out of training, in the categories that have any.
    """
    shares = {}
    for category in HELD_OUT_CATEGORIES if held_out else CATEGORIES:
        specs, pictures = generate_for_category(model, category, count, held_out)
        satisfied = [
            spec.is_satisfied_by(read_picture(picture)) for spec, picture in zip(specs, pictures, strict=True)
        ]
        shares[category] = share(sum(satisfied), count)
    return shares


def generate_for_category(
    model: EvaluatedModel, category: str, count: int, held_out: bool = False
) -> tuple[list[PromptSpec], list[np.ndarray]]:
    """Returns the first prompts of a category, and the pictures that the model generates from them.

    Some are generated together; each is what it is alone.
    """
    specs, prompts, pictures = [], [], []
    for index in range(count):
        rng = random.Random(f"drawing {category} {held_out} {index}")
        specs.append(random_prompt_spec(category, rng, held_out))
        prompts.append(paraphrase(specs[-1].phrase, rng))
    for first in range(0, count, _TOGETHER):
        together = slice(first, first + _TOGETHER)
        pictures += model.generate(specs[together], prompts[together], first)
    return specs, pictures


def evaluate_edits(
    model: EvaluatedModel, count: int, held_out: bool = False
) -> tuple[dict[str, Measure], dict[str, Measure]]:
    """Returns, per kind, the share of `count` edits that were followed, and that kept everything else.

    With `held_out`, the scenes to reach contain combinations held out of training.
    """
    followed, kept = {}, {}
    for kind in EDIT_KINDS:
        found = []
        for index in range(count):
            edit = random_edit(random.Random(f"edit {kind} {held_out} {index}"), kind, held_out)
            edited = read_picture(model.edit(edit, index))
            found.append((follows(edit, edited), keeps_the_rest(edit, edited)))
        followed[kind], kept[kind] = (share(sum(hits), count) for hits in zip(*found, strict=True))
    return followed, kept


def evaluate_answers(
    model: EvaluatedModel, kinds: Sequence[str], count: int, held_out: bool = False
) -> dict[str, Measure]:
    """Returns the share of correct answers to `count` questions per kind, each about another new scene.

    With `held_out`, the scenes contain combinations held out of training.
    """
    shares = {}
    for kind in kinds:
        answers = ask_questions(model, kind, count, held_out)
        shares[kind] = share(sum(answer == expected for answer, expected in answers), count)
    return shares


def evaluate_presence(model: EvaluatedModel, count: int) -> dict[str, Measure]:
    """Asks whether an object is present; returns POPE's accuracy, precision, recall, F1 and share of yes."""
    answers = ask_questions(model, "exist", count)
    pairs = np.array([(answer == "yes.", expected == "yes.") for answer, expected in answers])
    said_yes, is_yes = pairs.T
    true_positives = int((said_yes & is_yes).sum())
    return {
        "accuracy": share(int((said_yes == is_yes).sum()), count),
        "precision": share(true_positives, int(said_yes.sum())),
        "recall": share(true_positives, int(is_yes.sum())),
        "f1": bootstrap(_f1, pairs),
        "yes_share": share(int(said_yes.sum()), count),
    }


def ask_questions(
    model: EvaluatedModel, kind: str, count: int, held_out: bool = False
) -> list[tuple[str, str]]:
    """Returns `count` answers and the expected ones in lower case, each about another new scene."""
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
    answers = [answer.strip().lower() for answer in model.answer(pictures, questions)]
    return list(zip(answers, (question.answer.lower() for question in questions), strict=True))


def evaluate_autoencoder(pipeline: JanusPipeline, count: int) -> dict[str, Measure]:
    """Encodes and decodes pictures: PSNR in dB, share of objects still read, share of codes used if any."""
    scenes = [random_scene(random.Random(f"tokenizer {index}"), held_out=None) for index in range(count)]
    psnr, objects_read, used = [], [], set()
    generation = pipeline.model.generation
    for scene in scenes:
        picture = draw_scene(scene)
        (decoded,), codes = reconstruct(pipeline, [picture])
        error = np.square((decoded.astype(np.float64) - picture) / 255).mean()
        psnr.append(-10 * math.log10(max(error, 1e-10)))
        objects_read.append(found_share(read_picture(decoded), scene))
        if isinstance(generation, TokenGeneration):
            used.update(codes.flatten().tolist())
    measures = {
        "psnr": bootstrap(np.mean, np.array(psnr)),
        "objects_read": bootstrap(np.mean, np.array(objects_read)),
    }
    if isinstance(generation, TokenGeneration):
        measures["codes_used"] = share(len(used), generation.config.vq.codebook_size)
    return measures


def share(hits: int, total: int) -> Measure:
    """Returns a share of successes, with Wilson's score interval; NaN without trials."""
    try:
        from scipy.stats import binomtest
    except ImportError as error:
        raise ImportError(
            f"evaluation needs the package scipy, got: {error}; install it with pip install scipy"
        ) from error
    if total == 0:
        return Measure(math.nan, math.nan, math.nan, hits, total)
    low, high = binomtest(hits, total).proportion_ci(_CONFIDENCE, method="wilson")
    return Measure(hits / total, float(low), float(high), hits, total)


def bootstrap(statistic: Callable[[np.ndarray], Any], samples: np.ndarray) -> Measure:
    """Returns a statistic of samples [N, ...], with the percentile interval of 1,000 bootstrap resamples."""
    rng = np.random.default_rng(0)
    resampled = [statistic(samples[rng.integers(len(samples), size=len(samples))]) for _ in range(1000)]
    low, high = np.percentile(resampled, (2.5, 97.5))
    return Measure(float(statistic(samples)), float(low), float(high))


def _f1(pairs: np.ndarray) -> float:
    """F1 of pairs [N, 2] of predicted and true labels."""
    predicted, true = pairs.T
    return float(2 * (predicted & true).sum() / max(predicted.sum() + true.sum(), 1))

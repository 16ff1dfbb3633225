"""Compares what is drawn ahead with what is drawn plainly, token by token.

`python -m dev.benchmarks.ahead_equality FILE` draws 200 prompts with every window, in every precision: alone,
in batches, and as edits. Each of 25 rounds draws other prompts, with one of the options of `SETTINGS`; with
`--rounds 125`, every prompt is drawn with all of them. Each comparison is a line of JSON that is appended to
FILE, and the end is a table of all of them. The same command continues an interrupted run.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from janus_core import DEMONSTRATION, EditSampling, JanusPipeline, TokenSampling, load_pipeline

from .ahead import PUBLISHED, prompt
from .measure import TINY

WINDOWS = (2, 3, 4, 8, 16, 36)
BLOCKS, PER_BLOCK = 25, 8  # the prompts
NEGATIVE = "A green square above a yellow star and a blue ring."
OWN, GUIDED, NEGATED = "its own options", "guidance 5, temperature 1", "negative prompt"
SETTINGS: dict[str, dict[str, Any]] = {
    OWN: {},
    GUIDED: PUBLISHED,
    "greedy": {"temperature": 0.0},
    "top-k 20": PUBLISHED | {"top_k": 20},
    NEGATED: {"guidance_scale": 3.0},
}
EDITS = ("mask", "janus-4o", "mask", "janus-pro-r1", "thought")
EXACT = ("fp32", "bf16", "fp16", "int8")
PRECISIONS: dict[str, Any] = {**{name: name for name in EXACT}, "bf16 activations": torch.bfloat16}

Draw = Callable[[int], Tensor]
"""Draws tokens [B, N] with a window; 1 is plain."""


@dataclass(frozen=True)
class Case:
    """Images to draw with several windows, and the tokens that are expected."""

    name: str
    draw: Draw
    expected: Callable[[], Tensor]
    windows: tuple[int, ...] = WINDOWS


def against_plain(name: str, draw: Draw) -> Case:
    """Compares with plain drawing of the same batch."""
    return Case(name, draw, lambda: draw(1))


def of_round(round: int) -> tuple[str, list[int]]:
    """The options and prompts of a round."""
    block = round % BLOCKS
    setting = list(SETTINGS)[(block + round // BLOCKS) % len(SETTINGS)]
    return setting, list(range(PER_BLOCK * block, PER_BLOCK * (block + 1)))


def prompts(pipe: JanusPipeline, numbers: list[int], setting: str) -> Draw:
    """Draws an image of each of some prompts, in one batch."""

    def draw(window: int) -> Tensor:
        options = TokenSampling(lookahead=window, **SETTINGS[setting])
        negative, texts = NEGATIVE * (setting == NEGATED), [prompt(number) for number in numbers]
        return tokens(pipe.generate(texts, options, negative_prompt=negative, rows=numbers, pixels=False))

    return draw


def images(pipe: JanusPipeline, number: int, setting: str, seeds: range) -> Draw:
    """Draws images of one prompt, in one batch."""

    def draw(window: int) -> Tensor:
        options = TokenSampling(batch_size=len(seeds), seed=seeds[0], lookahead=window, **SETTINGS[setting])
        return tokens(pipe.generate(prompt(number), options, pixels=False))

    return draw


def edit(pipe: JanusPipeline, number: int, form: str) -> Draw:
    """Edits two images under a mask or by instruction, or draws two after a thought."""
    rng = random.Random(f"mask {number}")
    mask, (top, left) = torch.zeros(96, 96), (rng.randrange(48), rng.randrange(48))
    mask[top : top + rng.randrange(16, 48), left : left + rng.randrange(16, 48)] = 1
    sources = pipe.decode_tokens(prompts(pipe, [number, number + 1], OWN)(8))
    text, thought = prompt(number + 2), prompt(number + 1)

    def draw(window: int) -> Tensor:
        if form == "thought":
            options = TokenSampling(batch_size=2, seed=number, lookahead=window)
            return tokens(pipe.think_and_draw(text, "describe", options, rounds=0, thoughts=thought))
        options = EditSampling(seed=number, candidates=3, strength=0.8, lookahead=window)
        how = {"mask": mask} if form == "mask" else {"form": form}
        return tokens(pipe.edit(sources, text, options, **how))

    return draw


def tokens(drawn: Any) -> Tensor:
    """Of any result."""
    found: Tensor = drawn.tokens
    return found


def batch(pipe: JanusPipeline, round: int) -> Case:
    """The prompts of a round in one batch."""
    setting, numbers = of_round(round)
    return against_plain(f"{setting}: {PER_BLOCK} prompts", prompts(pipe, numbers, setting))


def one(pipe: JanusPipeline, round: int) -> Case:
    """The first prompt of a round."""
    setting, numbers = of_round(round)
    return against_plain(f"{setting}: 1 prompt", prompts(pipe, numbers[:1], setting))


def three(pipe: JanusPipeline, round: int) -> Case:
    """Three images of a prompt."""
    setting, numbers = of_round(round)
    return against_plain(f"{setting}: 3 images", images(pipe, numbers[0], setting, range(round, round + 3)))


def edits(pipe: JanusPipeline, round: int) -> Case:
    """Edits of two images."""
    form = EDITS[round % len(EDITS)]
    return against_plain(f"edits: {form}", edit(pipe, of_round(round)[1][0], form))


def rounding(pipe: JanusPipeline, round: int) -> Case:
    """Images drawn alone, against others drawn alone with a window, and in one batch plainly."""
    setting = (OWN, GUIDED)[round % 2]
    seeds = range(PER_BLOCK * round, PER_BLOCK * (round + 1))
    alone = [images(pipe, round, setting, range(seed, seed + 1)) for seed in seeds]

    def draw(window: int) -> Tensor:
        if window == 1:
            return images(pipe, round, setting, seeds)(1)
        return torch.cat([each(window) for each in alone])

    plain = f"{setting}: 8 images alone; window 1 is plain drawing of the 8 as a batch"
    return Case(plain, draw, lambda: torch.cat([each(1) for each in alone]), (1, 8))


@dataclass(frozen=True)
class Kind:
    """What is drawn in rounds, with which checkpoint and precisions."""

    case: Callable[[JanusPipeline, int], Case]
    precisions: tuple[str, ...] = EXACT
    checkpoint: Path = DEMONSTRATION


KINDS = {
    "batch": Kind(batch),
    "rounding": Kind(rounding, ("bf16 activations",)),
    "tiny": Kind(batch, checkpoint=TINY),
    "one": Kind(one),
    "edits": Kind(edits),
    "three": Kind(three),
}


def compare(case: Case) -> dict[str, Any]:
    """How many images there are, and how many are equal with each window."""
    expected = case.expected()
    equal = {str(window): int((case.draw(window) == expected).all(dim=1).sum()) for window in case.windows}
    return {"case": case.name, "images": len(expected), "equal": equal}


def compare_all(file: Path, kinds: list[str], names: list[str], rounds: int) -> None:
    """Makes the comparisons that are not yet in the file."""
    done = {(line["kind"], line["round"], line["precision"]) for line in read(file)}
    pipes = {
        (folder, name): load_pipeline(folder, "cpu", PRECISIONS[name])
        for folder in (DEMONSTRATION, TINY)
        for name in names
    }
    runs = [(kind, name) for kind in kinds for name in KINDS[kind].precisions if name in names]
    for round in range(rounds):
        for kind, name in runs:
            if (kind, round, name) not in done:
                found = compare(KINDS[kind].case(pipes[KINDS[kind].checkpoint, name], round))
                line = {"kind": kind, "round": round, "precision": name, **found}
                with file.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(line) + "\n")


def read(file: Path) -> list[dict[str, Any]]:
    """The comparisons in the file."""
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def table(lines: list[dict[str, Any]]) -> str:
    """How many images are equal, of how many."""
    columns = ["images", *map(str, (1, *WINDOWS))]
    rows = [["precision", "", *columns], ["---"] * (2 + len(columns))]
    totals: dict[tuple[str, str], Counter[str]] = {}
    for line in lines:
        name = "tiny checkpoint, " * (line["kind"] == "tiny") + line["case"]
        counts = totals.setdefault((line["precision"], name), Counter())
        counts.update({"images": line["images"], **line["equal"]})
    for key, counts in sorted(totals.items()):
        rows.append([*key, *(str(counts.get(column, "–")) for column in columns)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def main() -> None:
    """Compares and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--precisions", nargs="+", default=list(PRECISIONS), choices=list(PRECISIONS))
    parser.add_argument("--rounds", type=int, default=BLOCKS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    compare_all(options.file, options.kinds, options.precisions, options.rounds)
    sys.stdout.write(table(read(options.file)))


if __name__ == "__main__":
    main()

"""Training and evaluation from the command line; see `--help` of each command.

    python -m janus_core.training box FOLDER                        trains the demonstration model
    python -m janus_core.training finetune CHECKPOINT DATA FOLDER   trains a checkpoint on a folder of images
    python -m janus_core.training evaluate CHECKPOINT               measures a model of the drawn world

Training can be stopped (Ctrl-C), and goes on where it was when the same command is given again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType

import torch
from PIL import Image

from ..loading import load_pipeline, save_checkpoint
from ..pipeline.pipeline import JanusPipeline
from ..sampling.options import TokenSampling
from .folder_data import FolderData
from .loop import METRICS, Trainer, check_trainable
from .lora import add_adapters, merge_adapters
from .metrics import ends
from .recipe import BOX, Recipe, Stage, finetuning
from .samples import Data
from .shapes.box import take_coders, write_box
from .shapes.data import WorldData
from .shapes.report import DRAWN_WITH, drawing_sheet, evaluate, to_table
from .vision import SEES

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


def say(text: str) -> None:
    """Writes a line for the user."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def train_box(options: argparse.Namespace) -> None:
    """Trains the demonstration model."""
    data = WorldData()
    recipe, origin = BOX.seeing(options.sees), ""
    if options.coders:
        recipe, origin = recipe.only("unified"), f"coders of {options.coders.resolve()}"
    if options.until:
        recipe = recipe.until(options.until)
    if options.try_out:
        recipe = recipe.shortened(2, 8)
    start = options.folder / "start"
    if not (start / "config.json").is_file():
        write_box(start, data, options.seed)
    pipeline = load_pipeline(start, options.device, torch.float32)
    if options.coders:
        take_coders(pipeline.model, options.coders)
    _train(pipeline, data, recipe, options, origin)


def finetune(options: argparse.Namespace) -> None:
    """Trains a checkpoint on a folder."""
    data = FolderData(options.data)
    recipe = finetuning(
        data.shares, options.steps, options.batch_size, options.learning_rate, options.lora > 0
    )
    pipeline = load_pipeline(options.checkpoint, options.device, torch.float32)
    check_trainable(pipeline)
    data.check(pipeline)
    if options.lora:
        add_adapters(pipeline.model.body, options.lora, options.seed)
    origin = f"{options.checkpoint.resolve().name}, adapters of rank {options.lora}"
    _train(pipeline, data, recipe, options, origin)


def measure(options: argparse.Namespace) -> None:
    """Measures a checkpoint in the drawn world."""
    pipeline = load_pipeline(options.checkpoint, options.device, options.dtype)
    own = pipeline.image_options()
    given = {name: getattr(options, name) for name in DRAWN_WITH}
    sampling = replace(
        own if isinstance(own, TokenSampling) else TokenSampling(),
        **{name: value for name, value in given.items() if value is not None},
    )
    report = evaluate(pipeline, options.count, sampling, options.sees, say)
    say(to_table(report))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if options.sheet:
        Image.fromarray(drawing_sheet(pipeline, sampling)).save(options.sheet)


def _train(
    pipeline: JanusPipeline, data: Data, recipe: Recipe, options: argparse.Namespace, origin: str = ""
) -> None:
    compute = DTYPES[options.compute]
    trainer = Trainer(pipeline, data, recipe, options.folder, options.seed, compute, origin)
    target = options.folder / "checkpoint"
    if trainer.done and (target / "training.json").is_file():
        say(f"trained already; the checkpoint is in {target}")
        return
    begin = time.monotonic()

    def tell(stage: Stage, step: int, losses: dict[str, float]) -> None:
        if step % 10 == 0 or step == stage.steps:
            values = "  ".join(f"{name} {value:.4f}" for name, value in losses.items())
            say(f"{time.monotonic() - begin:6.0f} s  {stage.name} {step}/{stage.steps}  {values}")
        if interrupts:
            raise KeyboardInterrupt

    with _waiting_interrupts() as interrupts:
        try:
            trainer.run(options.max_steps, on_trained=tell)
        except KeyboardInterrupt:
            say("interrupted")
    if not trainer.done:
        say(f"stopped in stage {trainer.stage.name}; the same command goes on from there")
        return
    merge_adapters(pipeline.model.body)
    pipeline.model.to(DTYPES[options.dtype])
    partial = options.folder / "checkpoint.partial"
    shutil.rmtree(partial, ignore_errors=True)  # of a run that was stopped here
    save_checkpoint(pipeline, partial)
    training = {
        "recipe": asdict(recipe),
        "seed": options.seed,
        "data": data.version,
        "start": origin,
        "compute": options.compute,
        "losses": ends(options.folder / METRICS),
    }
    (partial / "training.json").write_text(json.dumps(training, indent=1) + "\n", encoding="utf-8")
    partial.rename(target)
    say(f"the trained checkpoint is in {target}")


@contextmanager
def _waiting_interrupts() -> Iterator[list[int]]:
    """Lets Ctrl-C wait for the end of a step, since half a step is lost; a second one does not wait.

    Yields:
        What holds something from the first Ctrl-C on.
    """
    usual = signal.getsignal(signal.SIGINT)
    interrupted: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        interrupted.append(number)
        signal.signal(signal.SIGINT, usual)

    signal.signal(signal.SIGINT, remember)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, usual)


def _positive(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, got {text}")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m janus_core.training",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(
        name: str, run: Callable[[argparse.Namespace], None], *places: str
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=run.__doc__)
        added.set_defaults(run=run)
        for place in places:
            added.add_argument(place, type=Path)
        added.add_argument("--device", default="cpu", help="cpu, cuda or mps (default: %(default)s)")
        added.add_argument("--dtype", default="bf16", choices=tuple(DTYPES), help="of weights")
        added.add_argument("--threads", type=_positive, help="CPU threads (default: PyTorch's)")
        return added

    box = command("box", train_box, "folder")
    box.add_argument("--try-out", action="store_true", help="two tiny steps of each stage")
    box.add_argument(
        "--coders",
        type=Path,
        metavar="CHECKPOINT",
        help="takes the image tokenizer and the vision tower from there, and trains the rest",
    )
    box.add_argument("--until", metavar="STAGE", help="the last stage (default: the recipe's)")
    tune = command("finetune", finetune, "checkpoint", "data", "folder")
    tune.add_argument("--steps", type=_positive, default=1000)
    tune.add_argument("--batch-size", type=_positive, default=8, help="samples per step")
    tune.add_argument("--learning-rate", type=float, default=2e-5)
    tune.add_argument("--lora", type=int, default=0, help="rank of adapters; 0 trains all weights")
    test = command("evaluate", measure, "checkpoint")
    for each in (box, test):
        each.add_argument("--sees", choices=tuple(SEES), default="encoder", help="how pictures are seen")
    for training in (box, tune):
        training.add_argument("--seed", type=int, default=0)
        training.add_argument("--compute", default="fp32", choices=tuple(DTYPES), help="dtype of products")
        training.add_argument("--max-steps", type=_positive, help="stop after so many steps for now")
    test.add_argument("--count", type=_positive, default=200, help="prompts per category, questions per kind")
    for name in DRAWN_WITH:
        option = f"--{name.replace('_', '-')}"
        test.add_argument(option, type=float, help="of drawings; the checkpoint's own by default")
    test.add_argument("--json", type=Path, help="writes the report there")
    test.add_argument("--sheet", type=Path, help="writes a sheet of drawings there (PNG)")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command that is named."""
    options = _parser().parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    options.run(options)


if __name__ == "__main__":
    main()

"""Training and evaluation from the command line; each command has a `--help`.

    python -m janus_core.training box FOLDER                        trains the demonstration model
    python -m janus_core.training finetune CHECKPOINT DATA FOLDER   fine-tunes a checkpoint on your images
    python -m janus_core.training evaluate CHECKPOINT               evaluates a model of the shapes world
    python -m janus_core.training known-images CHECKPOINT           writes which images a checkpoint knows

Training can be stopped with Ctrl-C; the same command resumes it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image

from ..checkpoints.adapters import read_adapters
from ..loading import load_pipeline
from ..processing.image_files import BACKGROUNDS
from ..processing.images import GREY
from ..processing.known_images import write_known_images
from ..sampling.options import TokenSampling
from .console import progress, say
from .folder_data import FolderData
from .known_images import collect_known_images
from .loop import check_trainable
from .lora import add_adapters, load_adapter
from .pictures import VISION_INPUTS
from .recipe import finetuning_recipe
from .record import read_record, stage_names
from .run import DTYPES, train
from .shapes.data import ShapesData
from .shapes.evaluation import EvaluatedModel
from .shapes.model import SHAPES_RECIPE, copy_coders, write_untrained_checkpoint
from .shapes.report import SAMPLING_FIELDS, drawing_sheet, evaluate, to_table


def train_box(options: argparse.Namespace) -> None:
    """Trains the demonstration model."""
    data = ShapesData()
    recipe, origin, earlier = SHAPES_RECIPE.with_each_stage(sees=options.sees), "", None
    if options.coders:
        recipe, origin = recipe.only("unified"), f"coders of {options.coders.resolve()}"
    if options.after:
        earlier = read_record(options.after)
        origin = f"weights of {options.after.resolve().name}, trained on {earlier['data']}"
        recipe = recipe.without(stage_names(earlier))
    if options.until:
        recipe = recipe.until(options.until)
    if options.try_out:
        recipe = recipe.with_each_stage(steps=2, batch_size=8, warmup=1)
    start = options.after or options.folder / "start"
    if not (start / "config.json").is_file():
        write_untrained_checkpoint(start, data, options.seed)
    pipeline = load_pipeline(start, options.device, torch.float32)
    if options.coders:
        copy_coders(pipeline.model, options.coders)
    train(pipeline, data, recipe, options, origin, earlier)


def finetune(options: argparse.Namespace) -> None:
    """Fine-tunes a checkpoint on a folder of images."""
    data = FolderData(options.data, BACKGROUNDS[options.background] or GREY)
    for note in data.notes:
        say(note)
    data.check_images(progress("images checked"))
    recipe = finetuning_recipe(
        data.shares, options.steps, options.batch_size, options.learning_rate, lora=options.lora > 0
    )
    start = [(options.adapter, 1.0)] if options.adapter else []
    adapters = read_adapters(options.checkpoint, start)
    merged = [] if options.lora else start  # without --lora, all weights are trained after merging
    pipeline = load_pipeline(options.checkpoint, options.device, torch.float32, adapters=merged)
    check_trainable(pipeline)
    data.check(pipeline)
    if options.lora:
        add_adapters(pipeline.model.body, options.lora, options.seed)
        for adapter in adapters:
            load_adapter(pipeline.model.body, adapter, options.lora)
    origin = ", ".join(
        [
            f"{options.checkpoint.resolve().name}, LoRA of rank {options.lora}",
            *(f"from adapter {adapter.digest}" for adapter in adapters),
        ]
    )
    train(pipeline, data, recipe, options, origin)


def write_known(options: argparse.Namespace) -> None:
    """Writes which images a checkpoint knows, for one that was trained on nothing else."""
    data = FolderData(options.data) if options.data else ShapesData()
    known = collect_known_images(load_pipeline(options.checkpoint, dtype=torch.float32), data)
    say(f"wrote {len(known.tiles)} tiles to {write_known_images(known, options.checkpoint)}")


def evaluate_checkpoint(options: argparse.Namespace) -> None:
    """Evaluates a checkpoint in the shapes world."""
    pipeline = load_pipeline(options.checkpoint, options.device, options.dtype)
    given = {name: getattr(options, name) for name in SAMPLING_FIELDS}  # None: the checkpoint's own
    model = EvaluatedModel(pipeline, pipeline.image_options(TokenSampling(**given)), options.sees)
    report = evaluate(model, options.count, say)
    say(to_table(report))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if options.sheet:
        Image.fromarray(drawing_sheet(model)).save(options.sheet)


def _positive(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, got {text}")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--device", default="cpu", help="cpu, cuda or mps (default: cpu)")
    common.add_argument("--dtype", default="bf16", choices=tuple(DTYPES), help="of the weights")
    common.add_argument("--threads", type=_positive, help="CPU threads (default: PyTorch's)")
    training = argparse.ArgumentParser(add_help=False)
    training.add_argument("--seed", type=int, default=0)
    training.add_argument("--compute", default="fp32", choices=tuple(DTYPES), help="autocast dtype")
    training.add_argument("--max-steps", type=_positive, help="stop after this many steps, to resume later")
    vision = argparse.ArgumentParser(add_help=False)
    sees = tuple(VISION_INPUTS)
    vision.add_argument("--sees", choices=sees, default=sees[0], help="how the model sees pictures")

    parser = argparse.ArgumentParser(
        prog="python -m janus_core.training",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    box = commands.add_parser("box", help=train_box.__doc__, parents=[common, training, vision])
    box.set_defaults(run=train_box, knows_only_data=True)
    box.add_argument("folder", type=Path)
    box.add_argument("--try-out", action="store_true", help="only two small steps of each stage")
    coders = "take the image tokenizer and the vision tower from here, and train the rest"
    begin = box.add_mutually_exclusive_group()
    begin.add_argument("--coders", type=Path, metavar="CHECKPOINT", help=coders)
    after = "start from this trained model, and train the stages that it has not had"
    begin.add_argument("--after", type=Path, metavar="CHECKPOINT", help=after)
    box.add_argument("--until", metavar="STAGE", help="last stage (default: the recipe's last)")

    tune = commands.add_parser("finetune", help=finetune.__doc__, parents=[common, training])
    tune.set_defaults(run=finetune, knows_only_data=False)
    for path in ("checkpoint", "data", "folder"):
        tune.add_argument(path, type=Path)
    tune.add_argument("--steps", type=_positive, default=1000, help="default: 1000")
    tune.add_argument("--batch-size", type=_positive, default=8, help="samples per step (default: 8)")
    tune.add_argument("--learning-rate", type=float, default=2e-5, help="peak (default: 2e-5)")
    background = "colour behind transparent parts of images (default: grey)"
    tune.add_argument("--background", choices=tuple(BACKGROUNDS), default="grey", help=background)
    lora = "rank of LoRA adapters, written to adapter/ and merged in checkpoint/; 0 trains all weights"
    tune.add_argument("--lora", type=int, default=0, help=lora)
    adapter = "start from this LoRA adapter: with --lora, train it further, else merge it first"
    tune.add_argument("--adapter", type=Path, help=adapter)

    known = commands.add_parser("known-images", help=write_known.__doc__)
    known.set_defaults(run=write_known, threads=None)
    known.add_argument("checkpoint", type=Path)
    known.add_argument("--data", type=Path, help="folder it was trained on (default: the shapes world)")

    test = commands.add_parser("evaluate", help=evaluate_checkpoint.__doc__, parents=[common, vision])
    test.set_defaults(run=evaluate_checkpoint)
    test.add_argument("checkpoint", type=Path)
    test.add_argument("--count", type=_positive, default=200, help="prompts or questions of each kind")
    for name in SAMPLING_FIELDS:
        test.add_argument(f"--{name.replace('_', '-')}", type=float, help="default: the checkpoint's own")
    test.add_argument("--json", type=Path, help="write the report to this file")
    test.add_argument("--sheet", type=Path, help="write generated pictures to this file (PNG)")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command given on the command line."""
    options = _parser().parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    options.run(options)


if __name__ == "__main__":
    main()

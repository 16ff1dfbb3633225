"""Training and evaluation from the command line; each command has a `--help`.

    python -m janus_core.training box FOLDER                        trains a demonstration model
    python -m janus_core.training finetune CHECKPOINT DATA FOLDER   fine-tunes a checkpoint on your images
    python -m janus_core.training evaluate CHECKPOINT               evaluates a model of the shapes world
    python -m janus_core.training known-images CHECKPOINT           writes which images a checkpoint knows

Training can be stopped with Ctrl-C; the same command resumes it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from ..processing.image_files import BACKGROUNDS
from .commands import SAMPLING_OPTIONS, evaluate_checkpoint, finetune, train_box, write_known
from .pictures import VISION_INPUTS
from .run import DTYPES
from .shapes.boxes import BOXES


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
    box.add_argument("--model", choices=tuple(BOXES), default=next(iter(BOXES)), help="which of them")
    box.add_argument("--try-out", action="store_true", help="only two small steps of each stage")
    coders = "take the image autoencoder and the vision tower from here, and train the rest"
    begin = box.add_mutually_exclusive_group()
    begin.add_argument("--coders", type=Path, metavar="CHECKPOINT", help=coders)
    after = "start from this trained model, and train the stages that it has not had"
    begin.add_argument("--after", type=Path, metavar="CHECKPOINT", help=after)
    alignment = "weight of the similarity to the understanding encoder; 0 is off (default: the recipe's)"
    box.add_argument("--alignment", type=float, help=alignment)
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
    vae = "SDXL's VAE, a diffusers folder or a file, for JanusFlow without a vae folder of its own"
    tune.add_argument("--vae", type=Path, help=vae)
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
    for name, kind in SAMPLING_OPTIONS.items():
        test.add_argument(f"--{name.replace('_', '-')}", type=kind, help="default: the checkpoint's own")
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

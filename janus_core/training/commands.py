"""The commands of the command line, each with the options that `__main__` has parsed."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import fields, replace

import torch
from PIL import Image

from ..checkpoints.adapters import read_adapters
from ..loading import load_pipeline
from ..pipeline.pipeline import JanusPipeline
from ..processing.image_files import BACKGROUNDS
from ..processing.images import GREY
from ..processing.known_images import write_known_images
from ..sampling.options import FlowSampling, TokenSampling
from .console import progress, say
from .folder_data import FolderData
from .known_images import collect_known_images
from .loop import check_trainable
from .lora import add_adapters, load_adapter
from .pictures import check_sees
from .recipe import BODIES, finetuning_recipe
from .record import read_record, stage_names
from .run import train
from .shapes.boxes import BOXES
from .shapes.data import ShapesData
from .shapes.evaluation import EvaluatedModel
from .shapes.model import copy_coders
from .shapes.report import drawing_sheet, evaluate, to_table

# Options of drawing that `evaluate` takes, for models of either kind.
SAMPLING_OPTIONS: dict[str, Callable[[str], float | str]] = {
    "guidance_scale": float,
    "temperature": float,
    "top_p": float,
    "num_steps": int,
    "solver": str,
}


def train_box(options: argparse.Namespace) -> None:
    """Trains a demonstration model."""
    data, box = ShapesData(), BOXES[options.model]
    recipe, origin, earlier = box.recipe.with_each_stage(sees=options.sees), box.origin(), None
    if options.alignment is not None:
        recipe = recipe.with_alignment(options.alignment)
    if options.coders:
        recipe = recipe.only("unified")
        origin = ", ".join(filter(None, (origin, f"coders of {options.coders.resolve()}")))
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
        box.write_start(start, data, options.seed)
    pipeline = load_pipeline(start, options.device, torch.float32)
    check_sees(pipeline, options.sees)
    if options.coders:
        copy_coders(pipeline.model, options.coders)
    train(pipeline, data, recipe, options, origin, earlier)


def finetune(options: argparse.Namespace) -> None:
    """Fine-tunes a checkpoint on a folder of images."""
    data = FolderData(options.data, BACKGROUNDS[options.background] or GREY)
    for note in data.notes:
        say(note)
    data.check_images(progress("images checked"))
    start = [(options.adapter, 1.0)] if options.adapter else []
    adapters = read_adapters(options.checkpoint, start)
    merged = [] if options.lora else start  # without --lora, all weights are trained after merging
    pipeline = load_pipeline(
        options.checkpoint, options.device, torch.float32, vae=options.vae, adapters=merged
    )
    check_trainable(pipeline)
    data.check(pipeline)
    recipe = finetuning_recipe(
        data.shares,
        options.steps,
        options.batch_size,
        options.learning_rate,
        lora=options.lora > 0,
        body=BODIES[type(pipeline.model.generation)],
    )
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
    check_sees(pipeline, options.sees)
    model = EvaluatedModel(pipeline, _image_options(pipeline, options), options.sees)
    report = evaluate(model, options.count, say)
    say(to_table(report))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if options.sheet:
        Image.fromarray(drawing_sheet(model)).save(options.sheet)


def _image_options(pipeline: JanusPipeline, options: argparse.Namespace) -> TokenSampling | FlowSampling:
    """Returns the options to draw with: those given, and the checkpoint's own in place of the others."""
    own = pipeline.image_options()
    given = {name: getattr(options, name) for name in SAMPLING_OPTIONS}
    given = {name: value for name, value in given.items() if value is not None}
    unknown = given.keys() - {field.name for field in fields(own)}
    if unknown:
        raise ValueError(
            f"options must be those of {type(own).__name__} for {pipeline.folder.name!r}, got "
            f"{', '.join(sorted(unknown))}; leave them out"
        )
    return replace(own, **given)

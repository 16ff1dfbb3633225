"""Runs a training to its end or to an interrupt, and writes the trained checkpoint."""

from __future__ import annotations

import argparse
import shutil
import time
from dataclasses import asdict
from typing import Any

import torch

from ..checkpoints.adapter_save import save_adapter
from ..loading import save_checkpoint
from ..pipeline.pipeline import JanusPipeline
from .console import deferred_interrupts, say
from .editing import edit_form
from .known_images import collect_known_images
from .loop import METRICS, Trainer
from .lora import FACTOR, adapter_matrices, merge_adapters
from .metrics import final_losses
from .recipe import Recipe, Stage
from .record import RECORD, write_record
from .samples import TrainingData

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


def train(
    pipeline: JanusPipeline,
    data: TrainingData,
    recipe: Recipe,
    options: argparse.Namespace,
    origin: str,
    earlier: dict[str, Any] | None = None,
) -> None:
    """Trains until done or interrupted, and writes the checkpoint when done."""
    if recipe.trains_edits:
        pipeline.edit_form = edit_form(pipeline).name  # which the trained checkpoint states
    trainer = Trainer(pipeline, data, recipe, options.folder, options.seed, DTYPES[options.compute], origin)
    checkpoint = options.folder / "checkpoint"
    if trainer.done and (checkpoint / RECORD).is_file():
        say(f"training is complete already; the checkpoint is in {checkpoint}")
        return

    # Train, or resume training, and save the state at the end or at an interrupt.
    start = time.monotonic()

    def on_step(stage: Stage, step: int, losses: dict[str, float]) -> None:
        if step % 10 == 0 or step == stage.steps:
            values = "  ".join(f"{name} {value:.4f}" for name, value in losses.items())
            say(f"{time.monotonic() - start:6.0f} s  {stage.name} {step}/{stage.steps}  {values}")
        if interrupts:
            raise KeyboardInterrupt

    with deferred_interrupts() as interrupts:
        try:
            trainer.run(options.max_steps, on_step=on_step)
        except KeyboardInterrupt:
            say("interrupted")
    if not trainer.done:
        say(f"stopped in stage {trainer.stage.name}; the same command resumes training")
        return

    matrices = adapter_matrices(pipeline.model.body)
    if matrices:
        adapter, rank, base = options.folder / "adapter", options.lora, options.checkpoint.resolve().name
        save_adapter(adapter, pipeline.model.config, matrices, rank, FACTOR * rank, base)
        say(f"the trained adapter is in {adapter}")
    # Write the checkpoint to a temporary folder, and rename that when it is complete.
    merge_adapters(pipeline.model.body)
    pipeline.model.to(DTYPES[options.dtype])
    partial = options.folder / "checkpoint.partial"
    shutil.rmtree(partial, ignore_errors=True)  # left by a run that was killed here
    pipeline.known_images = collect_known_images(pipeline, data) if options.knows_only_data else None
    save_checkpoint(pipeline, partial)
    record = {
        "recipe": asdict(recipe),
        "seed": options.seed,
        "data": data.version,
        "start": origin,
        "compute": options.compute,
        "losses": final_losses(options.folder / METRICS),
    }
    write_record(partial, record, earlier)
    partial.rename(checkpoint)
    say(f"the trained checkpoint is in {checkpoint}")

"""The training loop: stage after stage, resumable at any step without a changed result."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..file_io import write_atomically
from ..models.cpu.registry import check_not_quantized
from ..models.token_generation import TokenGeneration
from ..pipeline.pipeline import JanusPipeline
from .metrics import note, trim
from .objectives import OBJECTIVES, Objective
from .progress import sample_sheet
from .recipe import Recipe, Stage
from .samples import Data
from .seeds import seeded

# Called with the stage, the steps that it has done, and the losses of the last.
OnTrained = Callable[[Stage, int, dict[str, float]], None]

STATE, METRICS, SAMPLES = "state.pt", "metrics.jsonl", "samples.png"


class Trainer:
    """A model on its way through a recipe.

    All that a step draws by lot comes from the seed, the stage's name and the step's number, so a run that
    goes on from a saved state does what it would have done without the pause.
    """

    def __init__(
        self,
        pipeline: JanusPipeline,
        data: Data,
        recipe: Recipe,
        folder: Path,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
        origin: str = "",
    ) -> None:
        """Starts, or goes on from the state in the folder.

        Args:
            pipeline: the model, in float32, and how its prompts are written.
            data: what it learns from.
            recipe: how.
            folder: holds the state and the metrics of the run.
            seed: decides the order of the data.
            dtype: what products are computed in; weights, and what needs it, stay in float32.
            origin: names what the run starts from, where that is not always the same.

        Raises:
            ValueError: if the model does not draw by tokens or is not in float32, or if the folder holds the
                state of a run with another recipe, seed, data or origin.
        """
        check_trainable(pipeline)
        self.pipeline, self.data, self.recipe, self.folder, self.seed = pipeline, data, recipe, folder, seed
        self.dtype, self.origin = dtype, origin
        # False while a step is at work: what it has changed by then is not what any step ends with.
        self._between_steps = True
        self.stage_index, self.step = 0, 0
        state = self._read_state()
        if state:
            self.stage_index, self.step = state["stage"], state["step"]
            pipeline.model.load_state_dict(state["model"])
        if not self.done:
            self._enter_stage(state)

    @property
    def done(self) -> bool:
        """Whether all stages are."""
        return self.stage_index == len(self.recipe.stages)

    @property
    def stage(self) -> Stage:
        """The stage at work."""
        return self.recipe.stages[self.stage_index]

    def run(
        self, max_steps: int | None = None, save_every: float = 120.0, on_trained: OnTrained | None = None
    ) -> None:
        """Trains to the end, or for so many steps, and saves the state at the end.

        Where something raises in the middle of a step, the state that was saved last stays: half a step done
        would be a result that no run without a pause has.

        Args:
            max_steps: steps to do now; None for all.
            save_every: seconds between two savings of the state; more if saving takes long itself.
            on_trained: told of every step; may raise to stop.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        metrics = self.folder / METRICS
        trim(metrics, [stage.name for stage in self.recipe.stages], (self.stage_index, self.step))
        saved, pause = time.monotonic(), save_every
        left = max_steps
        try:
            while not self.done and left != 0:
                self._between_steps = False
                stage, losses = self.stage, self.train_step()
                self.step += 1
                left = None if left is None else left - 1
                note(metrics, stage.name, self.step, losses)
                if self.step == stage.steps:
                    self._leave_stage()
                self._between_steps = True
                if (begun := time.monotonic()) - saved > pause:
                    self.save()
                    self._draw_samples(stage)
                    saved = time.monotonic()
                    pause = max(save_every, 10 * (saved - begun))
                if on_trained is not None:
                    on_trained(stage, self.step or stage.steps, losses)
        finally:
            if self._between_steps:
                self.save()

    def train_step(self) -> dict[str, float]:
        """One optimizer step; returns its losses."""
        rate = self.stage.rate(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        rng = random.Random(f"{self.seed} {self.stage.name} {self.step}")
        device = self.pipeline.device
        mixed = torch.autocast(device.type, self.dtype, enabled=self.dtype is not torch.float32)
        with explicit_attention(device), mixed:
            losses = self.objective.losses(self.step, rng)
        self.optimizer.zero_grad()
        losses["loss"].backward()
        nn.utils.clip_grad_norm_(self._trained(), self.recipe.clip)
        self.optimizer.step()
        return {name: float(value.detach()) for name, value in losses.items()}

    def save(self) -> None:
        """Writes the state; the old one stays until the new one is whole."""
        state: dict[str, Any] = {
            "identity": self._identity(self.stage_index),
            "stage": self.stage_index,
            "step": self.step,
            "model": self.pipeline.model.state_dict(),
        }
        if not self.done:
            state |= {"objective": self.objective.state_dict(), "optimizer": self.optimizer.state_dict()}
        write_atomically(self.folder / STATE, lambda partial: torch.save(state, partial))

    def _read_state(self) -> dict[str, Any] | None:
        file = self.folder / STATE
        if not file.is_file():
            return None
        state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        if state["identity"] != self._identity(state["stage"]):
            raise ValueError(
                f"{self.folder} must hold a run of this recipe, seed and data, from the same start, got one "
                "of others; choose another folder"
            )
        return state

    def _identity(self, stage_index: int) -> str:
        """What decided the result so far; later stages may still be changed."""
        recipe = asdict(self.recipe)
        recipe["stages"] = recipe["stages"][: stage_index + 1]
        origin = [self.origin] if self.origin else []
        return json.dumps([recipe, self.seed, self.data.version, *origin], sort_keys=True)

    def _enter_stage(self, state: dict[str, Any] | None) -> None:
        """Frees what the stage trains, freezes the rest, and makes its objective and optimizer."""
        with seeded(self.seed):  # first weights of what an objective adds for itself
            self.objective: Objective = OBJECTIVES[self.stage.objective](self.pipeline, self.stage, self.data)
        self.objective.to(self.pipeline.device)
        for name, parameter in self.pipeline.model.named_parameters():
            parameter.requires_grad_(any(fnmatch(name, pattern) for pattern in self.stage.trains))
            parameter.grad = None
        matrices = [parameter for parameter in self._trained() if parameter.ndim > 1]
        vectors = [parameter for parameter in self._trained() if parameter.ndim <= 1]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": self.recipe.weight_decay},
                {"params": vectors, "weight_decay": 0.0},
            ],
            betas=self.recipe.betas,
        )
        if state:
            self.objective.load_state_dict(state["objective"])
            self.optimizer.load_state_dict(state["optimizer"])

    def _leave_stage(self) -> None:
        self.objective.finish()
        self.stage_index, self.step = self.stage_index + 1, 0
        if not self.done:
            self._enter_stage(None)
            return
        for parameter in self.pipeline.model.parameters():  # as a loaded model has them
            parameter.requires_grad_(False)
            parameter.grad = None

    def _trained(self) -> list[nn.Parameter]:
        model = (p for p in self.pipeline.model.parameters() if p.requires_grad)
        return [*model, *self.objective.parameters()]

    def _draw_samples(self, stage: Stage) -> None:
        if stage.shares[1] and stage.shares[1] == sum(stage.shares):
            return  # text alone changes no picture, and there may be none
        sheet = sample_sheet(self.pipeline, self.data, drawings=bool(stage.shares[2]))
        Image.fromarray(sheet).save(self.folder / SAMPLES)


def check_trainable(pipeline: JanusPipeline) -> None:
    """Refuses a model that does not draw by tokens, or whose weights are too coarse for small steps.

    Raises:
        ValueError: that says what to use.
    """
    if not isinstance(pipeline.model.generation, TokenGeneration):
        raise ValueError(
            f"model {pipeline.folder.name!r} generates by flow, but training needs image tokens; use a Janus "
            "or Janus-Pro checkpoint"
        )
    if pipeline.dtype is not torch.float32:
        raise ValueError(
            f"model must be in float32 to be trained, got {pipeline.dtype}; load it with dtype=torch.float32"
        )
    check_not_quantized(pipeline.model)


def explicit_attention(device: torch.device) -> AbstractContextManager[Any]:
    """On a CPU, attention as plain products: there the fused kernel's backward pass takes twice as long."""
    fused = [] if device.type == "cpu" else [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]
    return sdpa_kernel([*fused, SDPBackend.MATH])

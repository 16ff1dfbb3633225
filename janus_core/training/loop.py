"""The training loop: runs a recipe's stages, and can be stopped and resumed without changing the result."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from dataclasses import asdict
from fnmatch import fnmatch
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..file_io import write_atomically
from ..models.quantized.registry import check_not_quantized
from ..pipeline.pipeline import JanusPipeline
from . import metrics
from .average import WeightAverage
from .objectives import OBJECTIVES, Objective
from .pictures import progress_sheet
from .recipe import TASKS, Recipe, Stage
from .samples import TrainingData

# Called after each step with the stage, the number of its steps that are done, and the losses.
OnTrainingStep = Callable[[Stage, int, dict[str, float]], None]

STATE, METRICS, SAMPLES = "state.pt", "metrics.jsonl", "samples.png"

# Parts of parameter names in states of former versions, and their names now.
_FORMER_NAMES = {
    "generation.decoder.norm_out.": "generation.decoder.out_convs.0.norm.",
    "generation.decoder.conv_out.": "generation.decoder.out_convs.0.unpatch_conv.",
}


class Trainer:
    """Trains a model by a recipe.

    The random stream of each step is seeded with the run's seed, the stage's name and the step's number. A
    resumed run therefore continues exactly as if it had never stopped.
    """

    def __init__(
        self,
        pipeline: JanusPipeline,
        data: TrainingData,
        recipe: Recipe,
        folder: Path,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
        origin: str = "",
    ) -> None:
        """Starts a run, or resumes the one in the folder, which must be of the same recipe, seed and data.

        `dtype` is that of autocast; weights and optimizer state stay in float32. The seed determines samples
        and the objectives' own weights. `origin` identifies the model's initial weights if the rest does not.
        """
        check_trainable(pipeline)
        self.pipeline, self.data, self.recipe, self.folder, self.seed = pipeline, data, recipe, folder, seed
        self.dtype, self.origin = dtype, origin
        self.stage_index, self.step = 0, 0
        state = self._load_state()
        if state:
            self.stage_index, self.step = state["stage"], state["step"]
            pipeline.model.load_state_dict(state["model"])
        if not self.done:
            self._start_stage(state)

    @property
    def done(self) -> bool:
        """Whether all stages are complete."""
        return self.stage_index == len(self.recipe.stages)

    @property
    def stage(self) -> Stage:
        """The current stage."""
        return self.recipe.stages[self.stage_index]

    def run(
        self, max_steps: int | None = None, save_every: float = 120.0, on_step: OnTrainingStep | None = None
    ) -> None:
        """Trains to the end or for `max_steps` steps, then saves the state; raise in `on_step` to stop.

        There are `save_every` seconds between saves, or more if saving itself takes long.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / METRICS
        # A killed run may have logged steps after its last saved state, which are about to be repeated.
        metrics.truncate(file, [stage.name for stage in self.recipe.stages], self.stage_index, self.step)
        saved_at, pause = time.monotonic(), save_every
        steps_done = 0
        # If a step raises halfway, the weights are not those of any uninterrupted run, and are not saved.
        is_consistent = True
        try:
            while not self.done and steps_done != max_steps:
                is_consistent = False
                stage, losses = self.stage, self.train_step()
                self.step += 1
                steps_done += 1
                metrics.append_losses(file, stage.name, self.step, losses)
                if self.step == stage.steps:
                    self._finish_stage()
                is_consistent = True
                # Save from time to time, but spend at most a tenth of the time on it.
                now = time.monotonic()
                if now - saved_at > pause:
                    self.save()
                    self._write_samples(stage)
                    saved_at = time.monotonic()
                    pause = max(save_every, 10 * (saved_at - now))
                if on_step is not None:
                    on_step(stage, self.step or stage.steps, losses)
        finally:
            if is_consistent:
                self.save()

    def train_step(self) -> dict[str, float]:
        """Does one optimizer step and returns its losses."""
        for group in self.optimizer.param_groups:  # runs of former versions have no rate
            group["lr"] = self.stage.learning_rate_at(self.step) * group.get("rate", 1.0)
        rng = random.Random(f"{self.seed} {self.stage.name} {self.step}")
        device = self.pipeline.device.type
        # On CPUs, the backward pass of the fused attention kernel takes twice as long.
        fused = [] if device == "cpu" else [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]
        autocast = torch.autocast(device, self.dtype, enabled=self.dtype is not torch.float32)
        with sdpa_kernel([*fused, SDPBackend.MATH]), autocast:
            losses = self.objective.losses(self.step, rng)
        self.optimizer.zero_grad()
        losses["loss"].backward()
        nn.utils.clip_grad_norm_(self._trained_parameters(), self.recipe.clip)
        self.optimizer.step()
        self.average.update()
        return {name: float(value.detach()) for name, value in losses.items()}

    def save(self) -> None:
        """Saves the state of the run, from which `Trainer` resumes."""
        state: dict[str, Any] = {
            "identity": self._identity(self.stage_index),
            "stage": self.stage_index,
            "step": self.step,
            "model": self.pipeline.model.state_dict(),
        }
        if not self.done:
            state |= {"objective": self.objective.state_dict(), "optimizer": self.optimizer.state_dict()}
            state |= {"average": self.average.values}
        write_atomically(self.folder / STATE, lambda path: torch.save(state, path))

    def _load_state(self) -> dict[str, Any] | None:
        file = self.folder / STATE
        if not file.is_file():
            return None
        state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        if state["identity"] != self._identity(state["stage"]):
            raise ValueError(
                f"{self.folder} must hold a run of this recipe, seed and data, from the same start, got a "
                "different run; choose another folder"
            )
        for former, name in _FORMER_NAMES.items():
            for part in ("model", "average"):
                state[part] = {key.replace(former, name): value for key, value in state.get(part, {}).items()}
        return state

    def _identity(self, stage_index: int) -> str:
        """Returns everything that has determined the weights so far; later stages may still change."""
        recipe = asdict(self.recipe)
        recipe["stages"] = [stage.identity() for stage in self.recipe.stages[: stage_index + 1]]
        origin = [self.origin] if self.origin else []
        return json.dumps([recipe, self.seed, self.data.version, *origin], sort_keys=True)

    def _start_stage(self, state: dict[str, Any] | None) -> None:
        """Makes the objective and the optimizer of the current stage, and freezes all other parameters."""
        with torch.random.fork_rng(devices=[]):  # an objective's own modules take no generator
            torch.default_generator.manual_seed(self.seed)
            self.objective: Objective = OBJECTIVES[self.stage.objective](self.pipeline, self.stage, self.data)
        self.objective.to(self.pipeline.device)
        self._train_only(self.stage.trains)
        self.optimizer = torch.optim.AdamW(
            self._groups(), betas=self.recipe.betas, weight_decay=self.recipe.weight_decay
        )
        model = {name: value for name, value in self.pipeline.model.named_parameters() if value.requires_grad}
        self.average = WeightAverage(model, self.stage.average)
        if state:
            self.objective.load_state_dict(state["objective"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.average.load(state.get("average", {}))

    def _groups(self) -> list[dict[str, Any]]:
        """The trained parameters, by the factor of their learning rate and their weight decay."""
        generator_rate, weight_decay = self.stage.generator_rate, self.recipe.weight_decay
        model = self.pipeline.model.named_parameters()
        generator = {id(value) for name, value in model if name.startswith("generation.")}
        # Former versions always saved the last two, even if empty.
        groups: dict[tuple[float, bool], list[nn.Parameter]] = {(1.0, True): [], (1.0, False): []}
        for parameter in self._trained_parameters():
            rate = generator_rate if id(parameter) in generator else 1.0
            groups.setdefault((rate, parameter.ndim > 1), []).append(parameter)
        return [
            {"params": parameters, "rate": rate, "weight_decay": weight_decay if is_matrix else 0.0}
            for (rate, is_matrix), parameters in sorted(groups.items(), key=itemgetter(0), reverse=True)
        ]

    def _finish_stage(self) -> None:
        self.average.apply()
        self.objective.finish()
        self.stage_index, self.step = self.stage_index + 1, 0
        if self.done:
            self._train_only(())  # as in a loaded model
        else:
            self._start_stage(None)

    def _train_only(self, patterns: tuple[str, ...]) -> None:
        for name, parameter in self.pipeline.model.named_parameters():
            parameter.requires_grad_(any(fnmatch(name, pattern) for pattern in patterns))
            parameter.grad = None

    def _trained_parameters(self) -> list[nn.Parameter]:
        model = (parameter for parameter in self.pipeline.model.parameters() if parameter.requires_grad)
        return [*model, *self.objective.parameters()]

    def _write_samples(self, stage: Stage) -> None:
        """Writes a contact sheet that shows how far training is."""
        shares = dict(zip(TASKS, stage.shares, strict=False))
        if shares["text"] and shares["text"] == sum(stage.shares):
            return  # text alone changes no pictures, and the data may have none
        sheet = progress_sheet(self.pipeline, self.data, with_generation=bool(shares["generation"]))
        Image.fromarray(sheet).save(self.folder / SAMPLES)


def check_trainable(pipeline: JanusPipeline) -> None:
    """Checks that a model can encode images to generate and has float32 weights, for small updates."""
    if not pipeline.model.generation.can_decode:
        raise ValueError(
            f"model must have a VAE to be trained, got none in {pipeline.folder.name!r}; pass --vae with the "
            "path of SDXL's"
        )
    if pipeline.dtype is not torch.float32:
        raise ValueError(
            f"model must be in float32 to be trained, got {pipeline.dtype}; load it with dtype=torch.float32"
        )
    check_not_quantized(pipeline.model)

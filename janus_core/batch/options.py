"""Options of batch work: all that a worker needs beside its rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..arguments import checked_path, checked_text, checked_whole, listed, shown
from ..captioning.options import CaptionFolder
from ..checkpoints.adapters import read_adapters
from ..checkpoints.precision import PRECISIONS
from ..checkpoints.sources import find_checkpoint
from ..config import FlowGenerationConfig
from ..models.janus import GENERATION_CLASSES
from ..processing.chat import CHAT_FORMATS, DEFAULT_SYSTEM_PROMPT
from ..processing.image_files import BACKGROUNDS
from ..sampling.image_sampler import IMAGE_SAMPLERS
from .tasks import TASKS, Sampling, Task

# Those of two 48-megapixel photographs. Pillow warns of files that may be attacks above 89 million.
MAX_PIXELS = 96_000_000


@dataclass(frozen=True)
class BatchOptions:
    """What to do with each row. Everything is checked here, before any model is loaded.

    Attributes:
        checkpoint: the folder of the checkpoint.
        task: one of `TASKS`.
        sampling: length and randomness of answers (`TextSampling`), or guidance and randomness of images
            (`TokenSampling` or `FlowSampling`, whose `batch_size` must be 1). The random draws of a row start
            from its seed plus a number that belongs to the row's id. None for the checkpoint's own.
        question: the question about all images, or for `ask` about rows that have none of their own.
        negative_prompt: of drawings.
        system_prompt: text before questions; empty for none.
        device: cpu, cuda, xpu, mps; auto is the accelerator where there is one.
        dtype: auto, or one of `PRECISIONS`.
        template: chat template; None for the checkpoint's own.
        vae: VAE that decodes JanusFlow's latents; None for the checkpoint's own.
        adapters: LoRA adapters with their strengths.
        background: the colour behind transparent parts of images, one of `BACKGROUNDS`.
        max_pixels: a row with a larger image is refused before it is decoded.
        batch_size: rows that are computed together; None for as many as fit into the free memory.
        rows_per_part: rows that are written together; None for the task's own.
        threads: CPU threads of each worker; None to share the cores.
        workers_here: workers on one machine, which share its memory.
    """

    checkpoint: str | Path
    task: str = "caption"
    sampling: Sampling | None = None
    question: str = ""
    negative_prompt: str = ""
    system_prompt: str = DEFAULT_SYSTEM_PROMPT
    device: str = "auto"
    dtype: str = "auto"
    template: str | None = None
    vae: str | Path | None = None
    adapters: tuple[tuple[str, float], ...] = ()
    background: str = "grey"
    max_pixels: int = MAX_PIXELS
    batch_size: int | None = None
    rows_per_part: int | None = None
    threads: int | None = None
    workers_here: int = 1

    def __post_init__(self) -> None:
        for name, choices in (
            ("task", TASKS),
            ("dtype", ("auto", *PRECISIONS)),
            ("background", BACKGROUNDS),
        ):
            _check_choice(name, getattr(self, name), choices)
        if self.template is not None:
            _check_choice("template", self.template, CHAT_FORMATS)
        for name in ("question", "negative_prompt", "system_prompt"):
            checked_text(name, getattr(self, name), "give a text, or an empty one", may_be_blank=True)
        for name in ("batch_size", "rows_per_part", "threads", "workers_here", "max_pixels"):
            value = getattr(self, name)
            if value is not None and checked_whole(name, value) < 1:
                raise ValueError(f"{name} must be at least 1, got {value}; set it within that range")
        if self.task == "caption" and not self.question.strip():
            object.__setattr__(self, "question", CaptionFolder.question)
        object.__setattr__(self, "checkpoint", str(checked_path("checkpoint", self.checkpoint)))
        object.__setattr__(self, "sampling", self._checked_sampling())

    @property
    def of_task(self) -> Task:
        """The row of the table of tasks."""
        return TASKS[self.task]

    @property
    def part_size(self) -> int:
        """Rows that are written together."""
        return self.rows_per_part or self.of_task.rows_per_part

    def check_checkpoint(self) -> None:
        """Raises an error if the checkpoint is incomplete, or cannot do the task with these options."""
        folder = Path(self.checkpoint)
        config = find_checkpoint(folder, None if self.vae is None else Path(self.vae)).config.generation
        read_adapters(folder, self.adapters)
        if self.task not in ("draw", "encode"):
            return
        sampler = IMAGE_SAMPLERS[GENERATION_CLASSES[type(config)]]
        if self.task == "encode" and isinstance(config, FlowGenerationConfig):
            raise ValueError(
                f"checkpoint must generate images token by token to encode them as tokens, got "
                f"{folder.name!r}, which generates them {sampler.method}; use another one"
            )
        if self.sampling is not None:
            sampler.checked_options(self.sampling, folder.name)  # type: ignore[arg-type]  # not of texts
        if isinstance(config, FlowGenerationConfig) and config.vae is None:
            raise ValueError(
                f"vae must be given for {folder.name!r}, which draws latents, got none; name SDXL's VAE"
            )

    def settings(self) -> dict[str, Any]:
        """What the content of a row depends on, beside the row, to compare runs."""
        return {
            "task": self.task,
            "checkpoint": Path(self.checkpoint).resolve().name,
            "sampling": None if self.sampling is None else str(self.sampling),
            "question": self.question,
            "negative_prompt": self.negative_prompt,
            "system_prompt": self.system_prompt,
            "dtype": self.dtype,
            "template": self.template,
            "vae": None if self.vae is None else Path(self.vae).name,
            "adapters": [[Path(path).name, strength] for path, strength in self.adapters],
            "background": self.background,
            "max_pixels": self.max_pixels,
        }

    def _checked_sampling(self) -> Sampling | None:
        kinds = self.of_task.sampling
        if self.sampling is None:
            return kinds[0]() if len(kinds) == 1 else None
        if not isinstance(self.sampling, kinds) or not kinds:
            names = " or ".join(kind.__name__ for kind in kinds) or "None"
            raise ValueError(
                f"sampling must be {names} for {self.task}, got {shown(self.sampling)}; leave it out"
            )
        if (images := getattr(self.sampling, "batch_size", 1)) != 1:
            raise ValueError(f"batch_size of sampling must be 1, got {images}; give a row for each image")
        return replace(self.sampling)


def _check_choice(name: str, value: object, choices: Any) -> None:
    if not isinstance(value, str) or value not in choices:
        raise ValueError(
            f"{name} must be one of {listed(list(choices))}, got {shown(value)}; choose one of these"
        )

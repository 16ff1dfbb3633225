"""A loaded model that computes rows, in batches of similar length."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..loading import load_pipeline
from ..models.devices import present_accelerator
from ..processing.image_files import BACKGROUNDS, read_image
from .fitting import fitting_batch_size
from .options import BatchOptions
from .rows import Result, Row, seed_offset
from .tasks import Input

_READERS = 2  # threads that read images while a batch is computed


class Worker:
    """Computes rows; what a row gives depends on nothing but the row and the options.

    Rows that are passed together are sorted and split in a way that depends on nothing else, so that they
    meet the same neighbours in their batches on any worker.
    """

    def __init__(self, options: BatchOptions, device: str | None = None) -> None:
        """Loads the model, on a device that may be another than that of the options."""
        torch.set_num_threads(options.threads or max((os.cpu_count() or 1) // options.workers_here, 1))
        self.options = options
        self.pipeline = load_pipeline(
            options.checkpoint,
            device or resolved_device(options.device),
            options.dtype,
            template=options.template,
            vae=options.vae,
            adapters=options.adapters,
        )
        self._batch_size = options.batch_size

    def run(self, rows: Sequence[Row], stopped: Callable[[], bool] = lambda: False) -> list[Result]:
        """Results of rows, in their order; after `stopped` says so, only of the batches that are complete.

        Raises:
            RuntimeError: if the model fails for all rows, so that these are not the cause.
        """
        results: dict[int, Result] = {
            index: {"error": row.problem} for index, row in enumerate(rows) if row.problem
        }
        failures: list[RuntimeError] = []
        order = self._order(rows, [index for index in range(len(rows)) if index not in results])
        size = self._resolved_batch_size(rows, order)
        batches = [order[start : start + size] for start in range(0, len(order), size)]
        for indices, inputs in self._read_ahead(rows, batches):
            ready = [
                (index, each) for index, each in zip(indices, inputs, strict=True) if isinstance(each, Input)
            ]
            results |= {
                index: {"error": each}
                for index, each in zip(indices, inputs, strict=True)
                if isinstance(each, str)
            }
            for images in (True, False):  # the model takes either images with all questions or none
                chosen = [(index, each) for index, each in ready if (each.image is not None) is images]
                if chosen:
                    found = self._computed([each for _, each in chosen], failures)
                    results |= zip([index for index, _ in chosen], found, strict=True)
            if stopped():
                break
        if len(failures) > 1 and len(failures) == len(order):
            raise failures[0]
        return [self._complete(rows[index], results[index]) for index in sorted(results)]

    def _order(self, rows: Sequence[Row], indices: list[int]) -> list[int]:
        """Indices sorted by whether a row has an image, then by length, so that batches pad little."""
        encode = self.pipeline.prompts.tokenizer.encode
        lengths = {text: len(encode(text)) for text in {rows[index].text for index in indices}}
        return sorted(
            indices,
            key=lambda index: (rows[index].image is None, lengths[rows[index].text], rows[index].id),
        )

    def _resolved_batch_size(self, rows: Sequence[Row], order: list[int]) -> int:
        if self._batch_size is None and order:
            longest = rows[order[-1]].text
            side = self.pipeline.image_processor.image_size
            image = None if rows[order[0]].image is None else torch.zeros(side, side, 3, dtype=torch.uint8)

            def run(size: int) -> None:
                self._compute([Input(longest, image, 0)] * size)

            try:
                self._batch_size = fitting_batch_size(self.pipeline, run, self.options.workers_here)
            except (ValueError, RuntimeError):  # its text may be too long for any batch: the next rows decide
                return 1
        self.pipeline.max_batch_size = self._batch_size or 1
        return self.pipeline.max_batch_size

    def _read_ahead(
        self, rows: Sequence[Row], batches: Sequence[list[int]]
    ) -> Iterator[tuple[list[int], list[Input | str]]]:
        """Inputs of each batch, or why one cannot be read; the next batch is read meanwhile."""
        with ThreadPoolExecutor(_READERS) as pool:
            waiting = None
            for number, indices in enumerate(batches):
                current = waiting or [pool.submit(self._input, rows[index]) for index in indices]
                following = batches[number + 1] if number + 1 < len(batches) else []
                waiting = [pool.submit(self._input, rows[index]) for index in following]
                yield indices, [future.result() for future in current]

    def _input(self, row: Row) -> Input | str:
        """Reads a row's image and shrinks it to the model's square at once."""
        image = None
        if row.image is not None:
            try:
                image = torch.tensor(self.pipeline.image_processor.letterbox(self._pixels(row.image)))
            except ValueError as error:
                return str(error)
        return Input(row.text, image, seed_offset(row.id))

    def _pixels(self, image: Path | bytes | np.ndarray) -> Tensor:
        """Pixels [H, W, C] in [0, 1] of a row's image."""
        if isinstance(image, np.ndarray):
            if image.dtype != np.uint8:
                raise ValueError(f"image must have pixels of type uint8, got {image.dtype}; convert them")
            return torch.tensor(image).float() / 255
        background = BACKGROUNDS[self.options.background]
        return read_image(image, background, max_pixels=self.options.max_pixels)

    def _computed(self, inputs: Sequence[Input], failures: list[RuntimeError]) -> list[Result]:
        """Results of a batch; if it fails, each row is computed alone, to find the one that is the cause."""
        try:
            return self._compute(inputs)
        except (ValueError, RuntimeError) as error:
            if _is_of_the_device(error):
                raise
            if len(inputs) > 1:
                return [result for each in inputs for result in self._computed([each], failures)]
            if isinstance(error, RuntimeError):
                failures.append(error)
            return [{"error": str(error)}]

    def _compute(self, inputs: Sequence[Input]) -> list[Result]:
        return self.options.of_task.compute(self.pipeline, inputs, self.options)

    def _complete(self, row: Row, result: Result) -> Result:
        """All columns of a row."""
        task = self.options.of_task
        values = {"id": row.id, "file_name": row.file_name, **result}
        return {name: values.get(name) for name in ("id", *task.columns, "error")}


def resolved_device(device: str) -> str:
    """The device that `auto` stands for here."""
    if device != "auto":
        return device
    return present_accelerator() or "cpu"


def _is_of_the_device(error: Exception) -> bool:
    """Whether a device has failed, so that no other row would succeed on it."""
    kind = getattr(torch, "AcceleratorError", None)
    return kind is not None and isinstance(error, kind)

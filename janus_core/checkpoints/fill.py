"""From the tensors in files to the weights of a model, each copied once."""

from __future__ import annotations

import math
import mmap
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor, nn

from ..models.cpu.packed_linear import InferenceLinear
from ..models.janus import Janus
from .files import TensorInfo
from .keymap import Place
from .precision import Precision
from .reading import Rows, read_tensors
from .sources import Source

OnProgress = Callable[[int, int], None]

# Layers whose weights are being packed: each takes a wide copy of its weight for that time.
_PACKED_AT_ONCE = 2

# The size of a huge page: smaller parameters would not fill one.
_HUGE_FROM = 2**21


class Filler:
    """Fills a model without memory from files.

    Parameters that are whole are put into the model; linear layers that are to hold narrow weights are
    exchanged as soon as theirs are there, so that no more than a few wide ones exist at a time.
    """

    def __init__(self, model: Janus, device: torch.device, precision: Precision) -> None:
        """Prepares.

        Args:
            model: on `meta`.
            device: where the weights go.
            precision: their number formats.
        """
        self.model, self.device, self.precision = model, device, precision
        self.shapes = parameter_shapes(model)
        self._filled: dict[str, Tensor] = {}
        self._rows_left = {name: shape[0] for name, shape in self.shapes.items()}
        self._packing: deque[Future[None]] = deque()

    def fill(
        self, plans: list[tuple[Source, dict[str, Place]]], on_progress: OnProgress | None = None
    ) -> set[str]:
        """Reads all tensors that have a place.

        Returns:
            The names of the parameters that are filled now.

        Raises:
            ValueError: if a weight is NaN or infinite in the dtype that it gets.
        """
        wanted: dict[Path, dict[str, tuple[TensorInfo, Place]]] = {}
        for source, expected in plans:
            for name, info in source.infos.items():
                if name in expected:
                    wanted.setdefault(info.file, {})[name] = (info, expected[name])
        done, total = 0, sum(info.num_bytes for tensors in wanted.values() for info, _ in tensors.values())
        with ThreadPoolExecutor(_PACKED_AT_ONCE) as pool:
            for file, tensors in wanted.items():
                for rows in read_tensors(file, {name: info for name, (info, _) in tensors.items()}):
                    place = tensors[rows.name][1]
                    self._copy(file, rows, place)
                    done += rows.num_bytes
                    self._put(place.target, pool)
                    del rows  # it would keep a file's last mapping alive beside the next one
                    if on_progress is not None:
                        on_progress(done, total)
            while self._packing:
                self._packing.popleft().result()
        return {name for name, left in self._rows_left.items() if left == 0}

    def tie(self, name: str, other: str) -> None:
        """Gives a layer without a weight of its own the weight of another."""
        weight = self.model.get_parameter(other)
        if self._class_of(name) is None:
            self._layer(name).weight = weight
        else:
            self._exchange(name.rpartition(".")[0], weight, None)

    def _copy(self, file: Path, rows: Rows, place: Place) -> None:
        target = place.target
        if target not in self._filled:
            self._filled[target] = _memory(self.shapes[target], self._dtype(target), self.device)
        count = place.length if place.leading_one else rows.shape[0]
        filled = self._filled[target].narrow(0, place.start + rows.start, count)
        rows.copy_to(filled)
        _check_finite(file, rows.name, filled)
        self._rows_left[target] -= count

    def _put(self, target: str, pool: ThreadPoolExecutor) -> None:
        """Puts a parameter into the model if it is whole, and its layer too if that is to be exchanged."""
        if self._rows_left[target]:
            return
        layer_name, _, leaf = target.rpartition(".")
        if self._class_of(target) is None:
            setattr(self._layer(target), leaf, nn.Parameter(self._filled.pop(target), requires_grad=False))
            return
        needed = [name for name in (f"{layer_name}.weight", f"{layer_name}.bias") if name in self.shapes]
        if any(self._rows_left[name] for name in needed):
            return
        weight, *bias = (self._filled.pop(name) for name in needed)
        while len(self._packing) >= _PACKED_AT_ONCE:
            self._packing.popleft().result()
        self._packing.append(pool.submit(self._exchange, layer_name, weight, bias[0] if bias else None))

    def _exchange(self, layer_name: str, weight: Tensor, bias: Tensor | None) -> None:
        narrow = self.precision.layer_class(layer_name)
        assert narrow is not None  # else there is nothing to exchange
        parent, _, leaf = layer_name.rpartition(".")
        setattr(self.model.get_submodule(parent), leaf, narrow(weight, bias))

    def _class_of(self, target: str) -> type[InferenceLinear] | None:
        """What the layer of a parameter becomes; None if it stays."""
        linear = isinstance(self._layer(target), nn.Linear)
        return self.precision.layer_class(target.rpartition(".")[0]) if linear else None

    def _layer(self, target: str) -> nn.Module:
        return self.model.get_submodule(target.rpartition(".")[0])

    def _dtype(self, target: str) -> torch.dtype:
        narrow = self._class_of(target)
        if narrow is None:
            return self.precision.stored(target)
        return narrow.staging_dtype if target.endswith(".weight") else torch.float32


def parameter_shapes(model: Janus) -> dict[str, tuple[int, ...]]:
    """Shapes of a model's parameters by name."""
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


def _memory(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Memory for a parameter: in huge pages where Linux has them, which are ready several times as fast."""
    num_bytes = math.prod(shape) * dtype.itemsize
    if device.type != "cpu" or num_bytes < _HUGE_FROM or not hasattr(mmap, "MADV_HUGEPAGE"):
        return torch.empty(shape, dtype=dtype, device=device)
    pages = mmap.mmap(-1, num_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError):  # a kernel without them gives usual ones
        pages.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(pages, dtype=dtype).view(shape)


def _check_finite(file: Path, name: str, weights: Tensor) -> None:
    # The extremes are NaN or infinite as soon as one number is, and take no copy as `isfinite` of all would.
    # One pass finds both where it is implemented; that is not everywhere.
    one_pass = weights.device.type == "cpu"
    extremes = tuple(torch.aminmax(weights)) if one_pass else (weights.amin(), weights.amax())
    if not bool(torch.isfinite(torch.stack(extremes)).all()):
        raise ValueError(
            f"{file} must hold finite weights, got NaN or infinity in {name} (as {weights.dtype}); "
            "download it again, or load it in fp32 if its numbers are too large for this type"
        )

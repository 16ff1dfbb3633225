"""Materialises a meta-device model from checkpoint files."""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from types import MappingProxyType

import torch
from torch import Tensor, nn

from ..models.janus import Janus
from ..models.quantized.inference_linear import InferenceLinear
from .buffers import allocate
from .changes import Change, add_changes
from .keymap import ParameterSlice
from .on_meta import parameter_shapes, quantized_dtypes, replace_on_meta
from .precision import EMBEDDING, Precision
from .reading import TensorInfo, read_chunks
from .sources import LM_HEAD

_log = logging.getLogger(__name__)

OnProgress = Callable[[int, int], None]

Changes = Mapping[str, Sequence[Change]]
"""Changes that adapters make, by parameter."""

NO_CHANGES: Changes = MappingProxyType({})

# Layers that are changed and packed at the same time. A packed one needs a full copy of its weight meanwhile.
_MAX_FINISHING = 2


class ModelFiller:
    """Gives a meta-device model its weights, tensor by tensor.

    A parameter is assigned as soon as all its parts are read. A linear layer that the precision packs is
    replaced as soon as its weight and bias are read, in a background thread, so that only a few weights exist
    unpacked at any time. One that can be made of some rows at a time is replaced before, and its rows are
    quantized there as they are read. The changes of adapters are applied there too.
    """

    def __init__(
        self, model: Janus, device: torch.device, precision: Precision, changes: Changes = NO_CHANGES
    ) -> None:
        """`changes` are applied in float32, before the sums are rounded once, and packed or quantized."""
        self._model, self._device, self._precision, self._changes = model, device, precision, changes
        self._shapes = parameter_shapes(model)
        self._classes = precision.replacing(model)
        self._saved_quantized = quantized_dtypes(model)
        self._unread = {name: math.prod(shape) for name, shape in self._shapes.items()}
        self._buffers: dict[str, Tensor] = {}
        self._unchanged: dict[str, list[tuple[TensorInfo, ParameterSlice]]] = {}
        self._scratch = torch.empty(0, device=device)
        # Each thread has its own mode. Tensors made in inference mode, as ComfyUI runs nodes, may only be
        # changed in it.
        self._is_inference = torch.is_inference_mode_enabled()
        self._finishing: deque[Future[None]] = deque()

    def fill(
        self, tensors: Sequence[tuple[TensorInfo, ParameterSlice]], on_progress: OnProgress | None
    ) -> None:
        """Reads tensors into the parts of the model that they fill."""
        done, total = 0, sum(info.num_bytes for info, _ in tensors)
        is_tied = LM_HEAD not in {part.parameter for _, part in tensors}
        with ThreadPoolExecutor(_MAX_FINISHING) as pool:
            for info, part, start, values in read_chunks(tensors):
                by_rows = self._is_by_rows(part.parameter)
                if by_rows:
                    # The table is not kept, so that its rows make a tied head at the same time.
                    names = [part.parameter, *([LM_HEAD] if is_tied and part.parameter == EMBEDDING else [])]
                    layers = [self._layer_by_rows(name.rpartition(".")[0]) for name in names]
                    rows = allocate(values.shape, values.dtype, self._device).copy_(values)
                    self._submit(pool, self._put, info, part, start, rows, layers)
                else:
                    self._write(info, part, start, values)
                self._unread[part.parameter] -= values.numel()
                if self._unread[part.parameter] == 0 and not by_rows:
                    self._assign(part.parameter, pool)
                done += values.nbytes
                del values  # it would keep a mapping of the file open
                if on_progress is not None:
                    on_progress(done, total)
            for finished in self._finishing:
                finished.result()
        if is_tied and not self._is_by_rows(EMBEDDING):
            self._tie_embeddings()
        elif self._model.config.body.tie_word_embeddings:
            self._tie_if_equal()

    def _write(self, info: TensorInfo, part: ParameterSlice, start: int, values: Tensor) -> None:
        """Copies a chunk of a tensor into the buffer of its parameter."""
        first, changes = part.start + start, self._changes.get(part.parameter, ())
        target = self._buffer(part.parameter).narrow(0, first, len(values))
        if changes and _holds(target.dtype, values.dtype):
            # The copy is exact, so a background thread can apply the changes while the next tensor is read.
            target.copy_(values)
            if start == 0:
                self._unchanged.setdefault(part.parameter, []).append((info, part))
            return
        if changes:
            values = self._float32(values)
            add_changes(values, first, changes)
        target.copy_(values)
        _check_finite(info, target)

    def _is_by_rows(self, parameter: str) -> bool:
        """Whether a parameter is the weight of a layer that takes some rows at a time."""
        layer, _, leaf = parameter.rpartition(".")
        return leaf == "weight" and self._takes_rows(layer)

    def _takes_rows(self, layer: str) -> bool:
        return layer in self._classes and self._classes[layer].by_rows

    def _layer_by_rows(self, name: str) -> InferenceLinear:
        """The layer of this name, which replaces the model's own at the first call."""
        layer = self._model.get_submodule(name)
        if isinstance(layer, InferenceLinear):
            return layer
        made = replace_on_meta(self._model, name, self._classes[name])
        for leaf, parameter in list(made.named_parameters()):
            memory = allocate(parameter.shape, parameter.dtype, self._device)
            setattr(made, leaf, nn.Parameter(memory, requires_grad=False))
        return made

    def _put(
        self, info: TensorInfo, part: ParameterSlice, start: int, rows: Tensor, layers: list[InferenceLinear]
    ) -> None:
        """Changes some rows of a tensor and gives them to the layers that take them."""
        first, changes = part.start + start, self._changes.get(part.parameter, ())
        with torch.inference_mode(self._is_inference):
            if changes:
                rows = rows.float()
                add_changes(rows, first, changes)
            rows = rows.to(layers[0].staging_dtype)
            _check_finite(info, rows)
            for layer in layers:
                layer.put(first, rows)

    def _float32(self, values: Tensor) -> Tensor:
        """A copy that is valid until the next one: all share their memory."""
        if len(self._scratch) < values.numel():
            self._scratch = allocate((values.numel(),), torch.float32, self._device)
        return self._scratch[: values.numel()].view(values.shape).copy_(values)

    def _buffer(self, parameter: str) -> Tensor:
        """Memory for a parameter, in the dtype in which its layer takes it."""
        if parameter not in self._buffers:
            layer_class = self._classes.get(parameter.rpartition(".")[0])
            if layer_class is None:
                saved = self._saved_quantized.get(parameter)
                dtype = saved or self._precision.stored(parameter)
            else:
                dtype = layer_class.staging_dtype if parameter.endswith(".weight") else torch.float32
            self._buffers[parameter] = allocate(self._shapes[parameter], dtype, self._device)
        return self._buffers[parameter]

    def _assign(self, parameter: str, pool: ThreadPoolExecutor) -> None:
        """Moves a complete parameter from its buffer into the model."""
        layer = parameter.rpartition(".")[0]
        by_rows = self._takes_rows(layer)
        if by_rows:
            self._layer_by_rows(layer)  # by this thread, which also does so when it reads the weight
        is_packed = layer in self._classes and not by_rows
        if not is_packed and parameter not in self._unchanged:
            self._set(parameter, self._buffers.pop(parameter))
            return
        # A packed layer is made of weight and bias together, so the first of them waits for the other.
        names = [f"{layer}.weight", f"{layer}.bias"] if is_packed else [parameter]
        names = [name for name in names if name in self._shapes]
        if any(self._unread[name] for name in names):
            return
        buffers = {name: self._buffers.pop(name) for name in names}
        self._submit(pool, self._finish, layer, is_packed, buffers)

    def _submit(self, pool: ThreadPoolExecutor, work: Callable[..., None], *arguments: object) -> None:
        """Has work done in the background, after waiting for what keeps too much memory there."""
        if len(self._finishing) == _MAX_FINISHING:
            self._finishing.popleft().result()
        self._finishing.append(pool.submit(work, *arguments))

    def _finish(self, layer: str, is_packed: bool, buffers: Mapping[str, Tensor]) -> None:
        """Applies changes that are still to be applied to a layer's parameters, and gives them to it."""
        for name, buffer in buffers.items():
            for info, part in self._unchanged.get(name, ()):
                with torch.inference_mode(self._is_inference):
                    rows = buffer[part.start : part.end]
                    add_changes(rows, part.start, self._changes[name])
                    _check_finite(info, rows)
        if is_packed:
            self._pack(layer, *buffers.values())
        else:
            for name, buffer in buffers.items():
                self._set(name, buffer)

    def _set(self, parameter: str, values: Tensor) -> None:
        """Gives the model a parameter."""
        layer, _, leaf = parameter.rpartition(".")
        setattr(self._model.get_submodule(layer), leaf, nn.Parameter(values, requires_grad=False))

    def _pack(self, layer: str, weight: Tensor, bias: Tensor | None = None) -> None:
        """Replaces a linear layer by its packed or quantized form."""
        self._model.set_submodule(layer, self._classes[layer](weight, bias))

    def _tie_embeddings(self) -> None:
        """Makes the input embedding the output embedding too."""
        embedding = self._model.get_parameter(EMBEDDING)
        head = LM_HEAD.rpartition(".")[0]
        if head in self._classes:
            self._pack(head, embedding)
        else:
            self._model.body.lm_head.weight = embedding

    def _tie_if_equal(self) -> None:
        """Ties embeddings that the files store twice if they are equal; else corrects the config.

        transformers does the same. A packed output embedding stays as it is, since its values are rounded.
        """
        model, body, embedding = self._model, self._model.body, self._model.get_parameter(EMBEDDING)
        if not isinstance(model.get_submodule("body.lm_head"), nn.Linear):
            return
        if torch.equal(body.lm_head.weight, embedding):
            body.lm_head.weight = embedding
            return
        _log.info("tie_word_embeddings is not followed: the checkpoint has an output embedding of its own")
        model.config = replace(model.config, body=replace(model.config.body, tie_word_embeddings=False))
        body.config = model.config.body


def _holds(dtype: torch.dtype, source: torch.dtype) -> bool:
    """Whether a floating-point type has all numbers of another."""
    own, other = torch.finfo(dtype), torch.finfo(source)
    return own.eps <= other.eps and own.max >= other.max


def _check_finite(info: TensorInfo, weights: Tensor) -> None:
    # The extremes are NaN or infinite if any number is. Unlike isfinite, they need no temporary tensor. A CPU
    # finds both in a single pass; other devices may lack aminmax.
    extremes = weights.aminmax() if weights.device.type == "cpu" else (weights.amin(), weights.amax())
    if not torch.isfinite(torch.stack(tuple(extremes))).all():
        raise ValueError(
            f"{info.file} must hold finite weights, got NaN or infinity in {info.name} (as {weights.dtype}); "
            "download it again, or load it in fp32 if its numbers are too large for this type"
        )

"""Runs jobs on Ray: a pool of actors with a model each, which Ray schedules, feeds and restarts.

Nothing of Ray is imported before a function here is called.
"""

from __future__ import annotations

import logging
import math
import os
import pickle
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .extras import require
from .job import Job
from .options import BatchOptions
from .report import BatchReport, Progress, ProgressLines
from .sinks.parquet import schema
from .sources.records import IMAGES, Columns, RecordReader
from .worker import Worker

Dataset = Any
"""A `ray.data.Dataset`."""

LOCAL = "local"
_READER_CPUS = 0.2
# On a machine that is busy, Ray's processes take longer to start than its own half a minute.
_PATIENCE = {"RAY_raylet_start_wait_time_s": "300", "RAY_agent_register_timeout_ms": "300000"}
_STORE_BYTES = 10**9  # of a cluster that is started here; Ray's own default is 30 % of the memory


def run_on_ray(
    job: Job,
    address: str = LOCAL,
    workers: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> BatchReport:
    """Runs a job on a cluster to its end, or until Ctrl-C.

    Args:
        job: what to do.
        address: of the cluster, as `ray.init` takes it; `local` starts one on this machine.
        workers: actors; one for each GPU of the cluster by default, or for each node if there are none.
        say: takes lines that tell the progress.
    """
    ray = _imported_ray()
    if job.format_name == "txt":
        raise ValueError(
            "format must be one that any machine can write, got 'txt' with Ray; choose another one"
        )
    source, sink = job.prepare()
    count = job.count(source)
    done = sink.done()
    report = BatchReport(max(count - len(done), 0), min(len(done), count))
    started = not ray.is_initialized()
    if started:
        own = {"include_dashboard": False, "object_store_memory": _STORE_BYTES} if address == LOCAL else {}
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **own)
    context = ray.data.DataContext.get_current()
    # One part in a block: Ray joins small blocks otherwise, and gives many parts to one actor.
    before, context.target_max_block_size = context.target_max_block_size, 1
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        parts = ray.data.from_items([{"read": True}], override_num_blocks=1).map_batches(
            _read_parts,
            fn_kwargs={"job": job, "done": ray.put(done)},
            num_cpus=_READER_CPUS,
        )
        actors = _actors(job.options, workers, job=job)
        finished = parts.map_batches(_PartWorker, batch_size=1, **actors)
        tell = ProgressLines(report, say)
        for row in finished.iter_rows():
            tell(pickle.loads(row["progress"]))  # noqa: S301  # written by `_PartWorker`
    except KeyboardInterrupt:
        report.stopped = True
    finally:
        context.target_max_block_size = before
        if started:
            ray.shutdown()
    return report


def process_dataset(
    dataset: Dataset,
    options: BatchOptions,
    *,
    workers: int | None = None,
    columns: Columns | None = None,
    image_folder: str | Path | None = None,
) -> Dataset:
    """Computes each row of a dataset, as one of its transformations.

    Args:
        dataset: rows with an image (pixels, the content of a file, or its path), a text, or both.
        options: what to do with each row.
        workers: actors; one for each GPU of the cluster by default, or for each node if there are none.
        columns: names of columns; the known ones by default.
        image_folder: what paths of images are relative to and must lie in; without it, paths are refused.

    Returns:
        The columns of the task with `id` and `error`, and those of the dataset that are not images.
    """
    _imported_ray()
    options.check_checkpoint()
    root = None if image_folder is None else Path(image_folder).resolve()
    question = options.question if options.of_task.own_question else ""
    reader = RecordReader(options.of_task, question, columns or Columns(), root)
    actors = _actors(options, workers, reader=reader)
    return dataset.map_batches(_RowWorker, batch_size=options.part_size, batch_format="pyarrow", **actors)


def caption_dataset(dataset: Dataset, options: BatchOptions, **more: Any) -> Dataset:
    """Captions the images of a dataset; the arguments are those of `process_dataset`."""
    if options.task != "caption":
        raise ValueError(f"task must be caption, got {options.task!r}; call process_dataset")
    return process_dataset(dataset, options, **more)


class _PartWorker:
    """An actor that computes and writes parts."""

    def __init__(self, job: Job, options: BatchOptions) -> None:
        self._sink = replace(job, options=options).open_sink()
        self._worker = Worker(options)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        part = pickle.loads(batch["part"][0])  # noqa: S301  # written by `_read_parts`
        results = self._worker.run(part.rows)
        self._sink.write(part.number, results)
        return {"progress": _one(Progress.of(results))}


class _RowWorker:
    """An actor that computes rows."""

    def __init__(self, reader: RecordReader, options: BatchOptions) -> None:
        self._reader, self._worker = reader, Worker(options)

    def __call__(self, table: Any) -> Any:
        import pyarrow

        rows = [self._reader.row(record) for record in table.to_pylist()]
        columns = schema(self._worker.options.of_task.columns)
        results = self._worker.run(rows)
        complete = [{**result, "error": result["error"] or None} for result in results]
        computed = pyarrow.Table.from_pylist(complete, columns)
        images = {self._reader.columns.image, *IMAGES}
        for name in table.column_names:
            if name not in computed.column_names and name not in images:
                computed = computed.append_column(name, table[name])
        return computed


def _read_parts(batch: dict[str, Any], job: Job, done: Any) -> Iterator[dict[str, Any]]:
    """Reads the parts that are left. They follow from the arguments alone: Ray may run this again."""
    import ray

    for part in job.parts(job.open_source(), ray.get(done)):
        yield {"part": _one(part)}


def _one(value: object) -> np.ndarray:
    """A column of one row."""
    column = np.empty(1, object)
    column[0] = pickle.dumps(value)
    return column


def _actors(options: BatchOptions, workers: int | None, **given: object) -> dict[str, Any]:
    """Arguments of `map_batches`: how many actors there are, what each takes of the cluster and is given."""
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = 0 if options.device == "cpu" else int(sum(node.get("GPU", 0) for node in nodes))
    workers = workers or gpus or len(nodes)
    here = math.ceil(workers / len(nodes))
    cores = min(node.get("CPU", 1) for node in nodes)
    threads = options.threads or max(int(cores) // here, 1)
    # One core of each node is left for reading and writing: if actors reserved all of them, they would wait
    # forever for rows that no one can read.
    reserved = max(cores - 1, 0) / here
    return {
        "compute": ray.data.ActorPoolStrategy(size=workers),
        "num_cpus": int(reserved) if reserved >= 1 else round(reserved, 2),
        "num_gpus": min(gpus / workers, 1),
        "fn_constructor_kwargs": {
            "options": replace(options, threads=threads, workers_here=here),
            **given,
        },
    }


def _imported_ray() -> Any:
    """Imports Ray, with its usage reports to its authors off unless the environment sets them."""
    require("ray", "clusters")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its messages are for its own developers
    for name, value in _PATIENCE.items():
        os.environ.setdefault(name, value)
    import ray
    import ray.data

    return ray

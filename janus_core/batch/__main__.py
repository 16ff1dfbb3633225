"""Batch work from the command line; each command has a `--help`.

    python -m janus_core.batch caption SOURCE OUTPUT --checkpoint FOLDER   describes images
    python -m janus_core.batch ask     SOURCE OUTPUT --checkpoint FOLDER   answers questions
    python -m janus_core.batch draw    SOURCE OUTPUT --checkpoint FOLDER   draws prompts
    python -m janus_core.batch score   SOURCE OUTPUT --checkpoint FOLDER   rates images and texts
    python -m janus_core.batch encode  SOURCE OUTPUT --checkpoint FOLDER   encodes images as tokens

SOURCE is a folder of images, or a JSONL file, a parquet file, a WebDataset tar, or a folder of these. OUTPUT
is a folder. A run that was stopped or killed is continued by the same command. The exit code is 1 if rows are
missing, and 2 if the command cannot run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

from ..checkpoints.precision import PRECISIONS
from ..loading import image_sampler
from ..processing.chat import CHAT_FORMATS
from ..processing.image_files import BACKGROUNDS
from ..sampling.options import TextSampling
from .job import Job
from .local import run_locally
from .options import MAX_PIXELS, BatchOptions
from .ray_engine import LOCAL, run_on_ray
from .report import BatchReport
from .sources import SOURCES
from .sources.records import Columns
from .tasks import TASKS, Sampling, Task

# Given by a row, or of no use here.
_NOT_OPTIONS = {"batch_size", "lookahead", "denoise"}


def say(text: str) -> None:
    """Prints a line and flushes it."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def run(arguments: argparse.Namespace) -> BatchReport:
    """Runs a command."""
    job = _job(arguments)
    if arguments.share[1] > 1:
        if arguments.retry_failed:  # another machine would drop what this one has just written
            raise ValueError("share must be left out with retry_failed, got one; run on one machine")
        # With parts of its own size, a machine would write rows of another machine's share.
        if arguments.rows_per_part is not None:
            raise ValueError("rows_per_part must be left out with share, got one; use the task's own")
    if arguments.retry_failed:
        _, sink = job.prepare()
        say(f"{sink.drop_failed():,} rows that failed are computed again")
    if arguments.ray is not None:
        return run_on_ray(job, arguments.ray, arguments.workers, say)
    return run_locally(job, arguments.workers, arguments.share, say)


def _job(arguments: argparse.Namespace) -> Job:
    names = {field.name for field in fields(BatchOptions)} - {"sampling"}
    given = {name: value for name, value in vars(arguments).items() if name in names and value is not None}
    given["adapters"] = tuple(arguments.adapter or ())
    options = BatchOptions(**given, sampling=_sampling(arguments))
    columns = Columns(arguments.id_column, arguments.text_column, arguments.image_column)
    return Job(
        arguments.source,
        arguments.output,
        options,
        arguments.format,
        arguments.source_kind,
        columns,
        arguments.image_folder,
    )


def _sampling(arguments: argparse.Namespace) -> Sampling | None:
    """The sampling options that were given, of the class that the task or the checkpoint takes."""
    task = TASKS[arguments.task]
    given = {
        name: value for name in _sampling_types(task) if (value := getattr(arguments, name, None)) is not None
    }
    if task.sampling == (TextSampling,):
        return TextSampling(**given)
    if not task.sampling:
        return None
    kind = image_sampler(arguments.checkpoint).options
    if unknown := sorted(given.keys() - {field.name for field in fields(kind)}):
        name = unknown[0]
        raise ValueError(
            f"{name} must be left out for {Path(arguments.checkpoint).name!r}, which draws with "
            f"{kind.__name__}, got {given[name]}; leave it out"
        )
    return kind(**given)


def _sampling_types(task: Task) -> dict[str, type]:
    """The names of all sampling options of a task, with their types."""
    types: dict[str, type] = {}
    for kind in task.sampling:
        hints = get_type_hints(kind)
        types |= {field.name: hints[field.name] for field in fields(kind)}
    return {name: kind for name, kind in types.items() if name not in _NOT_OPTIONS}


def _positive(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, got {text}")
    return int(text)


def _share(text: str) -> tuple[int, int]:
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise argparse.ArgumentTypeError(f"must be such as 2/4, got {text}")
    return int(number) - 1, int(count)


def _adapter(text: str) -> tuple[str, float]:
    path, _, strength = text.rpartition("=")
    try:
        return (path, float(strength)) if path else (text, 1.0)
    except ValueError:
        return text, 1.0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m janus_core.batch",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="task")
    for name, task in TASKS.items():
        command = commands.add_parser(name, help=task.does, description=f"The command {name} {task.does}.")
        command.add_argument("source", type=Path)
        command.add_argument("output", type=Path)
        _add_options(command.add_argument, task)
    return parser


def _add_options(add: Callable[..., Any], task: Task) -> None:
    add("--checkpoint", required=True, metavar="FOLDER", help="folder of the checkpoint")
    add("--format", choices=task.formats, help=f"of the output (default: {task.formats[0]})")
    add("--device", help="cpu, cuda, xpu or mps (default: every device of an accelerator, else the CPU)")
    add("--dtype", choices=("auto", *PRECISIONS), help="precision (default: auto)")
    add("--workers", type=_positive, help="processes (default: one for each GPU; on a CPU one)")
    add("--threads", type=_positive, help="CPU threads of each process (default: they share the cores)")
    add("--batch-size", type=_positive, help="rows computed together (default: what fits into memory)")
    rows = f"rows written together (default: {task.rows_per_part}); a kill loses no more of each process"
    add("--rows-per-part", type=_positive, help=rows)
    ray = "run on Ray: the address of a cluster, or none for one on this machine"
    add("--ray", nargs="?", const=LOCAL, metavar="ADDRESS", help=ray)
    share = "this machine's share of the work, such as 2/4, for machines with a common disk but without Ray"
    add("--share", type=_share, default=(0, 1), metavar="I/N", help=share)
    add("--retry-failed", action="store_true", help="compute rows again that failed in an earlier run")
    add("--template", choices=tuple(CHAT_FORMATS), help="chat template (default: the checkpoint's)")
    adapter = "LoRA adapter, with a strength such as style.safetensors=0.8; may be repeated"
    add("--adapter", type=_adapter, action="append", metavar="PATH[=STRENGTH]", help=adapter)
    kinds = "what the source holds (default: by its files)"
    add("--source-kind", choices=SOURCES, help=kinds)
    for column, holds in (("id", "ids"), ("text", "questions, prompts or texts"), ("image", "images")):
        add(f"--{column}-column", default="", metavar="NAME", help=f"column of the source with {holds}")
    folder = "what paths of images in the source are relative to and must lie in (default: its folder)"
    add("--image-folder", type=Path, metavar="FOLDER", help=folder)
    if task.image is not False:
        add("--background", choices=tuple(BACKGROUNDS), help="colour behind transparent parts of images")
        add("--max-pixels", type=_positive, help=f"larger images are refused (default: {MAX_PIXELS:,})")
    if task.own_question:
        add("--question", help="about all images; for ask about rows without a question of their own")
    if task.image is not False and task.sampling != ():
        add("--system-prompt", help="text before questions; empty for none")
    if task.image is False:
        add("--negative-prompt", help="what to move away from")
        add("--vae", metavar="PATH", help="VAE of JanusFlow")
    for option, kind in _sampling_types(task).items():
        add(f"--{option.replace('_', '-')}", type=kind, metavar=option.upper(), help="see README, Python API")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command given on the command line; returns the exit code."""
    try:
        report = run(_parser().parse_args(arguments))
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KeyboardInterrupt:  # while the source is counted, or for the second time
        sys.stderr.write("stopped; run the same command again to continue\n")
        return 1
    say(report.text)
    return 1 if report.lost or report.stopped else 0


if __name__ == "__main__":
    sys.exit(main())

"""Measures one thing in a process of its own and prints it as a line of JSON; `speed.py` calls it.

`python tests/benchmarks/measure.py bandwidth|ours|transformers DEVICE PRECISION FOLDER STEPS BATCH`
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from janus_core import JanusPipeline, TextSampling, TokenSampling, load_pipeline, weight_bytes  # noqa: E402
from janus_core.checkpoints.files import find_weight_files  # noqa: E402
from janus_core.checkpoints.precision import DTYPES  # noqa: E402

WARM_UP = 4  # steps before the clock starts
RUNS = 3  # of which the median counts
PROMPT = "A red fox in the snow, looking at the camera, soft light of a winter morning."
LONG_PROMPT_TOKENS, PREFILL_TOKENS = 1000, 600


class EnoughError(Exception):
    """Ends a run that has been timed."""


class StepClock:
    """An `OnStep` that times the steps from `WARM_UP` on and then ends the run."""

    def __init__(self, device: str, steps: int) -> None:
        self.device, self.last = device, WARM_UP + steps
        self.start = 0.0

    def __call__(self, step: int, *_: object) -> None:
        """Takes note of a step."""
        if step == WARM_UP:
            self.start = now(self.device)
        if step == self.last:
            self.per_step = (now(self.device) - self.start) / (self.last - WARM_UP)
            raise EnoughError


def now(device: str) -> float:
    """Seconds, all work on the device being done."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def seconds(device: str, work: Callable[[], object], runs: int = RUNS) -> float:
    """Median time of some work; once warm, unless it is run once only."""
    if runs > 1:
        work()
    times = []
    for _ in range(runs):
        start = now(device)
        work()
        times.append(now(device) - start)
    return statistics.median(times)


def per_step(device: str, steps: int, run: Callable[[StepClock], object], runs: int = RUNS) -> float:
    """Median time of a step; `run` tells the clock of each."""
    times = []
    for _ in range(runs):
        clock = StepClock(device, steps)
        try:
            run(clock)
        except EnoughError:
            times.append(clock.per_step)
    if not times:
        raise ValueError(f"steps must end before the image does, got {steps}; time fewer")
    return statistics.median(times)


def memory_rate(device: str, runs: int = 7) -> float:
    """Bytes per second of reading memory once; on a GPU of copying it, both ways counted."""
    numbers = torch.ones(2**29, device=device)
    if device == "cuda":
        target = torch.empty_like(numbers)
        return 2 * numbers.nbytes / seconds(device, lambda: target.copy_(numbers), runs)
    return numbers.nbytes / seconds(device, numbers.sum, runs)


def bandwidth(device: str, file: Path) -> dict[str, float]:
    """Bytes per second: of reading memory once, and of reading the checkpoint's file into fresh memory."""

    def read_file() -> None:
        memory = torch.empty(file.stat().st_size, dtype=torch.uint8)
        view, done = memory.numpy().data, 0
        with file.open("rb", buffering=0) as stream:
            while count := stream.readinto(view[done:]):
                done += count

    return {"memory": memory_rate(device), "file": file.stat().st_size / seconds("cpu", read_file)}


def ours(device: str, precision: str, folder: Path, steps: int, batch: int) -> dict[str, Any]:
    """Loading and all that a pipeline does."""
    load_pipeline(
        ROOT / "janus_core" / "assets" / "janus-shapes", device
    )  # imports are nobody's loading time
    before = resident("VmRSS")
    pipe = load_pipeline(folder, device, precision)
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else resident("VmHWM") - before
    found: dict[str, Any] = {"weights": weight_bytes(pipe.model), "peak": peak}
    del pipe
    start = now(device)
    pipe = load_pipeline(folder, device, precision)
    found["load"] = now(device) - start
    body, generation = pipe.model.body, pipe.model.generation
    found["read per step"] = sum(
        weight_bytes(part) for part in (body.layers, generation.head, generation.aligner)
    )

    def draw(prompt: str, images: int, capture: bool = False) -> Callable[[StepClock], object]:
        options = TokenSampling(batch_size=images, capture=capture)
        return lambda clock: pipe.generate(prompt, options, on_step=clock)

    found["first steps"] = first_steps(device, pipe)
    found["first steps again"] = first_steps(device, pipe)
    # Hosts are shared: what their memory gives changes from minute to minute, so it is read off beside.
    # On a GPU that would take memory which the model may need.
    rates = []
    for name, images in (("step", 1), ("step, batch", batch)):
        if device == "cpu":
            rates.append(memory_rate(device))
        found[name] = per_step(device, steps, draw(PROMPT, images))
    if device == "cpu":
        found["memory"] = statistics.median([*rates, memory_rate(device)])
    if device == "cuda":
        found["step, captured"] = per_step(device, steps, draw(PROMPT, 1, capture=True))
        found["step, captured, batch"] = per_step(device, steps, draw(PROMPT, batch, capture=True))
    found["step, long prompt"] = per_step(device, steps, draw(words(pipe, LONG_PROMPT_TOKENS), 1), runs=1)
    options = TextSampling(max_new_tokens=WARM_UP + steps + 1)
    never_ends = pipe.prompts.tokenizer
    never_ends.eos_id, eos = -1, never_ends.eos_id
    found["text step"] = per_step(
        device, steps, lambda clock: pipe.understand(None, PROMPT, options, on_step=clock)
    )
    never_ends.eos_id = eos
    question = words(pipe, PREFILL_TOKENS)
    found["prefill"] = seconds(
        device, lambda: pipe.understand(None, question, TextSampling(max_new_tokens=1)), runs=1
    )
    picture = torch.rand(1, 384, 384, 3)
    found["see"] = seconds(device, lambda: pipe.encode_vision(picture), runs=1)
    tokens = torch.zeros(1, generation.config.num_tokens, dtype=torch.long)
    found["pixels"] = seconds(device, lambda: pipe.decode_tokens(tokens), 1)
    return found


def words(pipe: JanusPipeline, tokens: int) -> str:
    """A text of about so many tokens, or as many as the model has room for beside an image."""
    room = pipe.prompts.max_length - pipe.model.generation.config.num_tokens - 100
    per_word = len(pipe.prompts.tokenizer.encode("red " * 100)) / 100
    return "red " * int(min(tokens, room) / per_word)


def first_steps(device: str, pipe: JanusPipeline) -> float:
    """Time to the first few tokens of an image, the prompt included."""
    start = now(device)

    def on_step(step: int, total: int, tokens: torch.Tensor) -> None:
        if step == WARM_UP:
            raise EnoughError

    try:
        pipe.generate(PROMPT, TokenSampling(), on_step=on_step)
    except EnoughError:
        pass
    return now(device) - start


def transformers(device: str, precision: str, folder: Path, steps: int, batch: int) -> dict[str, Any]:
    """The same drawing by transformers' own Janus, of the same sizes."""
    from peer import peer_model  # another package's model: only where it is measured

    pipe = load_pipeline(ROOT / "janus_core" / "assets" / "janus-shapes")
    model = peer_model(folder, DTYPES[precision], device)
    prompt = pipe.prompts.generation(PROMPT, "", guided=False, num_new=1)
    ids = torch.ones(1, prompt.length, dtype=torch.long, device=device)

    def draw(images: int) -> Callable[[StepClock], object]:
        def run(clock: StepClock) -> object:
            embed, step = type(model).prepare_embeddings_for_image_generation, iter(range(1, 10**6))

            def count(inputs: torch.Tensor) -> torch.Tensor:
                clock(next(step))
                return embed(model, inputs)

            model.prepare_embeddings_for_image_generation = count
            return model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                generation_mode="image",
                guidance_scale=5.0,
                do_sample=True,
                num_return_sequences=images,
                bos_token_id=1,
                pad_token_id=0,
                eos_token_id=2,
            )

        return run

    return {
        "step": per_step(device, steps, draw(1)),
        "step, batch": per_step(device, steps, draw(batch)),
    }


def resident(kind: str) -> int:
    """Bytes of memory in use now (VmRSS) or at most so far (VmHWM); 0 where Linux does not tell."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.exists() else []
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(kind + ":"))


def main(what: str, device: str, precision: str, folder: Path, steps: int, batch: int) -> None:
    """Prints one measurement."""
    if what == "bandwidth":
        found: dict[str, Any] = bandwidth(device, find_weight_files(folder)[0])
    else:
        found = {"ours": ours, "transformers": transformers}[what](device, precision, folder, steps, batch)
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:4], Path(sys.argv[4]), *map(int, sys.argv[5:]))

"""Measures one model in a process of its own; `speed.py` runs several of these in turns.

`python -m dev.benchmarks.measure ours|flow|transformers DEVICE PRECISION FOLDER STEPS BATCH` reads names of
measurements (methods of `Ours`, `Flow` or `Transformers`) from standard input, one per line, and answers each
with a line of JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

from janus_core import (
    DEMONSTRATION,
    FlowSampling,
    JanusPipeline,
    TextSampling,
    TokenSampling,
    load_pipeline,
    weight_bytes,
)
from janus_core.checkpoints.files import find_weight_files
from janus_core.checkpoints.precision import DTYPES

from .peer import peer_model
from .timing import (
    RUNS,
    WARM_UP,
    StepClock,
    TimedEnoughError,
    file_seconds,
    memory_rate,
    now,
    per_step,
    resident,
    seconds,
)

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "tests" / "golden" / "janus-pro-tiny"
PROMPT = "A red fox in the snow, looking at the camera, soft light of a winter morning."
FLOW_STEPS = 3  # each takes as long as dozens of token steps
MIDDLE_TOKENS, LONG_PROMPT_TOKENS, PREFILL_TOKENS = 300, 1000, 600


class Ours:
    """Loading our pipeline, and everything that it does."""

    pipe: JanusPipeline  # from `load` on

    def __init__(self, device: str, precision: str, folder: Path, steps: int, batch: int) -> None:
        self.device, self.precision, self.folder = device, precision, folder
        self.steps, self.batch = steps, batch

    def load(self) -> dict[str, Any]:
        """Measures peak memory of one load, then loads in turns with reading the file alone."""
        load_pipeline(DEMONSTRATION, self.device)  # imports are not part of the loading time
        before = resident("VmRSS")
        self.pipe = self._load()
        on_gpu = self.device == "cuda"
        peak = torch.cuda.max_memory_allocated() if on_gpu else resident("VmHWM") - before
        found: dict[str, Any] = {"weights": weight_bytes(self.pipe.model), "peak": peak}
        (file,) = find_weight_files(self.folder)
        reads, loads = [], []
        for _ in range(RUNS):
            del self.pipe
            reads.append(file_seconds(file))
            start = now(self.device)
            self.pipe = self._load()
            loads.append(now(self.device) - start)
        generation = self.pipe.model.token_generation
        read_per_step = (self.pipe.model.body.layers, generation.head, generation.aligner)
        return found | {
            "load": loads,
            "file": reads,
            "first steps": first_steps(self.device, self.pipe),
            "first steps again": first_steps(self.device, self.pipe),
            "read per step": sum(map(weight_bytes, read_per_step)),
        }

    def turn(self) -> dict[str, float]:
        """Measures generation steps, and the memory bandwidth at that time."""
        found = {"memory": memory_rate(self.device)}
        found["step"] = self._step(PROMPT, 1)
        found["step, batch"] = self._step(PROMPT, self.batch)
        # With a prompt as long as prompt and image tokens are together in the middle of an image.
        found["step, middle"] = self._step(words(self.pipe, MIDDLE_TOKENS), 1)
        return found

    def rest(self) -> dict[str, float]:
        """Measures everything that takes no turns."""
        pipe = self.pipe
        found = {"step, long prompt": self._step(words(pipe, LONG_PROMPT_TOKENS), 1)}
        options = TextSampling(max_new_tokens=WARM_UP + self.steps + 1)
        tokenizer = pipe.prompts.tokenizer
        tokenizer.eos_id, eos = -1, tokenizer.eos_id  # so that no answer ends early
        found["text step"] = per_step(
            self.device, self.steps, lambda clock: pipe.understand(None, PROMPT, options, on_step=clock)
        )
        tokenizer.eos_id = eos
        question = words(pipe, PREFILL_TOKENS)
        once = TextSampling(max_new_tokens=1)
        found["prefill"] = seconds(self.device, lambda: pipe.understand(None, question, once))
        picture = torch.rand(1, 384, 384, 3)
        found["see"] = seconds(self.device, lambda: pipe.encode_vision(picture))
        tokens = torch.zeros(1, pipe.model.generation.config.num_tokens, dtype=torch.long)
        found["pixels"] = seconds(self.device, lambda: pipe.decode_tokens(tokens))
        return found

    def _load(self) -> JanusPipeline:
        return load_pipeline(self.folder, self.device, self.precision)

    def _step(self, prompt: str, images: int) -> float:
        pipe, options = self.pipe, TokenSampling(batch_size=images, lookahead=1)
        return per_step(self.device, self.steps, lambda clock: pipe.generate(prompt, options, on_step=clock))


class Flow:
    """Image generation by JanusFlow."""

    def __init__(self, device: str, precision: str, folder: Path, *_: int) -> None:
        self.device = device
        self.pipe = load_pipeline(folder, device, precision)

    def rest(self) -> dict[str, float]:
        """Measures an `euler` step with guidance: one pass, with and without the prompt."""
        pipe, options = self.pipe, FlowSampling(num_steps=1 + FLOW_STEPS)
        return {
            "flow step": per_step(
                self.device,
                FLOW_STEPS,
                lambda clock: pipe.generate(PROMPT, options, on_step=clock),
                warm_up=1,
            )
        }


class Transformers:
    """Image generation by the Janus model of transformers, with the same sizes."""

    def __init__(self, device: str, precision: str, folder: Path, steps: int, batch: int) -> None:
        self.device, self.precision, self.folder = device, precision, folder
        self.steps, self.batch = steps, batch

    def load(self) -> dict[str, Any]:
        """Makes the model."""
        pipe = load_pipeline(TINY)  # it has the tokenizer of the checkpoint that is measured
        self.length, self.middle = (
            pipe.prompts.generation(text, "", use_cfg=False, num_new=1).length
            for text in (PROMPT, words(pipe, MIDDLE_TOKENS))
        )
        self.model = peer_model(self.folder, DTYPES[self.precision], self.device)
        return {}

    def turn(self) -> dict[str, float]:
        """Measures generation steps."""
        return {
            "step": self._step(self.length, 1),
            "step, batch": self._step(self.length, self.batch),
            "step, middle": self._step(self.middle, 1),
        }

    def rest(self) -> dict[str, float]:
        """Nothing: only generation is compared."""
        return {}

    def _step(self, length: int, images: int) -> float:
        model, embed = self.model, type(self.model).prepare_embeddings_for_image_generation
        ids = torch.ones(1, length, dtype=torch.long, device=self.device)

        def run(clock: StepClock) -> object:
            step = iter(range(1, 10**6))

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

        return per_step(self.device, self.steps, run)


def words(pipe: JanusPipeline, tokens: int) -> str:
    """A text of about `tokens` tokens, fewer where the context has no room for them and an image."""
    room = pipe.prompts.max_length - pipe.model.generation.config.num_tokens - 100
    per_word = len(pipe.prompts.tokenizer.encode("red " * 100)) / 100
    return "red " * int(min(tokens, room) / per_word)


def first_steps(device: str, pipe: JanusPipeline) -> float:
    """Seconds until the first few tokens of an image, the prompt included."""
    start = now(device)

    def on_step(step: int, total: int, tokens: torch.Tensor) -> None:
        if step == WARM_UP:
            raise TimedEnoughError

    try:
        pipe.generate(PROMPT, TokenSampling(lookahead=1), on_step=on_step)
    except TimedEnoughError:
        pass
    return now(device) - start


def main(what: str, device: str, precision: str, folder: str, steps: str, batch: str) -> None:
    """Answers the requests on standard input."""
    kinds: dict[str, type[Any]] = {"ours": Ours, "flow": Flow, "transformers": Transformers}
    answers, sys.stdout = sys.stdout, sys.stderr  # output of libraries must not mix with the answers
    worker = kinds[what](device, precision, Path(folder), int(steps), int(batch))
    for line in sys.stdin:
        answers.write(json.dumps(getattr(worker, line.strip())()) + "\n")
        answers.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Each stage learns, leaves alone what it freezes, and goes on after a pause as if there had been none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

import pytest
import torch
from janus_nodes.janus_core import JanusPipeline, load_pipeline
from janus_nodes.janus_core.training.loop import Trainer
from janus_nodes.janus_core.training.recipe import BOX, Recipe, Stage
from janus_nodes.janus_core.training.world.data import WorldData

STAGES = {stage.name: stage for stage in BOX.stages}


@pytest.fixture
def fresh(golden_root: Path) -> Callable[[], JanusPipeline]:
    """Loads a model that a test may train."""
    return lambda: load_pipeline(golden_root / "janus-pro-tiny", dtype=torch.float32)


def short(name: str, steps: int = 10) -> Recipe:
    batch = 2 if name == "tokenizer" else 6
    return Recipe((replace(STAGES[name], steps=steps, batch_size=batch, learning_rate=2e-3, warmup=1),))


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_learns_and_moves_only_what_it_trains(
    name: str, fresh: Callable[[], JanusPipeline], tmp_path: Path
) -> None:
    pipeline = fresh()
    before = {key: value.clone() for key, value in pipeline.model.state_dict().items()}
    losses: list[float] = []
    trainer = Trainer(pipeline, WorldData(), short(name), tmp_path)
    trainer.run(on_trained=lambda stage, step, found: losses.append(found["loss"]))
    assert trainer.done and len(losses) == 10
    # The codebook stands aside in a tokenizer's first steps and makes the loss another one when it comes in.
    assert min(losses[-4:]) < max(losses[2:5])
    trains = (*STAGES[name].trains, *(["generation.embed.*"] if name == "tokenizer" else []))
    moved = {key for key, value in pipeline.model.state_dict().items() if not torch.equal(value, before[key])}
    assert moved
    assert [key for key in moved if not any(fnmatch(key, pattern) for pattern in trains)] == []


def test_a_run_that_was_stopped_ends_with_the_weights_of_one_that_was_not(
    fresh: Callable[[], JanusPipeline], tmp_path: Path
) -> None:
    recipe = Recipe(tuple(replace(STAGES[name], steps=4, batch_size=2) for name in ("vision", "unified")))
    whole, parts = fresh(), fresh()
    Trainer(whole, WorldData(), recipe, tmp_path / "whole").run()
    for max_steps in (1, 2, 2, None):
        parts = fresh()
        Trainer(parts, WorldData(), recipe, tmp_path / "parts").run(max_steps)
    for (key, one), other in zip(
        whole.model.state_dict().items(), parts.model.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other), key
    lines = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "parts")]
    assert lines[0] == lines[1]


def test_a_run_that_raises_keeps_what_was_learnt(fresh: Callable[[], JanusPipeline], tmp_path: Path) -> None:
    def stop(stage: Stage, step: int, losses: dict[str, float]) -> None:
        if step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Trainer(fresh(), WorldData(), short("text"), tmp_path).run(on_trained=stop)
    assert Trainer(fresh(), WorldData(), short("text"), tmp_path).step == 2


def test_a_run_of_another_recipe_is_refused(fresh: Callable[[], JanusPipeline], tmp_path: Path) -> None:
    Trainer(fresh(), WorldData(), short("text"), tmp_path).run(1)
    with pytest.raises(ValueError, match=r"must hold a run of this recipe, seed and data"):
        Trainer(fresh(), WorldData(), short("text", steps=15), tmp_path)


def test_later_stages_may_be_changed_while_an_earlier_one_runs(
    fresh: Callable[[], JanusPipeline], tmp_path: Path
) -> None:
    first = short("text").stages[0]
    Trainer(fresh(), WorldData(), Recipe((first, short("vision").stages[0])), tmp_path).run(1)
    changed = Recipe((first, short("vision", steps=3).stages[0]))
    assert Trainer(fresh(), WorldData(), changed, tmp_path).step == 1


def test_the_learning_rate_rises_and_falls() -> None:
    stage = Stage("one", "unified", ("*",), 100, 1, 1.0, warmup=10, decay=0.5)
    rates = [stage.rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[9:50] == [1.0] * 41
    assert rates[75] == pytest.approx(0.5) and rates[99] == pytest.approx(0.1)

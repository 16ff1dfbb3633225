"""Each stage learns and trains only its own parameters; resumed runs equal uninterrupted ones."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

import pytest
import torch
from janus_nodes.janus_core import JanusPipeline, load_pipeline
from janus_nodes.janus_core.training.loop import Trainer
from janus_nodes.janus_core.training.objectives import OBJECTIVES, AutoencoderObjective, TokenizerObjective
from janus_nodes.janus_core.training.recipe import Recipe, Stage
from janus_nodes.janus_core.training.shapes.data import ShapesData
from janus_nodes.janus_core.training.shapes.flow_model import FLOW_SHAPES_RECIPE
from janus_nodes.janus_core.training.shapes.model import SHAPES_RECIPE

STAGES = {stage.name: stage for stage in SHAPES_RECIPE.stages}
FLOW_STAGES = {f"flow {stage.name}": stage for stage in FLOW_SHAPES_RECIPE.stages}


@pytest.fixture
def fresh(golden_root: Path) -> Callable[[], JanusPipeline]:
    """Loads a model that a test may train."""
    return lambda: load_pipeline(golden_root / "janus-pro-tiny", dtype=torch.float32)


@pytest.fixture
def fresh_flow(golden_root: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], JanusPipeline]:
    """Loads a model that draws by flow and that a test may train."""
    monkeypatch.setattr(AutoencoderObjective, "SCALED_WITH", 8)
    return lambda: load_pipeline(golden_root / "janusflow-tiny", dtype=torch.float32)


# What the end of a stage initialises for later stages.
INITIALISED = {"tokenizer": ("generation.embed.*",)}


def short(name: str, steps: int = 10) -> Recipe:
    batch = 2 if "tokenizer" in name or "autoencoder" in name else 6
    stage = (STAGES | FLOW_STAGES)[name]
    return Recipe((replace(stage, steps=steps, batch_size=batch, learning_rate=2e-3, warmup=1),))


@pytest.mark.parametrize("name", STAGES | FLOW_STAGES)
def test_a_stage_learns_and_moves_only_what_it_trains(
    name: str, fresh: Callable[[], JanusPipeline], fresh_flow: Callable[[], JanusPipeline], tmp_path: Path
) -> None:
    pipeline = (fresh_flow if name in FLOW_STAGES else fresh)()
    before = {key: value.clone() for key, value in pipeline.model.state_dict().items()}
    losses: list[float] = []
    trainer = Trainer(pipeline, ShapesData(), short(name), tmp_path)
    trainer.run(on_step=lambda stage, step, found: losses.append(found["loss"]))
    assert trainer.done and len(losses) == 10
    # The tokenizer's first steps are without quantization; then its loss changes.
    assert min(losses[-4:]) < max(losses[2:5])
    trains = (*(STAGES | FLOW_STAGES)[name].trains, *INITIALISED.get(name, ()))
    moved = {key for key, value in pipeline.model.state_dict().items() if not torch.equal(value, before[key])}
    assert moved
    assert [key for key in moved if not any(fnmatch(key, pattern) for pattern in trains)] == []


@pytest.mark.parametrize("names", [("vision", "unified"), ("flow autoencoder", "flow annealing")])
def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(
    names: tuple[str, ...],
    fresh: Callable[[], JanusPipeline],
    fresh_flow: Callable[[], JanusPipeline],
    tmp_path: Path,
) -> None:
    stages = STAGES | FLOW_STAGES
    recipe = Recipe(tuple(replace(stages[name], steps=4, batch_size=2) for name in names))
    load = fresh if names[0] in STAGES else fresh_flow
    whole, parts = load(), load()
    Trainer(whole, ShapesData(), recipe, tmp_path / "whole").run()
    for max_steps in (1, 2, 2, None):
        parts = load()
        Trainer(parts, ShapesData(), recipe, tmp_path / "parts").run(max_steps)
    for (key, one), other in zip(
        whole.model.state_dict().items(), parts.model.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other), key
    lines = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "parts")]
    assert lines[0] == lines[1]


def test_an_exception_between_steps_keeps_all_steps(
    fresh: Callable[[], JanusPipeline], tmp_path: Path
) -> None:
    def stop(stage: Stage, step: int, losses: dict[str, float]) -> None:
        if step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Trainer(fresh(), ShapesData(), short("looking"), tmp_path).run(on_step=stop)
    assert Trainer(fresh(), ShapesData(), short("looking"), tmp_path).step == 2


def test_half_a_step_is_not_kept(
    fresh: Callable[[], JanusPipeline], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Trainer(fresh(), ShapesData(), short("looking"), tmp_path).run(1)
    pipeline = fresh()
    trainer = Trainer(pipeline, ShapesData(), short("looking"), tmp_path)
    kept = {key: value.clone() for key, value in pipeline.model.state_dict().items()}

    def broken_off() -> None:
        next(trainer.pipeline.model.generation.vq.parameters()).data.add_(1.0)
        raise KeyboardInterrupt

    monkeypatch.setattr(trainer.optimizer, "step", broken_off)
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    later = fresh()
    assert Trainer(later, ShapesData(), short("looking"), tmp_path).step == 1
    assert all(torch.equal(value, kept[key]) for key, value in later.model.state_dict().items())


def test_a_run_stopped_between_two_stages_resumes(
    fresh: Callable[[], JanusPipeline], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Recipe((*short("vision", 2).stages, *short("looking", 2).stages))
    Trainer(fresh(), ShapesData(), recipe, tmp_path).run(1)
    trainer = Trainer(fresh(), ShapesData(), recipe, tmp_path)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setitem(OBJECTIVES, "unified", stop)  # raises while the second stage starts
        trainer.run()
    trainer = Trainer(fresh(), ShapesData(), recipe, tmp_path)
    trainer.run()
    assert trainer.done


def test_metrics_of_lost_steps_are_dropped(fresh: Callable[[], JanusPipeline], tmp_path: Path) -> None:
    Trainer(fresh(), ShapesData(), short("looking", 3), tmp_path).run(1)
    metrics = tmp_path / "metrics.jsonl"
    first = metrics.read_text()
    metrics.write_text(first + '{"stage": "looking", "step": 2, "loss": 1.0}\n{"stage": "te')
    Trainer(fresh(), ShapesData(), short("looking", 3), tmp_path).run()
    lines = metrics.read_text().splitlines(keepends=True)
    assert lines[0] == first and [json.loads(line)["step"] for line in lines] == [1, 2, 3]


def test_a_trained_model_has_no_gradients(fresh: Callable[[], JanusPipeline], tmp_path: Path) -> None:
    pipeline = fresh()
    Trainer(pipeline, ShapesData(), short("looking", 1), tmp_path).run()
    assert not any(p.requires_grad or p.grad is not None for p in pipeline.model.parameters())


@pytest.mark.parametrize("name", ["tokenizer", "vision", "looking"])
def test_a_stage_learns_in_bfloat16_too(
    name: str, fresh: Callable[[], JanusPipeline], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TokenizerObjective, "DEAD_BELOW", 1.0)  # restarts codes
    pipeline = fresh()
    recipe = Recipe((replace(STAGES[name], steps=1, batch_size=1),))
    Trainer(pipeline, ShapesData(), recipe, tmp_path, dtype=torch.bfloat16).run()
    assert all(value.dtype is torch.float32 for value in pipeline.model.state_dict().values())


def test_a_model_in_bfloat16_is_refused(golden_root: Path, tmp_path: Path) -> None:
    pipeline = load_pipeline(golden_root / "janus-pro-tiny", dtype=torch.bfloat16)
    with pytest.raises(ValueError, match=r"must be in float32 to be trained, got torch.bfloat16"):
        Trainer(pipeline, ShapesData(), short("looking"), tmp_path)


def test_stages_with_wrong_values_and_duplicate_names_are_refused() -> None:
    with pytest.raises(ValueError, match=r"alignment must be 0 or more, got nan; 0"):
        FLOW_SHAPES_RECIPE.with_alignment(float("nan"))
    with pytest.raises(ValueError, match=r"average must be from 0 to below 1, got 1\.0; 0"):
        replace(STAGES["looking"], average=1.0)
    with pytest.raises(ValueError, match=r"steps must be above 0, got 0"):
        short("looking", 0)
    with pytest.raises(ValueError, match=r"stages must have different names, got looking, looking"):
        Recipe(short("looking").stages * 2)


def test_a_run_of_another_recipe_is_refused(fresh: Callable[[], JanusPipeline], tmp_path: Path) -> None:
    Trainer(fresh(), ShapesData(), short("looking"), tmp_path).run(1)
    with pytest.raises(ValueError, match=r"must hold a run of this recipe, seed and data"):
        Trainer(fresh(), ShapesData(), short("looking", steps=15), tmp_path)


def test_later_stages_may_be_changed_while_an_earlier_one_runs(
    fresh: Callable[[], JanusPipeline], tmp_path: Path
) -> None:
    first = short("looking").stages[0]
    Trainer(fresh(), ShapesData(), Recipe((first, short("vision").stages[0])), tmp_path).run(1)
    changed = Recipe((first, short("vision", steps=3).stages[0]))
    assert Trainer(fresh(), ShapesData(), changed, tmp_path).step == 1


def test_runs_of_versions_without_the_later_fields_can_be_resumed() -> None:
    plain, aligned = STAGES["looking"], replace(STAGES["looking"], alignment=0.5, average=0.9)
    assert not {"alignment", "average"} & plain.identity().keys()
    assert aligned.identity() == plain.identity() | {"alignment": 0.5, "average": 0.9}


@pytest.mark.parametrize("lora", [False, True])
def test_a_flow_run_that_a_former_version_has_saved_is_resumed(
    fresh_flow: Callable[[], JanusPipeline], tmp_path: Path, lora: bool
) -> None:
    """Its output layer had other names, and its optimizer two groups without a rate."""
    stage = replace(short("flow unified").stages[0], average=0.9, generator_rate=1.0)
    if lora:  # only matrices are trained, and the group of vectors is empty
        stage = replace(stage, trains=("body.layers.*.mlp.*",), alignment=0.0)
    recipe = Recipe((replace(stage, steps=2),))
    Trainer(fresh_flow(), ShapesData(), recipe, tmp_path).run(max_steps=1)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    former = {"out_convs.0.unpatch_conv": "conv_out", "out_convs.0.norm": "norm_out"}
    for part, (now, then) in itertools.product(("model", "average"), former.items()):
        state[part] = {name.replace(now, then): value for name, value in state[part].items()}
    assert "generation.decoder.conv_out.weight" in state["model"]
    groups = state["optimizer"]["param_groups"]
    assert [bool(group["params"]) for group in groups] == [True, not lora]
    for group in groups:
        del group["rate"]
    torch.save(state, tmp_path / "state.pt")
    resumed = Trainer(fresh_flow(), ShapesData(), recipe, tmp_path)
    resumed.run()
    assert resumed.done


def test_the_generator_has_a_learning_rate_of_its_own(
    fresh_flow: Callable[[], JanusPipeline], tmp_path: Path
) -> None:
    pipeline, stage = fresh_flow(), replace(short("flow unified").stages[0], generator_rate=3.0)
    trainer = Trainer(pipeline, ShapesData(), Recipe((stage,)), tmp_path)
    trainer.train_step()
    groups = {id(value): group for group in trainer.optimizer.param_groups for value in group["params"]}
    for name, value in pipeline.model.named_parameters():
        if not value.requires_grad:
            continue
        factor = 3.0 if name.startswith("generation.") else 1.0
        group = groups[id(value)]
        assert group["lr"] == pytest.approx(factor * stage.learning_rate_at(0)), name
        assert group["weight_decay"] == (0.05 if value.ndim > 1 else 0.0), name


def test_the_learning_rate_rises_and_falls() -> None:
    stage = Stage("one", "unified", ("*",), 100, 1, 1.0, warmup=10, decay=0.5)
    rates = [stage.learning_rate_at(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[9:50] == [1.0] * 41
    assert rates[75] == pytest.approx(0.5) and rates[99] == pytest.approx(0.1)

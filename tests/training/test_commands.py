"""The commands: invalid input, and runs that are stopped, resumed or complete."""

from __future__ import annotations

import json
import os
import shutil
import signal
from fnmatch import fnmatch
from pathlib import Path

import pytest
import torch
from janus_nodes.janus_core import DEMONSTRATION, load_pipeline
from janus_nodes.janus_core.training.__main__ import main
from janus_nodes.janus_core.training.folder_data import CONVERSATIONS
from janus_nodes.janus_core.training.loop import Trainer
from janus_nodes.janus_core.training.record import RECORD, read_record, stage_names
from janus_nodes.janus_core.training.shapes.model import SHAPES_RECIPE
from PIL import Image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One image with a caption."""
    place = tmp_path / "data"
    place.mkdir()
    Image.new("RGB", (20, 20), (80, 10, 200)).save(place / "a.png")
    (place / "a.txt").write_text("violet", encoding="utf-8")
    return place


def tune(checkpoint: Path, folder: Path, *options: str) -> Path:
    run = folder.parent / "run"
    sizes = ("--steps", "4", "--batch-size", "2", "--learning-rate", "1e-2")
    main(["finetune", str(checkpoint), str(folder), str(run), *sizes, "--dtype", "fp32", *options])
    return run


def test_a_flow_model_is_trained_with_the_vae_that_it_has_or_is_given(
    folder: Path, golden_root: Path, tmp_path: Path
) -> None:
    complete, bare = golden_root / "janusflow-tiny", tmp_path / "bare"
    shutil.copytree(complete, bare, ignore=shutil.ignore_patterns("vae", "goldens"))
    with pytest.raises(ValueError, match=r"must have a VAE to be trained, got none in 'bare'; pass --vae"):
        tune(bare, folder)
    run = tune(bare, folder, "--vae", str(complete / "vae"))
    trained, before = (
        load_pipeline(path, dtype=torch.float32).model.state_dict() for path in (run / "checkpoint", complete)
    )
    moved = {name.partition(".")[0] for name in before if not torch.equal(before[name], trained[name])}
    assert moved == {"body", "generation", "understanding"}
    assert all(torch.equal(before[name], trained[name]) for name in before if ".vae." in name)
    (tmp_path / "other").mkdir()
    adapted = tune(complete, folder.rename(tmp_path / "other" / "data"), "--lora", "2")
    merged = load_pipeline(adapted / "checkpoint", dtype=torch.float32).model.state_dict()
    assert {name.partition(".")[0] for name in before if not torch.equal(before[name], merged[name])} == {
        "body"
    }


def test_options_of_the_other_kind_of_model_are_refused(golden_root: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"of FlowSampling for .janusflow-tiny., got top_p; leave"):
        main(["evaluate", str(golden_root / "janusflow-tiny"), "--top-p", "0.5"])
    with pytest.raises(ValueError, match=r"sees must be encoder for a model without .* 'janusflow-tiny'; le"):
        main(["evaluate", str(golden_root / "janusflow-tiny"), "--sees", "tokens"])
    with pytest.raises(ValueError, match=r"alignment must be left out for a recipe without it, got 0\.0"):
        main(["box", str(tmp_path), "--alignment", "0"])


def test_ctrl_c_waits_for_the_step_and_the_same_command_resumes(
    folder: Path, golden_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = golden_root / "janus-pro-tiny"
    losses = Trainer.train_step

    def interrupted(trainer: Trainer) -> dict[str, float]:
        if trainer.step == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return losses(trainer)

    usual = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", interrupted)
        run = tune(checkpoint, folder)
    assert signal.getsignal(signal.SIGINT) is usual
    assert "stopped in stage finetuning" in capsys.readouterr().out
    assert torch.load(run / "state.pt", weights_only=True)["step"] == 2
    tune(checkpoint, folder)
    load_pipeline(run / "checkpoint")
    assert [json.loads(line)["step"] for line in (run / "metrics.jsonl").open()] == [1, 2, 3, 4]


def test_a_complete_run_is_left_unchanged(
    folder: Path, golden_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = golden_root / "janus-pro-tiny"
    leftover = folder.parent / "run" / "checkpoint.partial"
    leftover.mkdir(parents=True)
    (leftover / "model.safetensors").write_bytes(b"of a run that was killed")
    run = tune(checkpoint, folder)
    written = {file.name: file.stat().st_mtime_ns for file in (run / "checkpoint").iterdir()}
    tune(checkpoint, folder)
    assert "training is complete already" in capsys.readouterr().out
    assert {file.name: file.stat().st_mtime_ns for file in (run / "checkpoint").iterdir()} == written
    with pytest.raises(ValueError, match=r"from the same start"):
        tune(golden_root / "janus-pro-tiny-bin", folder)


def test_resumed_adapters_equal_uninterrupted_ones_and_depend_only_on_the_seed(
    folder: Path, golden_root: Path
) -> None:
    checkpoint = golden_root / "janus-pro-tiny"
    key = "body.layers.0.self_attn.qkv_proj.weight"
    weights = []
    for place, rounds in (("whole", ((),)), ("parts", (("--max-steps", "1"), ("--max-steps", "2"), ()))):
        for options in rounds:
            torch.rand(3)  # the state of the global generator must not matter
            run = tune(checkpoint, folder, "--lora", "2", *options)
        weights.append(load_pipeline(run / "checkpoint", dtype=torch.float32).model.state_dict()[key])
        run.rename(run.with_name(place))
    assert torch.equal(*weights)
    with pytest.raises(ValueError, match=r"from the same start"):
        run.with_name("whole").rename(run)
        tune(checkpoint, folder, "--lora", "3")


def test_training_on_text_only(folder: Path, golden_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for file in folder.iterdir():
        file.unlink()
    (folder / CONVERSATIONS).write_text('{"turns": [["Who?", "Me."]]}', encoding="utf-8")
    monkeypatch.setattr(
        "time.monotonic", iter(range(0, 100_000, 1000)).__next__
    )  # the state is saved at each step
    assert (tune(golden_root / "janus-pro-tiny", folder) / "checkpoint").is_dir()


@pytest.mark.parametrize("option", ["--steps", "--batch-size", "--max-steps"])
def test_numbers_below_one_are_refused(
    option: str, folder: Path, golden_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        tune(golden_root / "janus-pro-tiny", folder, option, "0")
    assert f"{option}: must be 1 or more, got 0" in capsys.readouterr().err


def test_a_language_model_is_trained_on_existing_coders(tmp_path: Path) -> None:
    run, short = tmp_path / "run", ("--try-out", "--dtype", "fp32", "--until", "looking")
    main(["box", str(run), "--coders", str(DEMONSTRATION), *short])
    trained = load_pipeline(run / "checkpoint", dtype=torch.float32).model.state_dict()
    shipped = load_pipeline(DEMONSTRATION, dtype=torch.float32).model.state_dict()
    same = {name for name in trained if torch.equal(trained[name], shipped[name])}
    coders = {name for name in trained if name.startswith(("understanding.tower.", "generation.vq."))}
    assert coders <= same and not any(name.startswith("body.layers") for name in same)
    # The first stage of the body moves no image tokens: they are their codes.
    codes = trained["generation.vq.codebook.weight"]
    torch.testing.assert_close(
        trained["generation.embed.weight"],
        torch.nn.functional.normalize(codes, dim=-1) * codes.shape[1] ** 0.5,
    )
    training = json.loads((run / "checkpoint" / "training.json").read_text())
    assert [stage["name"] for stage in training["recipe"]["stages"]] == ["looking"]
    assert training["start"] == f"coders of {DEMONSTRATION}"
    assert training["compute"] == "fp32"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    mean = sum(line["loss"] for line in lines) / len(lines)
    assert training["losses"]["looking"]["loss"] == pytest.approx(mean, abs=1e-5)


def test_coders_of_other_sizes_and_unknown_stages_are_refused(tmp_path: Path, golden_root: Path) -> None:
    with pytest.raises(ValueError, match=r"coders must be of the sizes .*janus-pro-tiny; use a check"):
        main(["box", str(tmp_path), "--coders", str(golden_root / "janus-pro-tiny")])
    with pytest.raises(ValueError, match=r"last stage must be one of tokenizer, .* got 'cooking'"):
        main(["box", str(tmp_path), "--until", "cooking"])


def test_a_trained_model_learns_the_stages_that_it_has_not_had(tmp_path: Path) -> None:
    earlier = read_record(DEMONSTRATION)
    early = tmp_path / "early"
    shutil.copytree(DEMONSTRATION, early)
    stages = [stage for stage in earlier["recipe"]["stages"] if stage["name"] != "editing"]
    text = json.dumps(earlier | {"recipe": earlier["recipe"] | {"stages": stages}})
    (early / RECORD).write_text(text, encoding="utf-8")
    run, short = tmp_path / "run", ("--try-out", "--dtype", "fp32")
    main(["box", str(run), "--after", str(early), *short])
    record = read_record(run / "checkpoint")
    assert stage_names(record) == [stage.name for stage in SHAPES_RECIPE.stages] == list(record["losses"])
    assert record["start"] == f"weights of early, trained on {earlier['data']}"
    trained = load_pipeline(run / "checkpoint", dtype=torch.float32)
    assert trained.edit_form == "janus-4o"
    before = load_pipeline(early, dtype=torch.float32).model.state_dict()
    changed = {name for name, value in trained.model.state_dict().items() if not value.equal(before[name])}
    assert changed == {
        name for name in before if any(fnmatch(name, pattern) for pattern in SHAPES_RECIPE.stages[-1].trains)
    }
    with pytest.raises(ValueError, match=r"stages must remain to be trained, got a checkpoint that has had"):
        main(["box", str(tmp_path / "again"), "--after", str(run / "checkpoint")])


def test_a_model_of_another_recipe_cannot_be_continued(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"had must be some of autoencoder, .* got tokenizer, .*; use one"):
        main(["box", str(tmp_path), "--model", "janusflow-shapes", "--after", str(DEMONSTRATION)])


def test_a_model_without_a_record_cannot_be_continued(tmp_path: Path, golden_root: Path) -> None:
    with pytest.raises(ValueError, match=r"must hold training.json, got .*janus-pro-tiny without it; use a"):
        main(["box", str(tmp_path), "--after", str(golden_root / "janus-pro-tiny")])

"""Every recorded reference number is used: runs after the other tests and asks which numbers were read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

# Recorded, but not for the tests of this folder to compare.
NOT_COMPARED = {
    "understand.text_only.greedy_min_margin": "tells how safe the recorded ids are from rounding",
    "understand.one_image.greedy_min_margin": "as above",
    "understand.two_images.greedy_min_margin": "as above",
    "understand.multi_turn.greedy_min_margin": "as above",
    "understand.batch.greedy_min_margin": "as above",
    "vq.encode_min_margin": "as above",
    "imagegen.greedy_cfg5.min_margin": "as above",
    "imagegen.greedy_cfg1.min_margin": "as above",
    "sampling_note": "a note",
    "thinking/wrong_ways": "what plausible mistakes change",
    "thinking/reasongen-r1.pad_in_thought": "an error of the authors' code",
    "thinking/reasongen-r1.benchmark_heads": "another script, which edits the prompt first",
    "thinking/janus-pro-r1.split_scripts": "which of the authors' scripts agree",
    "thinking/janus-pro-r1.long_prompt": "the authors' code cuts prompts off; ours refuses what does not fit",
}


@pytest.fixture
def whole_run(collected_files: set[Path], pytestconfig: pytest.Config) -> None:
    """Skips in a run of some tests of the core only; slow tests may be left out."""
    missing = set(Path(__file__).parent.rglob("test_*.py")) - collected_files
    if missing or pytestconfig.getoption("keyword"):
        pytest.skip("only a run of all tests of the core can tell")


@pytest.mark.usefixtures("whole_run")
def test_every_recorded_number_is_compared_with(recorded: Any) -> None:
    assert recorded.names - recorded.used - NOT_COMPARED.keys() == set()


FLOW_NOT_COMPARED = {
    "len_tokenizer": "counts tokens that the model's vocabulary also has",
    "image_gen_id": "the other tag that may end a prompt; the time takes its place",
    "time.t_bf16_30steps": "the published run's rounding of time, from which we depart",
    "time.dt_bf16_30steps": "as above",
    **{f"sft_format.{name}": "compared as ids" for name in ("text_only", "one_image", "two_images")},
    "sft_format.multi_turn": "compared as ids",
    **{
        f"understand.{name}.greedy_min_margin": "tells how safe the recorded ids are from rounding"
        for name in ("text_only", "one_image", "two_images", "multi_turn", "batch")
    },
}


@pytest.mark.usefixtures("whole_run")
def test_every_recorded_number_of_the_flow_is_compared_with(flow_recorded: Any) -> None:
    assert flow_recorded.names - flow_recorded.used - FLOW_NOT_COMPARED.keys() == set()


def test_no_exception_is_outdated(recorded: Any, flow_recorded: Any) -> None:
    assert NOT_COMPARED.keys() <= recorded.names
    assert FLOW_NOT_COMPARED.keys() <= flow_recorded.names

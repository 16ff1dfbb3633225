"""Progress of a run on the canvas, and cancelling."""

from __future__ import annotations

from typing import Any

import comfy.model_management as mm
import comfy.utils
import numpy as np
import pytest
import torch
from comfy_execution.utils import CurrentNodeContext
from janus_nodes.janus_core import JanusPipeline, TextSampling, TokenSampling
from janus_nodes.nodes import progress

Shown = list[tuple[int, int, Any]]


class Clock:
    """A clock that stands still unless it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that progress looks at."""
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_every_token_is_counted(core: JanusPipeline, shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "max_batch_size", 1)
    core.generate("A lake.", TokenSampling(batch_size=2), on_step=progress.ImageReport(core))
    counts = [(value, total) for value, total, _ in shown]
    assert counts == [(step, 32) for step in range(1, 33)]  # two times 16 tokens


def test_passes_of_every_batch_are_counted_on_the_running_node(
    core: JanusPipeline, shown: Shown, sent: object, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[tuple[int, int]] = []

    def record(kind: str, message: dict[str, Any], sid: object) -> None:
        assert (kind, message["node"]) == ("janus.passes", "17")
        counts.append((message["tokens"], message["passes"]))

    monkeypatch.setattr(progress.PromptServer.instance, "send_sync", record)
    monkeypatch.setattr(core, "max_batch_size", 1)
    hook = core.model.body.register_forward_hook(lambda *_: setattr(clock, "now", clock.now + 0.06))
    report = progress.ImageReport(core)
    with CurrentNodeContext("a run", "17"):
        drawn = core.generate("A lake.", TokenSampling(batch_size=2, lookahead=4), on_step=report)
        report(1, 1, drawn.tokens)  # such as for a score: no further pass
    hook.remove()
    ends = [passes for tokens, passes in counts if tokens == 16]
    assert counts[0] == (1, 0) and len(ends) == 3 and ends[1] == ends[2]
    assert sum(ends[:2]) == drawn.passes > len(counts)  # the interval leaves some out


def test_previews_take_a_small_share_of_a_long_run(core: JanusPipeline, shown: Shown, clock: Clock) -> None:
    spent = 0.0

    def slow_decoder(*_: object) -> None:
        nonlocal spent
        spent += 1.0
        clock.now += 1.0

    def slow_token(*_: object) -> None:
        clock.now += 5.0

    hooks = [
        core.model.generation.vq.decoder.register_forward_hook(slow_decoder),
        core.model.body.register_forward_hook(slow_token),
    ]
    on_step = progress.ImageReport(core)
    started = clock.now
    for _ in range(6):
        core.generate("A lake.", TokenSampling(), on_step=on_step)
        spent -= 1.0  # the picture itself
    for hook in hooks:
        hook.remove()
    previews = sum(preview is not None for _, _, preview in shown)
    assert previews == round(spent) > 2
    assert spent <= progress.PREVIEW_SHARE * (clock.now - started) + 2.0


def test_preview_shows_the_finished_rows_above_grey(core: JanusPipeline, shown: Shown, clock: Clock) -> None:
    hook = core.model.body.register_forward_hook(lambda *_: setattr(clock, "now", clock.now + 1000.0))
    drawn = core.generate("A lake.", TokenSampling(batch_size=2, seed=1), on_step=progress.ImageReport(core))
    hook.remove()
    width, side = core.tokens_per_row, drawn.images.shape[1]
    assert [preview for _, _, preview in shown[: width - 1]] == [None] * (width - 1)
    for step, _, preview in shown[width - 1 :]:
        kind, picture, size = preview
        assert (kind, picture.size, size) == ("JPEG", (side, side), side)
        rows = step // width
        expected = (core.decode_tokens(drawn.tokens[:1, : rows * width])[0] * 255).byte().numpy()
        edge = rows * side // width
        pixels = np.asarray(picture)
        np.testing.assert_array_equal(pixels[:edge], expected)
        assert (pixels[edge:] == 127).all()


def test_a_step_that_draws_nothing_decodes_nothing(core: JanusPipeline, shown: Shown, clock: Clock) -> None:
    report = progress.ImageReport(core)
    drawn = core.generate("A lake.", TokenSampling(), on_step=report)
    clock.now += 1000.0
    report(17, 20, drawn.tokens)  # such as for a score, when the autoencoder may be elsewhere
    assert shown[-1] == (17, 20, None)


def test_finished_images_are_shown_side_by_side_at_the_end(core: JanusPipeline, shown: Shown) -> None:
    report = progress.ImageReport(core)
    images = core.generate("A lake.", TokenSampling(batch_size=3), on_step=report).images
    report.show(images)
    value, total, (_, picture, _) = shown[-1]
    assert value == total
    first, second, third = (images * 255).byte().numpy()
    nothing = np.full_like(first, 127)
    gap = np.full_like(first[:, : progress.GAP], 127)
    rows = [np.concatenate([left, gap, right], 1) for left, right in ((first, second), (third, nothing))]
    sheet = np.concatenate([rows[0], np.full_like(rows[0][: progress.GAP], 127), rows[1]])
    np.testing.assert_array_equal(np.asarray(picture), sheet)


def test_text_is_streamed_onto_the_node(
    core: JanusPipeline, shown: Shown, sent: list[tuple[str, str]], clock: Clock
) -> None:
    hook = core.model.body.register_forward_hook(lambda *_: setattr(clock, "now", clock.now + 0.06))
    options = TextSampling(max_new_tokens=20, temperature=1.0, seed=2)
    answers = core.understand(
        torch.rand(2, 20, 30, 3), "Who?", options, on_step=progress.TextReport(core, "17")
    )
    hook.remove()
    assert {node for node, _ in sent} == {"17"}
    steps = len(shown)
    assert steps / 3 <= len(sent) <= steps / 2 + 1  # one per 0.1 s, at 0.06 s a step
    texts = [text for _, text in sent]
    assert all("\n\n" in text for text in texts)
    first, last = (text.partition("\n\n")[0] for text in (texts[0], texts[-1]))
    assert len(first) < len(last) <= len(answers[0])


def test_text_is_not_sent_without_a_browser(
    core: JanusPipeline, shown: Shown, sent: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress.PromptServer.instance, "client_id", None)
    core.understand(None, "Who?", TextSampling(max_new_tokens=2), on_step=progress.TextReport(core, "17"))
    assert shown and not sent


def test_images_are_counted_as_they_are_encoded_and_decoded(
    core: JanusPipeline, shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core, "max_batch_size", 2)
    images = torch.rand(3, 9, 9, 3)
    core.encode_vision(images, progress.progress_callback())
    tokens = core.encode_tokens(images, progress.progress_callback())
    core.decode_tokens(tokens, progress.progress_callback())
    one_by_one = [(1, 3), (2, 3), (3, 3)]
    assert [(value, total) for value, total, _ in shown] == [(2, 3), (3, 3), *one_by_one, *one_by_one]


def test_interrupt_stops_between_two_images(core: JanusPipeline, shown: Shown, no_interrupt: None) -> None:
    tokens = torch.zeros(9, 16, dtype=torch.int64)
    hook = core.model.generation.vq.decoder.register_forward_hook(
        lambda *_: mm.interrupt_current_processing()
    )
    with pytest.raises(mm.InterruptProcessingException):
        core.decode_tokens(tokens, progress.progress_callback())
    with pytest.raises(mm.InterruptProcessingException):
        core.generate("A lake.", TokenSampling(batch_size=2), on_image=progress.ImageReport(core).check)
    hook.remove()
    assert shown == []


def test_loading_counts_bytes(shown: Shown) -> None:
    on_progress = progress.progress_callback()
    on_progress(10, 50)
    on_progress(50, 50)
    assert [(value, total) for value, total, _ in shown] == [(10, 50), (50, 50)]


@pytest.mark.parametrize("what", ["load", "text", "image"])
def test_interrupt_stops_at_the_next_step(
    core: JanusPipeline, shown: Shown, sent: list[tuple[str, str]], no_interrupt: None, what: str
) -> None:
    def interrupt_at_three(value: int, *_: object, **__: object) -> None:
        shown.append((value, 0, None))
        if len(shown) == 3:
            mm.interrupt_current_processing()

    comfy.utils.set_progress_bar_global_hook(interrupt_at_three)
    with pytest.raises(mm.InterruptProcessingException):
        if what == "load":
            on_progress = progress.progress_callback()
            for step in range(1, 100):
                on_progress(step, 100)
        elif what == "text":
            # A row that ends by itself must not end the run.
            options = TextSampling(max_new_tokens=30, temperature=2.0)
            core.understand(torch.rand(4, 9, 9, 3), "Who?", options, on_step=progress.TextReport(core, "1"))
        else:
            core.generate("A lake.", TokenSampling(), on_step=progress.ImageReport(core))
    assert len(shown) == 3
    assert not mm.processing_interrupted()

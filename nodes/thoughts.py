"""Thoughts of Janus Think and Draw: their progress, and what the node shows and outputs of them."""

import comfy.utils
from comfy_execution.graph_utils import ExecutionBlocker
from PIL import Image
from torch import Tensor

from ..janus_core import JanusPipeline, ThoughtImages
from .progress import ImageReport, TextReport

BAR_STEPS = 1000


class Thought(str):
    """A thought on a socket, usable as any text.

    Attributes:
        ids: its token ids. The tokens of its text can be others, which would be drawn differently.
        folder: of the checkpoint that they belong to.
    """

    ids: list[int]
    folder: object


def given_thought(thought: str | None, pipeline: JanusPipeline) -> str | list[list[int]] | None:
    """The thought to draw from, or None; as token ids if this checkpoint wrote it and it is unchanged."""
    if isinstance(thought, Thought) and thought.folder == pipeline.folder:
        return [thought.ids]
    return thought if thought is None else str(thought)


def thought_outputs(drawn: ThoughtImages, pipeline: JanusPipeline) -> list[object]:
    """The thought of each image, or its reflections; without any, a value that blocks later nodes."""
    thoughts: list[object] = []
    for text, ids in zip(drawn.thoughts, drawn.thought_ids, strict=True):
        thought = Thought(text)
        thought.ids, thought.folder = list(ids), pipeline.folder
        thoughts.append(thought)
    thoughts += ["\n\n".join(map(str, reflections)) for reflections in drawn.reflections if reflections]
    return thoughts or [ExecutionBlocker(None)]


def verdicts(drawn: ThoughtImages) -> list[object]:
    """P(Yes) of each image that was kept; without any, a value that blocks later nodes."""
    if drawn.verdicts is None:
        return [ExecutionBlocker(None)]
    return drawn.verdicts.gather(1, drawn.kept[:, None])[:, 0].tolist()


def shown_thoughts(drawn: ThoughtImages) -> list[str]:
    """For each image: its thought, its reflections, and how it was judged."""
    texts = []
    for index in range(len(drawn.images)):
        parts = [drawn.thoughts[index].strip()] if drawn.thoughts else []
        parts += [reflection.strip() for reflection in drawn.reflections[index]]
        if drawn.verdicts is not None:
            parts.append(_judgement(drawn.verdicts[index], int(drawn.kept[index])))
        texts.append("\n".join(parts))
    return texts


def _judgement(row: Tensor, kept: int) -> str:
    """How the images of all rounds [1 + rounds] were judged; NaN where none was drawn."""
    judged = [f"{value:.2f}" for value in row.tolist() if value == value]
    if len(judged) == 1:
        return f"[P(Yes) {judged[0]}]"
    which = "the first one is kept" if kept == 0 else f"number {kept + 1} is kept"
    return f"[P(Yes) {', drawn again '.join(judged)}; {which}]"


class _Halves:
    """A progress bar that two loops move, whose numbers of steps are not known before their first ones.

    Attributes:
        done: fractions of the steps that there can be at most.
    """

    def __init__(self) -> None:
        self.bar = comfy.utils.ProgressBar(BAR_STEPS)
        self.done = {"text": 0.0, "image": 0.0}

    def update(self, name: str, fraction: float, preview: tuple[str, Image.Image, int] | None) -> None:
        self.done[name] = fraction
        # Texts may end early: then the image after them shows that they are done.
        text = max(self.done.values())
        share = (text + self.done["image"]) / 2
        self.bar.update_absolute(round(BAR_STEPS * share), BAR_STEPS, preview)


class _Half:
    """Takes the place of ComfyUI's progress bar in one of the two loops."""

    total = BAR_STEPS

    def __init__(self, halves: _Halves, name: str) -> None:
        self._halves, self._name = halves, name

    def update_absolute(
        self, value: int, total: int, preview: tuple[str, Image.Image, int] | None = None
    ) -> None:
        self._halves.update(self._name, value / total, preview)


class ThoughtReport(TextReport):
    """Streams thoughts onto the node, and counts them in the first half of a progress bar."""

    def __init__(self, pipeline: JanusPipeline, node_id: str) -> None:
        super().__init__(pipeline, node_id)
        self.halves = _Halves()
        self.bar = _Half(self.halves, "text")
        self._unsent: Tensor | None = None

    def __call__(self, step: int, total: int, tokens: Tensor) -> None:
        """Reports a step with the tokens [B, n] so far."""
        self._unsent = tokens
        super().__call__(step, total, tokens)

    def finish(self) -> None:
        """Sends the last text, which stays on the node while the image is drawn."""
        if self._unsent is not None:
            self._send(self._unsent)
            self._unsent = None


class DrawingReport(ImageReport):
    """Shows the image drawn after a thought, and counts it in the second half of its progress bar."""

    def __init__(self, pipeline: JanusPipeline, thought: ThoughtReport) -> None:
        super().__init__(pipeline)
        self.bar = _Half(thought.halves, "image")
        self._thought = thought

    def __call__(self, step: int, total: int, tokens: Tensor) -> None:
        """Reports a step with the image tokens [B, n] so far."""
        self._thought.finish()
        super().__call__(step, total, tokens)

"""The result of captioning a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..arguments import listed


@dataclass(frozen=True)
class CaptionReport:
    """The result of captioning a folder; images are named by their path in it.

    Attributes:
        done: number of images captioned in this run.
        skipped: number of images that keep the caption they had.
        failed: for each image without a new caption, the reason.
        cut: images whose new caption was cut off at `max_new_tokens`; it is written nevertheless.
        repeating: images whose new caption ends with the same words again and again; also written.
        unread: files that look like images but are not read.
        left_out: images that the option `skip` leaves out; None if it is empty.
        without_metadata: images for which `{metadata}` was empty.
        unfamiliar: images unlike all that the checkpoint was trained on; their captions, which are written,
            mean little.
    """

    done: int = 0
    skipped: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    cut: Sequence[str] = ()
    repeating: Sequence[str] = ()
    unread: Sequence[str] = ()
    left_out: Sequence[str] | None = None
    without_metadata: Sequence[str] = ()
    unfamiliar: Sequence[str] = ()

    @property
    def text(self) -> str:
        """A line with the counts, a line for each image that failed, and one for each other list."""
        lines = [f"{self.done} captioned, {self.skipped} had a caption, {len(self.failed)} failed"]
        lines += [f"{name}: {reason}" for name, reason in self.failed.items()]
        notes: tuple[tuple[str, Sequence[str], str], ...] = (
            ("cut off at max_new_tokens", self.cut, "raise it and caption these again"),
            (
                "repeating themselves",
                self.repeating,
                "caption these again with a repetition_penalty of about 1.1",
            ),
            (
                "unlike everything that the model was trained on, so that the caption means little",
                self.unfamiliar,
                "caption photographs with Janus-Pro",
            ),
            ("not read though they look like images", self.unread, "convert them to PNG or JPEG"),
            ("without text for {metadata}", self.without_metadata, "nothing was put in its place"),
        )
        lines += [f"{len(names)} {what}: {listed(names)}; {fix}" for what, names, fix in notes if names]
        if self.left_out is not None:
            names = f": {listed(self.left_out)}" if self.left_out else ""
            lines.append(f"{len(self.left_out)} left out by skip{names}")
        return "\n".join(lines)

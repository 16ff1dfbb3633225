"""How checkpoints that edit by instruction were trained to be asked: a table."""

from __future__ import annotations

from dataclasses import dataclass

# What may fill a picture's place in a prompt: what the understanding encoder sees, or its image tokens.
VISION, TOKENS = "seen", "tokens"


@dataclass(frozen=True)
class EditForm:
    """A way to ask for an edit.

    Attributes:
        name: what `form` is called by.
        checkpoint: the release that was trained for it.
        turn: the user's turn: `{seen}` is the place of what the understanding encoder sees of the picture,
            `{tokens}` that of its tokens, `{padding}` as well, but holds padding where it is not filled;
            `{instruction}` is what was asked.
        slots: what fills these places, in order.
        rows: the slots that are filled in each row that is looked at, the one that the image should follow
            first; the last row is the unconditional one.
        blanks_whole_prompt: whether the unconditional row is padding except for its first and last token;
            if not, padding replaces the instruction alone.
        crops: whether a picture is cut to its central square, and not letterboxed.
    """

    name: str
    checkpoint: str
    turn: str
    slots: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    blanks_whole_prompt: bool
    crops: bool

    @property
    def has_partial_condition(self) -> bool:
        """Whether one row lacks the source's pixels."""
        return len(self.rows) > 2

    def active_conditions(self, guided: bool, sourced: bool) -> tuple[tuple[str, ...], ...]:
        """The rows that count.

        Args:
            guided: whether the unconditional row does.
            sourced: whether a row without the source's pixels does.
        """
        full, *part, uncond = self.rows
        return (full, *(part if sourced else ()), *((uncond,) if guided else ()))


EDIT_FORMS = {
    form.name: form
    for form in (
        # ShareGPT-4o-Image (arXiv:2506.18095), public inference.
        EditForm(
            name="janus-4o",
            checkpoint="Janus-4o-7B",
            turn="{seen}{padding}{instruction}",
            slots=(VISION, TOKENS),
            rows=((VISION, TOKENS), (VISION,), ()),
            blanks_whole_prompt=True,
            crops=False,
        ),
        # Janus-Pro-R1 (arXiv:2506.01480), public training code.
        EditForm(
            name="janus-pro-r1",
            checkpoint="Janus-Pro-R1-7B",
            turn="{tokens}{instruction} Please generate an image.",
            slots=(TOKENS,),
            rows=((TOKENS,), (TOKENS,)),
            blanks_whole_prompt=False,
            crops=True,
        ),
    )
}

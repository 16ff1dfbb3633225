"""Prompt layouts for editing by instruction, one per family of checkpoints."""

from __future__ import annotations

from dataclasses import dataclass

# What may fill an image slot of the prompt: the understanding encoder's embeddings, or the VQ tokens.
VISION, TOKENS = "vision", "tokens"


@dataclass(frozen=True)
class EditForm:
    """The prompt layout with which a checkpoint was trained to edit an image.

    The prompt has image slots, and the model reads it once per condition for classifier-free guidance. The
    conditions differ in which slots hold the source image and which hold padding. The first condition holds
    everything; the last one is unconditional; one between them, if any, lacks the source's VQ tokens.

    Attributes:
        name: the value of an edit's `form` option.
        checkpoint: the release that was trained with this layout.
        turn: template of the user's turn. `{vision}` and `{tokens}` are slots for the encoder's embeddings
            and the VQ tokens. `{padding}` is also a slot for VQ tokens, but made of padding tokens, so that
            padding is what remains when it is not filled. `{instruction}` is the user's text.
        slots: what fills the slots, in the order of `turn`.
        conditions: for each condition, the slots that are filled.
        blanks_whole_prompt: whether the unconditional prompt is all padding except for its first and last
            token; otherwise padding replaces only the instruction.
        center_crop: whether the source is cropped to its central square; otherwise it is letterboxed.
    """

    name: str
    checkpoint: str
    turn: str
    slots: tuple[str, ...]
    conditions: tuple[tuple[str, ...], ...]
    blanks_whole_prompt: bool
    center_crop: bool

    @property
    def has_partial_condition(self) -> bool:
        """Whether one condition lacks the source's VQ tokens, so that `source_scale` has an effect."""
        return len(self.conditions) > 2

    def active_conditions(self, use_cfg: bool, use_source: bool) -> tuple[tuple[str, ...], ...]:
        """The conditions that a run computes, with or without the unconditional and the partial one."""
        full, *partial, unconditional = self.conditions
        return (full, *(partial if use_source else ()), *((unconditional,) if use_cfg else ()))


EDIT_FORMS = {
    form.name: form
    for form in (
        # ShareGPT-4o-Image (arXiv:2506.18095), public inference code.
        EditForm(
            name="janus-4o",
            checkpoint="Janus-4o-7B",
            turn="{vision}{padding}{instruction}",
            slots=(VISION, TOKENS),
            conditions=((VISION, TOKENS), (VISION,), ()),
            blanks_whole_prompt=True,
            center_crop=False,
        ),
        # Janus-Pro-R1 (arXiv:2506.01480), public training code.
        EditForm(
            name="janus-pro-r1",
            checkpoint="Janus-Pro-R1-7B",
            turn="{tokens}{instruction} Please generate an image.",
            slots=(TOKENS,),
            conditions=((TOKENS,), (TOKENS,)),
            blanks_whole_prompt=False,
            center_crop=True,
        ),
    )
}

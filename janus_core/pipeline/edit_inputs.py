"""What may be asked of an edit: one picture, an instruction, and a form that goes with the checkpoint."""

from __future__ import annotations

from torch import Tensor

from ..processing.edit_forms import EDIT_FORMS
from ..processing.prompts import PromptBuilder
from ..sampling.options import EditSampling

AUTO, MASK = "auto", "mask"
FORMS = (AUTO, *EDIT_FORMS, MASK)


def checked_options(options: EditSampling | None) -> EditSampling:
    """The same options, or the default ones.

    Raises:
        ValueError: if they are those of something else.
    """
    if options is None:
        return EditSampling()
    if not isinstance(options, EditSampling):
        raise ValueError(
            f"options must be EditSampling, got {type(options).__name__}; use EditSampling, which takes what "
            "TokenSampling takes as well"
        )
    return options


def checked_form(name: str, mask: Tensor | None, trained: str | None, checkpoint: str) -> str:
    """Which form an edit takes: one of `EDIT_FORMS`, or with a mask, and only then, `mask`.

    Args:
        name: one of `FORMS`.
        mask: what `edit` was given.
        trained: name of the form that the checkpoint is known to have been trained for; None if of none.
        checkpoint: its name, for messages.

    Raises:
        ValueError: if the name is none, or the checkpoint or the mask does not go with it.
    """
    if name not in FORMS:
        raise ValueError(f"form must be one of {', '.join(FORMS)}, got {name!r}; choose one of these")
    if name == AUTO:
        name = MASK if mask is not None else trained or AUTO
    if name == AUTO:
        able = " or ".join(f"{form.checkpoint} ({form.name})" for form in EDIT_FORMS.values())
        raise ValueError(
            f"model must be trained to edit by instruction, got {checkpoint!r}, which is not known to be; "
            f"load {able}, set form if it is one of these by another name, or pass a mask of what to redraw"
        )
    if name == MASK and mask is None:
        raise ValueError("mask must be given for form 'mask', got none; pass a mask of what to redraw")
    if name != MASK and mask is not None:
        raise ValueError(
            f"mask must be None for form {name!r}, which changes the whole picture, got a mask; set form to "
            "'mask', or leave it out"
        )
    return name


def checked_instruction(instruction: str, prompts: PromptBuilder) -> str:
    """The same instruction.

    Raises:
        ValueError: if it holds nothing, or what would be read as something else than text.
    """
    if not isinstance(instruction, str) or not instruction.strip():
        raise ValueError(
            f"instruction must hold text, got {instruction!r}; say what to change, or with a mask, what the "
            "whole picture should show"
        )
    if found := prompts.tokenizer.special_tokens_in(instruction):
        raise ValueError(
            f"instruction must hold no special tokens, got {', '.join(found)} in {instruction!r}; remove them"
        )
    return instruction


def source_picture(image: Tensor) -> Tensor:
    """The one picture to edit, [1, H, W, C].

    Args:
        image: [1, H, W, C] or [H, W, C].

    Raises:
        ValueError: if it is no tensor of one image.
    """
    shape = list(image.shape) if isinstance(image, Tensor) else type(image).__name__
    if isinstance(image, Tensor) and image.ndim == 3:
        image = image[None]
    if not isinstance(image, Tensor) or image.ndim != 4 or 0 in image.shape or len(image) != 1:
        raise ValueError(
            f"image must be one picture [1, H, W, C], got {shape}; edit several one after the other"
        )
    return image

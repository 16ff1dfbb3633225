"""Checked requests to edit an image."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..arguments import checked_text
from ..processing.edit_forms import EDIT_FORMS
from ..processing.prompts import PromptBuilder
from ..sampling.options import EditSampling

AUTO, MASK = "auto", "mask"
EDIT_FORM_CHOICES = (AUTO, *EDIT_FORMS, MASK)


@dataclass(frozen=True)
class EditRequest:
    """What to change in one image.

    Attributes:
        image: [1, H, W, C] in [0, 1].
        instruction: the change; with a mask, a description of the whole result.
        options: guidance, randomness and number of images.
        form: name of the prompt form, one of `EDIT_FORMS`, or `mask`.
        mask: [H, W] or [1, H, W], above 0 where the image may change; None for other forms than `mask`.
    """

    image: Tensor
    instruction: str
    options: EditSampling
    form: str
    mask: Tensor | None


def edit_request(
    image: Tensor,
    instruction: str,
    options: EditSampling,
    mask: Tensor | None,
    form: str,
    *,
    trained_form: str | None,
    prompts: PromptBuilder,
    checkpoint: str,
) -> EditRequest:
    """Checks the arguments of `JanusPipeline.edit`, for a checkpoint with these prompts and this name.

    Raises:
        ValueError: if one of them does not fit; the message says which and how to fix it.
    """
    if not isinstance(options, EditSampling):
        raise ValueError(
            f"options must be EditSampling, got {type(options).__name__}; use EditSampling, which takes what "
            "TokenSampling takes as well"
        )
    _check_instruction(instruction, prompts)
    form = _resolve_form(form, mask, trained_form, checkpoint)
    return EditRequest(_single_image(image), instruction, options, form, mask)


def _resolve_form(name: str, mask: Tensor | None, trained: str | None, checkpoint: str) -> str:
    """The form that an edit takes: one of `EDIT_FORMS`, or with a mask, and only then, `mask`."""
    if name not in EDIT_FORM_CHOICES:
        raise ValueError(
            f"form must be one of {', '.join(EDIT_FORM_CHOICES)}, got {name!r}; choose one of these"
        )
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
            f"mask must be None for form {name!r}, which changes the whole image, got a mask; set form to "
            "'mask', or leave it out"
        )
    return name


def _check_instruction(instruction: str, prompts: PromptBuilder) -> None:
    fix = "say what to change, or with a mask, what the whole image should show"
    checked_text("instruction", instruction, fix)
    if found := prompts.tokenizer.special_tokens_in(instruction):
        raise ValueError(
            f"instruction must hold no special tokens, got {', '.join(found)} in {instruction!r}; remove them"
        )


def _single_image(image: Tensor) -> Tensor:
    """The one image to edit, [1, H, W, C]."""
    shape = list(image.shape) if isinstance(image, Tensor) else type(image).__name__
    if isinstance(image, Tensor) and image.ndim == 3:
        image = image[None]
    if not isinstance(image, Tensor) or image.ndim != 4 or 0 in image.shape or len(image) != 1:
        raise ValueError(f"image must be one image [1, H, W, C], got {shape}; edit several one by one")
    return image

"""Validates the arguments of an edit, and chooses between inpainting and the forms of instructions."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..arguments import checked_text
from ..processing.edit_forms import EDIT_FORMS
from ..processing.masks import checked_masks, fit_masks, selects_any
from ..processing.prompts import PromptBuilder
from ..sampling.options import EditSampling
from .inputs import checked_images

AUTO, MASK = "auto", "mask"
EDIT_FORM_CHOICES = (AUTO, *EDIT_FORMS, MASK)
IGNORED_MASK = "The mask is empty and was ignored: the whole image is edited by instruction."


@dataclass(frozen=True)
class EditRequest:
    """What to change in a batch of images.

    Result i is an edit of image `i // options.batch_size`.

    Attributes:
        images: [B, H, W, C] in [0, 1].
        instruction: the change; with a mask, a description of the whole result.
        options: guidance, randomness and number of results for each image.
        form: name of the prompt form, one of `EDIT_FORMS`, or `mask`.
        masks: [1 or B, H, W] float32 in [0, 1] on the CPU, above 0 where the images may change. Those that
            were empty as given are 0 throughout; at least one is not. None for other forms than `mask`.
        notes: messages for the user, such as that an empty mask was ignored.
    """

    images: Tensor
    instruction: str
    options: EditSampling
    form: str
    masks: Tensor | None
    notes: tuple[str, ...] = ()

    @property
    def num_results(self) -> int:
        """How many edited images there will be."""
        return len(self.images) * self.options.batch_size

    def source_of(self, result: int) -> int:
        """Index of the image that a result is an edit of."""
        return result // self.options.batch_size

    def mask_of(self, source: int) -> int:
        """Index of an image's mask."""
        assert self.masks is not None
        return source % len(self.masks)

    def has_empty_mask(self, source: int) -> bool:
        """Whether an image's mask was empty as given, before it was resized to the image."""
        assert self.masks is not None
        return not bool(self.masks[self.mask_of(source)].any())


def edit_request(
    images: Tensor,
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

    An empty mask is ignored if the edit works without one, and refused otherwise.

    Raises:
        ValueError: if one of them does not fit; the message says which and how to fix it.
    """
    if not isinstance(options, EditSampling):
        raise ValueError(
            f"options must be EditSampling, got {type(options).__name__}; use EditSampling, which takes what "
            "TokenSampling takes as well"
        )
    _check_instruction(instruction, prompts)
    images = checked_images(images[None] if isinstance(images, Tensor) and images.ndim == 3 else images)
    masks = None if mask is None else checked_masks(mask, len(images))
    if masks is None:
        form = _resolve_form(form, None, False, trained_form, checkpoint)
        return EditRequest(images, instruction, options, form, None)
    selects = selects_any(masks)
    form = _resolve_form(form, masks, bool(selects.any()), trained_form, checkpoint)
    if form != MASK:
        return EditRequest(images, instruction, options, form, None, (IGNORED_MASK,))
    masks = masks * selects[:, None, None]  # those with tiny values only are empty as well
    return EditRequest(images, instruction, options, form, fit_masks(masks, *images.shape[1:3]))


def _resolve_form(
    name: str, masks: Tensor | None, selects: bool, trained: str | None, checkpoint: str
) -> str:
    """The form that an edit takes: one of `EDIT_FORMS`, or with a mask that selects anything, `mask`."""
    if name not in EDIT_FORM_CHOICES:
        raise ValueError(
            f"form must be one of {', '.join(EDIT_FORM_CHOICES)}, got {name!r}; choose one of these"
        )
    if name == AUTO:
        name = MASK if selects else trained or AUTO
    if masks is not None and not selects and name in (AUTO, MASK):
        raise ValueError(
            f"mask must select what to redraw, got an empty one ({masks.shape[2]} x {masks.shape[1]} pixels, "
            f"none above {masks.max().item():g}); paint what to redraw white (Load Image gives an empty mask "
            "for an image without transparency), or edit by instruction, without a mask, with "
            f"{_able()}"
        )
    if name == AUTO:
        raise ValueError(
            f"model must be trained to edit by instruction, got {checkpoint!r}, which is not known to be; "
            f"load {_able()}, set form if it is one of these by another name, or pass a mask of what to "
            "redraw"
        )
    if name == MASK and not selects:
        raise ValueError("mask must be given for form 'mask', got none; pass a mask of what to redraw")
    if name != MASK and selects:
        raise ValueError(
            f"mask must be None for form {name!r}, which changes the whole image, got a mask; set form to "
            "'mask', or leave it out"
        )
    return name


def _able() -> str:
    """The checkpoints that edit by instruction, each with its form."""
    return " or ".join(f"{form.checkpoint} ({form.name})" for form in EDIT_FORMS.values())


def _check_instruction(instruction: str, prompts: PromptBuilder) -> None:
    fix = "say what to change, or with a mask, what the whole image should show"
    checked_text("instruction", instruction, fix)
    if found := prompts.tokenizer.special_tokens_in(instruction):
        raise ValueError(
            f"instruction must hold no special tokens, got {', '.join(found)} in {instruction!r}; remove them"
        )

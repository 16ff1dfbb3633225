"""Janus Edit: inpainting under a mask, or editing by instruction."""

import comfy.model_management as mm
from comfy_api.latest import io
from torch import Tensor

from ..janus_core import EDIT_FORM_CHOICES, EditSampling
from . import widgets
from .choices import choice_input, resolve_choice
from .memory import LoadedJanus
from .newer_schema import found_by, rare
from .own_values import given
from .progress import ImageReport
from .result import WORKFLOW, ui_output
from .sockets import checks_inputs
from .types import JanusTokens


class JanusEdit(io.ComfyNode):
    """Edits images with `JanusPipeline.edit`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="JanusEdit",
            display_name="Janus Edit",
            category=widgets.CATEGORY,
            **found_by("JanusEdit"),
            description="Inpaints the masked part of an image, with any token model, or edits the whole "
            "image by instruction, with Janus-4o, Janus-Pro-R1 or a fine-tune on edits.",
            is_output_node=True,
            hidden=list(WORKFLOW),
            inputs=[
                widgets.model_input(widgets.NO_FLOW),
                io.Image.Input(
                    "image",
                    tooltip="One or more images of any size, each of which is edited. The model works at its "
                    "own square size (384 x 384 pixels for the released models).",
                ),
                widgets.text_input(
                    "instruction",
                    widgets.EXAMPLE_PROMPT,
                    "With a mask: a description of the whole resulting image. Without: the change to make.",
                    dynamic_prompts=True,
                ),
                choice_input(
                    "form",
                    EDIT_FORM_CHOICES,
                    "auto: mask if a mask is painted, else the prompt form that the checkpoint was "
                    "trained with, by its own setting or its name. janus-4o and janus-pro-r1 choose it "
                    "for other checkpoints, and cannot be used with a mask.",
                ),
                widgets.seed_input(),
                widgets.batch_size_input("Number of edits of each image."),
                widgets.guidance_input(5.0, "instruction"),
                io.Float.Input(
                    "source_scale",
                    default=5.0,
                    min=0.0,
                    max=30.0,
                    step=0.1,
                    tooltip="Only for form janus-4o: guidance away from the source image. Low values "
                    "preserve more of it, high values follow the instruction more freely. 0 preserves most "
                    "and saves a third of the computation. The published value is 5.",
                    **rare(io.Float.Input),
                ),
                io.Int.Input(
                    "candidates",
                    default=4,
                    min=1,
                    max=64,
                    tooltip="Only with a mask: inpaintings to generate per image. The one that best fits "
                    "the kept content to the right of and below the mask is used. 1 uses the first.",
                    **rare(io.Int.Input),
                ),
                widgets.fraction_input(
                    "strength",
                    1.0,
                    "Only with a mask: fraction of the masked tokens (16 x 16 pixels each, at the model's "
                    "size) to replace, chosen at random. Below 1 gives variations; 0 changes nothing.",
                ),
                widgets.image_temperature_input(),
                *widgets.image_truncation_inputs(),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="White is inpainted; pixels under black stay exactly as they are. One mask for "
                    "all images, or one for each. A mask of another size is resized; an all-black one counts "
                    "as none.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="image",
                    tooltip="Edits of the first image come first. With a mask: the size of the input image. "
                    "By instruction: the model's own size.",
                ),
                JanusTokens.Output(
                    display_name="tokens",
                    tooltip="The images at the model's size as image tokens, for VQ Decode.",
                ),
                io.Mask.Output(
                    display_name="changed",
                    tooltip="White where an image may have changed; by instruction, where its tokens differ.",
                ),
            ],
        )

    @classmethod
    @checks_inputs
    def execute(
        cls, model: LoadedJanus, image: Tensor, instruction: str, form: str, mask=None, **sampling
    ) -> io.NodeOutput:
        options = model.image_options(EditSampling(**given(sampling)))
        form = resolve_choice("form", form, EDIT_FORM_CHOICES)
        report = ImageReport(model.pipeline)
        edited = model.pipeline.edit(
            image, instruction, options, mask=mask, form=form, on_step=report, on_image=report.check
        )
        report.show(edited.images)
        outputs = (edited.images, edited.tokens, edited.changed)
        device = mm.intermediate_device()
        # Never without texts: results of a run over a list are merged by the keys of the first.
        shown = {"text": []} | ui_output(cls, edited.notes or None, edited.images, own=[options])
        return io.NodeOutput(*(each.to(device) for each in outputs), ui=shown)

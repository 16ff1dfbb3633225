"""Edit: a picture and what to change in it to pictures."""

import comfy.model_management as mm
from comfy_api.latest import io

from ..janus_core import EDIT_FORM_CHOICES, EditSampling
from .memory import LoadedJanus
from .progress import ImageReport
from .result import WORKFLOW, shown
from .types import (
    CATEGORY,
    NO_FLOW,
    JanusTokens,
    batch_size_input,
    chosen,
    guidance_input,
    model_input,
    seed_input,
    temperature_input,
    top_k_input,
    top_p_input,
)


class JanusEdit(io.ComfyNode):
    """A picture, an instruction and perhaps a mask in, pictures out; the work is `JanusPipeline.edit`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="JanusEdit",
            display_name="Janus Edit",
            category=CATEGORY,
            description="Redraws what lies under a mask, with any checkpoint that draws by tokens; or "
            "changes a picture as it is told, with Janus-4o or Janus-Pro-R1.",
            is_output_node=True,
            hidden=list(WORKFLOW),
            inputs=[
                model_input(NO_FLOW),
                io.Image.Input(
                    "image",
                    tooltip="One picture of any size. The model sees and draws its own square (384 x 384 "
                    "pixels of the released models).",
                ),
                io.String.Input(
                    "instruction",
                    multiline=True,
                    dynamic_prompts=True,
                    default="A red star and a blue circle on a white background.",
                    tooltip="With a mask: what the whole picture should show. Without: what to change in it.",
                ),
                io.Combo.Input(
                    "form",
                    options=list(EDIT_FORM_CHOICES),
                    default="auto",
                    tooltip="auto: mask if one is connected, else what the checkpoint was trained for, told "
                    "by its name. janus-4o and janus-pro-r1, for one of these by another name, follow an "
                    "instruction and refuse a mask.",
                ),
                seed_input("Start of the random draw; image i of a batch is the single image of seed + i."),
                batch_size_input("Pictures to make of this one."),
                guidance_input(5.0, "instruction"),
                io.Float.Input(
                    "source_scale",
                    default=5.0,
                    min=0.0,
                    max=30.0,
                    step=0.1,
                    tooltip="How far it may leave the picture's own pixels, only for form janus-4o: lower "
                    "keeps more of its detail, higher follows the instruction more freely. 0 keeps most and "
                    "saves a third of the work. The model's own is 5.",
                ),
                io.Int.Input(
                    "candidates",
                    default=4,
                    min=1,
                    max=64,
                    tooltip="Only with a mask: redraws of each picture. The one is kept that best fits what "
                    "comes after it in drawing order: right of it and below. 1 takes the first.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Only with a mask: share of the tokens under it (each 16 x 16 pixels of the "
                    "model's own square) that are drawn anew. Below 1 makes variations; 0 changes nothing.",
                ),
                temperature_input(
                    1.0, "1 is what the models were trained for; lower is less varied; 0 is greedy."
                ),
                top_k_input(),
                top_p_input(),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="White is redrawn, black stays as it is to the last bit. One of another size is "
                    "resized.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="image",
                    tooltip="With a mask as large as the picture, else the model's own square.",
                ),
                JanusTokens.Output(
                    display_name="tokens", tooltip="The model's squares as codebook ids, for VQ Decode."
                ),
                io.Mask.Output(
                    display_name="changed",
                    tooltip="White where a picture may have changed; by instruction, where other tokens were "
                    "drawn.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls, model: LoadedJanus, image, instruction: str, form: str, mask=None, **options
    ) -> io.NodeOutput:
        sampling, form = EditSampling(**options), chosen("form", form, EDIT_FORM_CHOICES)
        report = ImageReport(model.pipeline)
        edited = model.pipeline.edit(
            image, instruction, sampling, mask=mask, form=form, on_step=report, on_image=report.check
        )
        report.show(edited.images)
        device, images = mm.intermediate_device(), shown(cls, images=edited.images)
        return io.NodeOutput(
            edited.images.to(device), edited.tokens.to(device), edited.changed.to(device), ui=images
        )

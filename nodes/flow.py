"""JanusFlow Sampler: a description to latents that any SDXL VAE decodes."""

import comfy.model_management as mm
from comfy_api.latest import io
from torch import Tensor

from ..janus_core import SOLVERS, FlowSampling
from .memory import LoadedJanus
from .progress import LatentReport
from .types import CATEGORY, drawing_inputs, guidance_input, model_input


class JanusFlowSampler(io.ComfyNode):
    """A prompt in, latents out; the work is `JanusPipeline.generate`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="JanusFlowSampler",
            display_name="JanusFlow Sampler",
            category=CATEGORY,
            description="Draws latents of a description with JanusFlow, for VAE Decode with SDXL's VAE.",
            inputs=[
                model_input("It must be a JanusFlow checkpoint."),
                *drawing_inputs(),
                io.Int.Input(
                    "steps",
                    default=30,
                    min=1,
                    max=1000,
                    tooltip="Steps from noise to image. The model's own is 30, with euler.",
                ),
                guidance_input(2.0),
                io.Combo.Input(
                    "solver",
                    options=list(SOLVERS),
                    default="euler",
                    tooltip="euler: as the model was published. midpoint and heun are more exact and take "
                    "twice as long per step: 15 of their steps cost what 30 of euler do.",
                ),
                io.Float.Input(
                    "denoise",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="How much of the latent is drawn anew: 1 starts from noise alone, 0 gives it "
                    "back. Below 1 it needs a latent.",
                ),
                io.Latent.Input(
                    "latent",
                    optional=True,
                    tooltip="Image to start from where denoise is below 1: VAE Encode of 384 x 384 pixels "
                    "with SDXL's VAE; one, or as many as batch_size.",
                ),
            ],
            outputs=[io.Latent.Output(display_name="latent", tooltip="For VAE Decode with SDXL's VAE.")],
        )

    @classmethod
    def execute(
        cls, model: LoadedJanus, prompt: str, negative_prompt: str, steps: int, latent=None, **options
    ) -> io.NodeOutput:
        sampling = FlowSampling(num_steps=steps, **options)
        pipeline, scale = model.pipeline, model.pipeline.latent_scale
        latents = None if latent is None else _samples(latent) * scale
        drawn = pipeline.generate(
            prompt,
            sampling,
            negative_prompt=negative_prompt,
            latents=latents,
            pixels=False,
            on_step=LatentReport(),
        )
        return io.NodeOutput({"samples": (drawn.latents / scale).to(mm.intermediate_device())})


def _samples(latent: dict[str, Tensor]) -> Tensor:
    """The latents in float32, before scaling could round them.

    Raises:
        ValueError: if only a part of them should be drawn.
    """
    if latent.get("noise_mask") is not None:
        raise ValueError(
            "latent must have no noise_mask, as the whole image is drawn, got one; take it from VAE Encode, "
            "without Set Latent Noise Mask"
        )
    return latent["samples"].float()

"""JanusFlow Sampler: SDXL latents from a prompt, by a flow model."""

import comfy.model_management as mm
from comfy_api.latest import io
from torch import Tensor

from ..janus_core import SOLVERS, FlowSampling
from . import widgets
from .choices import choice_input
from .memory import LoadedJanus
from .newer_schema import found_by, rare
from .own_values import given
from .progress import LatentReport
from .result import ui_output
from .sockets import checks_inputs


class JanusFlowSampler(io.ComfyNode):
    """Generates latents with `JanusPipeline.generate`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="JanusFlowSampler",
            display_name="JanusFlow Sampler",
            category=widgets.CATEGORY,
            **found_by("JanusFlowSampler"),
            description="Generates latents from a prompt with JanusFlow, for VAE Decode.",
            inputs=[
                widgets.model_input("It must be a JanusFlow checkpoint."),
                *widgets.generation_inputs(),
                widgets.own_count("steps", 1000, "Number of solver steps.", 30),
                widgets.guidance_input(2.0),
                choice_input(
                    "solver",
                    SOLVERS,
                    "ODE solver. euler is the published one. midpoint and heun are more accurate and "
                    "evaluate the model twice per step: 15 of their steps cost as much as 30 of euler.",
                    **rare(io.Combo.Input),
                ),
                widgets.fraction_input(
                    "denoise",
                    1.0,
                    "Amount of noise added to the latent before sampling: 1 starts from pure noise, 0 "
                    "returns the latent unchanged. Values below 1 need a latent.",
                ),
                io.Latent.Input(
                    "latent",
                    optional=True,
                    tooltip="Starting image for denoise below 1: an image of the model's own size (384 x 384 "
                    "pixels for the released model) from VAE Encode, with the model's VAE; one latent, or "
                    "batch_size of them.",
                ),
            ],
            outputs=[
                io.Latent.Output(
                    display_name="latent",
                    tooltip="For VAE Decode with the model's VAE: that of Load Janus-Pro, or SDXL's for the "
                    "released model.",
                )
            ],
        )

    @classmethod
    @checks_inputs
    def execute(
        cls, model: LoadedJanus, prompt: str, negative_prompt: str, latent=None, **sampling
    ) -> io.NodeOutput:
        options = model.image_options(FlowSampling(**given(sampling)))
        scale = model.pipeline.latent_scale
        generated = model.pipeline.generate(
            prompt,
            options,
            negative_prompt=negative_prompt,
            latents=None if latent is None else _samples(latent) * scale,
            pixels=False,
            on_step=LatentReport(model.pipeline),
        )
        samples = (generated.latents / scale).to(mm.intermediate_device())
        return io.NodeOutput({"samples": samples}, ui=ui_output(cls, own=[options]))


def _samples(latent: dict[str, Tensor]) -> Tensor:
    """The latents in float32, so that scaling does not round them.

    Raises:
        ValueError: if they have a noise mask.
    """
    if latent.get("noise_mask") is not None:
        raise ValueError(
            "latent must have no noise_mask, as the whole image is sampled, got one; take it from VAE "
            "Encode, without Set Latent Noise Mask"
        )
    return latent["samples"].float()

"""Image generation by rectified flow: a velocity field, integrated from noise (arXiv:2209.03003)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..models.janus import Janus
from ..prompt_batch import PromptBatch
from .decoding import prefill
from .guidance import guide
from .logits import check_finite
from .options import FlowSampling
from .seeds import seeded_generator
from .solvers import SOLVERS
from .steps import OnStep, ignore_step


def integrate_flow(
    model: Janus,
    prompt: PromptBatch,
    options: FlowSampling,
    images: Sequence[int],
    on_step: OnStep = ignore_step,
    noise: Tensor | None = None,
    latents: Tensor | None = None,
) -> Tensor:
    """Generates several images of one prompt (JanusFlow, arXiv:2411.07975, section 3.3).

    The reference reads the prompt again at each step. Reading it once has the same result, because attention
    is causal. The reference also rounds state and time to the model's dtype; here both are float32.

    The prompt is one sequence, and with guidance the unconditional one after it. `images` holds the index of
    each image in the whole batch of `options.batch_size`. Image i starts from the noise of seed + i, or from
    item i of `noise` [batch_size, 4, h, w]. Where `options.denoise` is below 1, that noise is mixed with
    `latents` [batch_size or 1, 4, h, w]. ValueError if noise or latents do not fit.

    Returns:
        [B, 4, h, w] float32 latents in the space of the flow, B being `len(images)`.
    """
    device, dtype = prompt.input_ids.device, model.body.norm.weight.dtype
    start = 1.0 - options.denoise
    if latents is None and start > 0.0:
        raise ValueError(
            f"denoise must be 1 without latents, got {options.denoise}; pass latents, or set it to 1"
        )

    # The initial state: noise, or a mixture of noise and latents.
    state = _initial_noise(model, options, images, noise).to(device)
    if latents is not None:
        side = model.generation.config.image_size
        fix = f"encode images of {side} x {side} pixels with the model's VAE, one or batch_size of them"
        clean = _checked("latents", latents, model, (1, options.batch_size), fix)
        clean = (clean[list(images)] if len(clean) > 1 else clean).to(device)
        # A point on the flow's straight path from noise to image (arXiv:2209.03003, equation 1).
        state = start * clean + (1.0 - start) * state
    if options.denoise == 0.0:
        return state

    # Integrate from there to time 1.
    field = VelocityField(model, prompt, options.guidance_scale, len(images))
    solve, span = SOLVERS[options.solver], options.denoise / options.num_steps
    for step in range(options.num_steps):
        state = solve(field, state, start + step * span, span)
        if step == 0:
            check_finite(state, dtype, "latents")
        on_step(step + 1, options.num_steps, state)
    check_finite(state, dtype, "latents")
    return state


class VelocityField:
    """The guided velocity of the latents of some images, given a prompt that is read once."""

    def __init__(self, model: Janus, prompt: PromptBatch, guidance_scale: float, images: int) -> None:
        self.model = model
        self.guidance_scale = guidance_scale
        self.num_conditions = prompt.input_ids.shape[0]
        num_tokens = model.generation.config.num_tokens
        self.cache, _ = prefill(model, prompt, model.embed_prompt(prompt), num_tokens, images)
        self.position_ids = prompt.next_positions(num_tokens).repeat_interleave(images, dim=0)

    def __call__(self, latents: Tensor, time: float) -> Tensor:
        """The velocity [B, 4, h, w] float32 at latents [B, 4, h, w] and a time in [0, 1]."""
        generation = self.model.flow_generation
        timestep = torch.full((len(latents),), time, device=latents.device, dtype=torch.float32)
        inputs_embeds, skip, time_embeds = (
            # All conditions read the same latents.
            embeds.repeat(self.num_conditions, *[1] * (embeds.ndim - 1))
            for embeds in generation.embed_latents(latents, timestep)
        )
        prompt_end = self.cache.length
        hidden_states = self.model.body(inputs_embeds, self.position_ids, self.cache)
        self.cache.rewind(prompt_end)
        return guide(generation.velocity(hidden_states, skip, time_embeds).float(), self.guidance_scale)


def _initial_noise(
    model: Janus, options: FlowSampling, images: Sequence[int], noise: Tensor | None
) -> Tensor:
    """Float32 noise [B, 4, h, w] of some images: the given one, or that of their seeds."""
    if noise is not None:
        fix = "draw it with torch.randn for each image, or leave it out"
        return _checked("noise", noise, model, (options.batch_size,), fix)[list(images)]
    shape = model.flow_generation.config.latent_shape
    # Explicit device and dtype, because a host may have changed torch's defaults.
    drawn = torch.empty(len(images), *shape, device="cpu", dtype=torch.float32)
    for values, image in zip(drawn, images, strict=True):
        values.normal_(generator=seeded_generator(options.seed, image))
    return drawn


def _checked(name: str, values: Tensor, model: Janus, counts: tuple[int, ...], fix: str) -> Tensor:
    """Returns given noise or latents as float32, or raises ValueError if the model cannot use them."""
    shape = model.flow_generation.config.latent_shape
    count = " or ".join(str(count) for count in dict.fromkeys(counts))
    rule = f"{name} must be a tensor [{count}, {', '.join(map(str, shape))}] of finite numbers, got"
    if not isinstance(values, Tensor):
        raise ValueError(f"{rule} {type(values).__name__}; {fix}")
    if values.ndim != 4 or tuple(values.shape[1:]) != shape or values.shape[0] not in counts:
        raise ValueError(f"{rule} shape {list(values.shape)}; {fix}")
    values = values.float()
    # Not left to the model: mixed with weight 0, NaN and infinity would still spread.
    if not bool(torch.isfinite(values).all()):
        raise ValueError(f"{rule} NaN or infinity; {fix}")
    return values

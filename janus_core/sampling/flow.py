"""Drawing an image by following a velocity field from noise (rectified flow, arXiv:2209.03003, section 2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..models.janus import Janus
from ..prompt_batch import PromptBatch
from .guidance import guide
from .logits import check_finite
from .options import FlowSampling
from .seeds import row_generator
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
    """Draws several images of one prompt (JanusFlow, arXiv:2411.07975, section 3.3).

    The reference reads the prompt anew at each step; here it is read once, which changes nothing, because
    attention is causal. It also rounds state and time to the model's dtype; here both are float32.

    Args:
        model: a model that generates by a flow; it computes where the prompt lies.
        prompt: the prompt's row, and with guidance the unconditional row behind it.
        options: steps, guidance and randomness; `batch_size` says how many rows `noise` and `latents` have,
            `images` which of them are drawn.
        images: index of each image in the whole batch; image i starts from the noise of seed + i.
        on_step: told of every step; may raise to cancel.
        noise: [batch_size, 4, h, w] in place of the seeded noise.
        latents: [batch_size or 1, 4, h, w] to start from where `options.denoise` is below 1.

    Returns:
        [B, 4, h, w] float32 latents in the space that the flow integrates, B being `len(images)`.

    Raises:
        ValueError: if noise or latents do not fit.
    """
    device = prompt.input_ids.device
    start = 1.0 - options.denoise
    state = _first_noise(model, options, images, noise).to(device)
    if latents is None and start > 0.0:
        raise ValueError(
            f"denoise must be 1 without latents to start from, got {options.denoise}; pass latents, or set "
            "it to 1"
        )
    if latents is not None:
        side = model.generation.config.image_size
        encode = f"encode images of {side} x {side} pixels with SDXL's VAE, as many as batch_size says"
        clean = _checked("latents", latents, model, (1, options.batch_size), encode)
        clean = (clean[list(images)] if len(clean) > 1 else clean).to(device)
        # The flow's own path from noise to image (arXiv:2209.03003, equation 1), entered on the way.
        state = start * clean + (1.0 - start) * state
    if options.denoise == 0.0:
        return state
    field = VelocityField(model, prompt, options.guidance_scale, len(images))
    solve, span = SOLVERS[options.solver], options.denoise / options.num_steps
    for step in range(options.num_steps):
        state = solve(field, state, start + step * span, span)
        if step == 0:
            check_finite(state, model.body.norm.weight.dtype, "latents")
        on_step(step + 1, options.num_steps, state)
    check_finite(state, model.body.norm.weight.dtype, "latents")
    return state


class VelocityField:
    """The guided velocity of some images' latents, behind a prompt that is read once."""

    def __init__(self, model: Janus, prompt: PromptBatch, guidance_scale: float, images: int) -> None:
        """Reads the prompt.

        Args:
            model: a model that generates by a flow.
            prompt: one row, or with guidance two.
            guidance_scale: weight of the first row against the second.
            images: rows of the states that will be looked at.
        """
        self.model = model
        self.guidance_scale = guidance_scale
        self.rows_per_image = prompt.input_ids.shape[0]
        num_tokens = model.generation.config.num_tokens
        inputs_embeds = model.embed_prompt(prompt)
        visible = prompt.attention_mask if prompt.padded else None
        cache = model.body.new_cache(self.rows_per_image, prompt.length, inputs_embeds.device, visible)
        model.body(inputs_embeds, prompt.position_ids, cache)
        self.cache = cache.repeat(images, prompt.length + num_tokens)
        last = prompt.position_ids[:, -1:].repeat_interleave(images, dim=0)
        self.position_ids = last + torch.arange(1, num_tokens + 1, device=last.device)

    def __call__(self, latents: Tensor, time: float) -> Tensor:
        """The velocity [B, 4, h, w] float32 at latents [B, 4, h, w] and a time in [0, 1]."""
        generation = self.model.generation
        timestep = torch.full((len(latents),), time, device=latents.device, dtype=torch.float32)
        inputs_embeds, skip, time_embeds = (
            # Both rows of an image look at the same latents.
            part.repeat(self.rows_per_image, *[1] * (part.ndim - 1))
            for part in generation.embed_latents(latents, timestep)
        )
        length = self.cache.length
        hidden_states = self.model.body(inputs_embeds, self.position_ids, self.cache)
        self.cache.rewind(length)
        return guide(generation.velocity(hidden_states, skip, time_embeds).float(), self.guidance_scale)


def _first_noise(model: Janus, options: FlowSampling, images: Sequence[int], noise: Tensor | None) -> Tensor:
    if noise is not None:
        draw = "draw it with torch.randn for each image, or leave it out"
        return _checked("noise", noise, model, (options.batch_size,), draw)[list(images)]
    shape = model.generation.config.latent_shape
    # On the generators' device, and not in torch's default dtype, which a host may have changed.
    drawn = torch.empty(len(images), *shape, device="cpu", dtype=torch.float32)
    for row, image in zip(drawn, images, strict=True):
        row.normal_(generator=row_generator(options.seed, image))
    return drawn


def _checked(name: str, values: Tensor, model: Janus, rows: tuple[int, ...], fix: str) -> Tensor:
    """Given noise or latents as float32, if they are those of an image of this model."""
    shape = model.generation.config.latent_shape
    count = " or ".join(str(row) for row in dict.fromkeys(rows))
    rule = f"{name} must be a tensor [{count}, {', '.join(map(str, shape))}] of finite numbers, got"
    if not isinstance(values, Tensor):
        raise ValueError(f"{rule} {type(values).__name__}; {fix}")
    if values.ndim != 4 or tuple(values.shape[1:]) != shape or values.shape[0] not in rows:
        raise ValueError(f"{rule} shape {list(values.shape)}; {fix}")
    values = values.float()
    # Even a weight of 0 would not take these out of the mixture with noise.
    if not bool(torch.isfinite(values).all()):
        raise ValueError(f"{rule} NaN or infinity; {fix}")
    return values

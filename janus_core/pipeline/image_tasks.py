"""Tasks that draw, encode and decode images."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, overload

import torch
from torch import Tensor

from ..models.parts import CODING, DRAWING, SEEING, Parts
from ..processing.images import to_images
from ..sampling.image_sampler import IMAGE_SAMPLERS
from ..sampling.options import Drawing, EditSampling, FlowSampling, TokenSampling, resolved
from ..sampling.results import EditedImages, GeneratedImages, GeneratedLatents
from ..sampling.steps import OnImage, OnStep, ignore_image, ignore_step, may_preview, part_of
from .drawing import drawing_request, plan_drawing, prompt_batch
from .edit_notes import notes_on_results
from .edit_request import AUTO, edit_request
from .edit_runs import EditRun
from .editing import changed_cells, draw_edit
from .inpainting import blend_edits, draw_masked, plan_inpainting
from .inputs import VisionFeatures, checked_images, checked_options, checked_tokens
from .rows import Chunk, fit, in_groups
from .runtime import Runtime
from .vision import encode_vision
from .workspace import codec_bytes, vision_bytes

_log = logging.getLogger(__name__)


class ImageTasks(Runtime):
    """What a model draws, and its two image encoders; `JanusPipeline` describes the callbacks."""

    @torch.no_grad()
    def generate(
        self,
        prompt: str | Sequence[str],
        options: TokenSampling | FlowSampling | None = None,
        *,
        negative_prompt: str = "",
        noise: Tensor | None = None,
        latents: Tensor | None = None,
        pixels: bool = True,
        rows: Sequence[int] | None = None,
        on_step: OnStep = ignore_step,
        on_image: OnImage = ignore_image,
    ) -> GeneratedImages | GeneratedLatents:
        """Draws images of a description.

        Args:
            prompt: what to draw; one description, or several that are drawn together.
            options: guidance, randomness and number of images of each prompt, of the class that the model
                draws with; the checkpoint's own by default.
            negative_prompt: replaces the unconditional prompt: what to move away from. No effect without
                guidance (scale 1).
            noise: [B, 4, h, w] in place of the seeded noise, for a flow model.
            latents: [B or 1, 4, h, w] to start from where `options.denoise` is below 1, for a flow model.
            pixels: whether to decode images, and not only to return their tokens or latents.
            rows: what is added to the seed for each image, those of a prompt adjacent; 0, 1, … by default.
            on_step: see `JanusPipeline`.
            on_image: see `JanusPipeline`.
        """
        options = self.image_options(options)
        sampler = IMAGE_SAMPLERS[type(self.model.generation)]
        starts = sampler.checked_starts({"noise": noise, "latents": latents}, self.folder.name)
        request = drawing_request(prompt, negative_prompt, options.batch_size, rows, starts)
        pixels = pixels and self.model.generation.can_decode
        prompts = cache(partial(prompt_batch, self, request, options, sampler))
        runtime, runs = fit(
            self,
            DRAWING,
            lambda smaller: plan_drawing(
                smaller, request, options, sampler, prompts, pixels=pixels, preview=may_preview(on_step)
            ),
        )

        def draw(run: EditRun, number: int, count: int) -> Any:
            return sampler.sample(
                self.model,
                prompts(tuple(run.sources)).to(self.device),
                options,
                [request.seed_offsets[row] for row in run.rows],
                part_of(on_step, number, count),
                **starts,
                **({"num_sources": len(run.sources)} if sampler.joins_prompts else {}),
            )

        def decode(samples: Tensor) -> Tensor | None:
            return runtime._decode(samples, on_image) if pixels else None

        return sampler.result(list(in_groups(runtime, runs, draw)), decode)

    @torch.no_grad()
    def edit(
        self,
        image: Tensor,
        instruction: str,
        options: EditSampling | None = None,
        *,
        mask: Tensor | None = None,
        form: str = AUTO,
        on_step: OnStep = ignore_step,
        on_image: OnImage = ignore_image,
    ) -> EditedImages:
        """Inpaints images under masks, with any token model, or edits them by instruction.

        Args:
            image: one image [H, W, C] or a batch [B, H, W, C] in [0, 1], of any size.
            instruction: what to change; with a mask, what the whole image should show.
            options: guidance, randomness, candidates and number of edits of each image.
            mask: [H, W], or a batch [B, H, W] with one for each image, above 0 where the image may change. A
                token is drawn again if any masked pixel falls on it; every pixel outside the mask stays as it
                is. Masks that are empty (no value reaches half a step of 8 bits) count as none; if only some
                of a batch are, their images stay as they are.
            form: `mask`; or the form of the prompt, `janus-4o` or `janus-pro-r1`; `auto` is `mask` if there
                is one, else what the checkpoint was trained for.
            on_step: see `JanusPipeline`.
            on_image: see `JanusPipeline`.

        Returns:
            With a mask, images of the sources' size; else, the model's own squares. The edits of the first
            image come first. `notes` say what was not done as asked; they are logged as well.
        """
        options = self.image_options(EditSampling() if options is None else options)
        request = edit_request(
            image,
            instruction,
            options,
            mask,
            form,
            trained_form=self.edit_form,
            prompts=self.prompts,
            checkpoint=self.folder.name,
        )
        if request.masks is None:
            drawn, source_tokens = draw_edit(self, request, on_step)
            images = self._decode(drawn.tokens, on_image)
            changed = changed_cells(drawn.tokens, source_tokens, images)
        else:
            plan = plan_inpainting(self, request)
            drawn, source_tokens = draw_masked(self, request, plan, on_step)
            images, changed = blend_edits(self, request, plan, self._decode(drawn.tokens, on_image))
        notes = (*request.notes, *notes_on_results(request, drawn.tokens, source_tokens, changed))
        for note in notes:
            _log.warning(note)
        return EditedImages(images, drawn.tokens, changed, drawn.passes, notes)

    @overload
    def image_options(self, options: Drawing) -> Drawing: ...

    @overload
    def image_options(self, options: None = None) -> TokenSampling | FlowSampling: ...

    def image_options(
        self, options: TokenSampling | FlowSampling | None = None
    ) -> TokenSampling | FlowSampling:
        """The options with the checkpoint's own value for each that is None, or for all without options.

        Raises:
            ValueError: if the model draws with options of the other class.
        """
        options = checked_options(options, self.default_options, (TokenSampling, FlowSampling))
        sampler = IMAGE_SAMPLERS[type(self.model.generation)]
        return resolved(sampler.checked_options(options, self.folder.name), self.default_options)

    @torch.no_grad()
    def encode_vision(self, images: Tensor, on_image: OnImage = ignore_image) -> VisionFeatures:
        """Features of images [B, H, W, C] in [0, 1] by the understanding encoder, for `understand`."""
        count = len(checked_images(images))
        return encode_vision(self._reserving(SEEING, vision_bytes, count), images, on_image)

    @torch.no_grad()
    def encode_tokens(self, images: Tensor, on_image: OnImage = ignore_image) -> Tensor:
        """Image tokens [B, N] of images [B, H, W, C] in [0, 1], letterboxed to the model's square."""
        self.image_options(TokenSampling())
        images = checked_images(images)
        return self._reserving(CODING, codec_bytes, 1)._encode(images, on_image)

    @torch.no_grad()
    def encode_latents(self, images: Tensor, on_image: OnImage = ignore_image) -> Tensor:
        """Latents [B, 4, h, w] of images [B, H, W, C] in [0, 1], for `generate` to start from."""
        self.image_options(FlowSampling())
        images = checked_images(images)
        return self._reserving(CODING, codec_bytes, 1)._encode(images, on_image)

    @torch.no_grad()
    def decode_tokens(self, tokens: Tensor, on_image: OnImage = ignore_image) -> Tensor:
        """Images [B, H, W, 3] in [0, 1] of tokens [B, N]; fewer whole rows decode to a shorter image."""
        tokens = self._checked_tokens(tokens)
        return self._reserving(CODING, codec_bytes, len(tokens))._decode(tokens, on_image)

    @torch.no_grad()
    def preview(self, samples: Tensor, on_image: OnImage = ignore_image) -> Tensor:
        """Images of the tokens or latents that `on_step` gets: its run has reserved the memory already."""
        is_flow = isinstance(self.image_options(), FlowSampling)
        return self._decode(samples.to(self.device) if is_flow else self._checked_tokens(samples), on_image)

    def _reserving(self, parts: Parts, needed: Callable[[Runtime, int], int], images: int) -> ImageTasks:
        """The pipeline for a run of some parts that needs this much memory for some images, reserved."""
        return fit(self, parts, lambda smaller: (None, needed(smaller, images)))[0]

    def _checked_tokens(self, tokens: Tensor) -> Tensor:
        """The image tokens on the device, or a ValueError if they or the model are of another kind."""
        self.image_options(TokenSampling())
        generation = self.model.token_generation.config
        tokens = checked_tokens(tokens, generation.grid_size, generation.vq.codebook_size)
        return tokens.to(self.device, torch.int64)

    @property
    def tokens_per_row(self) -> int:
        """Image tokens in one row of an image."""
        self.image_options(TokenSampling())  # raises if the model generates by flow
        return self.model.token_generation.config.grid_size

    @property
    def latent_scale(self) -> float:
        """Factor from a VAE's latents to those that the flow integrates."""
        self.image_options(FlowSampling())  # raises if the model generates image tokens
        return float(self.model.flow_generation.config.scaling_factor)

    def _encode(self, images: Tensor, on_image: OnImage) -> Tensor:
        """Image tokens or latents of images [B, H, W, C] in [0, 1].

        One at a time: a single image keeps a device busy, and the activations of many are large.
        """

        def encode(image: Tensor) -> Tensor:
            return self.model.generation.encode(self.image_processor.pixels(image).to(self.device))

        return self._one_by_one(encode, images, on_image)

    def _decode(self, samples: Tensor, on_image: OnImage) -> Tensor:
        """Images [B, H, W, 3] in [0, 1] of image tokens or latents, one at a time."""
        return self._one_by_one(
            lambda sample: to_images(self.model.generation.decode(sample)), samples, on_image
        )

    def _one_by_one(self, code: Callable[[Tensor], Tensor], inputs: Tensor, on_image: OnImage) -> Tensor:
        """The results of batches [1, ...] of the inputs, in one batch."""

        def run(chunk: Chunk, number: int, count: int) -> Tensor:
            result = code(inputs[chunk.rows.start : chunk.rows.stop])
            on_image(number + 1, count)
            return result

        chunks = [Chunk(range(index, index + 1)) for index in range(len(inputs))]
        return torch.cat(list(in_groups(self, chunks, run)))

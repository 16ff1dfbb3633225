"""What a loaded model can do: answer, judge, draw, encode, decode.

It is long because it is the whole public face.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .image_inputs import Images, VisionFeatures, checked_images, checked_tokens, question_rows
from .inputs import PromptBatch
from .models.janus import Janus
from .processing.chat import DEFAULT_SYSTEM_PROMPT
from .processing.images import ImageProcessor, to_images
from .processing.judging import (
    SCORE_TEMPLATE,
    VERDICTS,
    checked_options,
    first_difference,
    score_question,
)
from .processing.prompts import PromptBuilder
from .sampling import IMAGE_SAMPLERS
from .sampling.guidance import uses_guidance
from .sampling.likelihood import log_likelihoods
from .sampling.options import FlowSampling, TextSampling, TokenSampling
from .sampling.results import GeneratedImages, GeneratedLatents
from .sampling.steps import OnImage, OnStep, counted, ignore_image, ignore_step, part_of
from .sampling.text import sample_text

# Rows that are computed together. More take more memory for little more speed.
ROWS_AT_ONCE = 8


@dataclass
class JanusPipeline:
    """A model with everything that it needs to take text and pictures and to give them back.

    Attributes:
        model: the network.
        prompts: text to token rows, in the checkpoint's own format.
        image_processor: pictures to tensors.
        device: where the model computes; inputs are sent there. Its weights may lie elsewhere if their layers
            move them by themselves.
        folder: the checkpoint.
    """

    model: Janus
    prompts: PromptBuilder
    image_processor: ImageProcessor
    device: torch.device
    folder: Path

    @torch.no_grad()
    def understand(
        self,
        images: Images | None,
        question: str | Sequence[str],
        options: TextSampling | None = None,
        *,
        system_prompt: str = DEFAULT_SYSTEM_PROMPT,
        rows: Sequence[int] | None = None,
        on_step: OnStep = ignore_step,
    ) -> list[str]:
        """Answers questions about images.

        Args:
            images: [B, H, W, C] in [0, 1], one image per question; a list of such batches (or of single
                [H, W, C] images) to show several images in each question, first images first; what
                `encode_vision` returned, in place of any of these; None to ask without an image.
            question: one for all rows, or one per row. A question may place `<image_placeholder>` itself,
                once per image; else the images stand before it.
            options: how answers are written; greedy by default.
            system_prompt: stands before the conversation; empty for none.
            rows: index of each row in a larger batch, for its seed; 0, 1, … by default.
            on_step: called as `on_step(step, total, tokens)`, with the tokens of the rows at work; may raise
                to cancel.

        Returns:
            B answers. One image (or one per place in the list) and several questions give one answer per
            question.

        Raises:
            ValueError: if an input does not fit; the message says which and how to mend it.
        """
        options = options or TextSampling()
        asked, embeds = self._asked(images, question, system_prompt)
        total = asked[-1][0].stop
        if rows is not None and len(rows) != total:
            raise ValueError(
                f"rows must be one index for each of the {total} rows, got {len(rows)}; leave them out"
            )
        answers: list[str] = []
        for index, (chunk, batch) in enumerate(asked):
            tokens = sample_text(
                self.model,
                batch.to(self.device),
                embeds(chunk),
                options,
                self.prompts.tokenizer.eos_id,
                chunk if rows is None else rows[chunk.start : chunk.stop],
                part_of(on_step, index, len(asked)),
            )
            answers += self.decode_text(tokens)
        return answers

    @torch.no_grad()
    def score(
        self,
        images: Images,
        description: str | Sequence[str],
        *,
        template: str = SCORE_TEMPLATE,
        system_prompt: str = DEFAULT_SYSTEM_PROMPT,
        on_image: OnImage = ignore_image,
    ) -> Tensor:
        """Tells how well images match a description, in the model's own judgement.

        The model is asked, and the score is P(Yes) / (P(Yes) + P(No)) at the token that begins its answer
        (VQAScore, arXiv:2404.01291, takes P(Yes) alone). Where a tokenizer begins both alike, it is taken at
        the first token in which they differ.

        Args:
            images: as `understand` takes them, drawn by any model or none.
            description: what they should show; one for all rows, or one per row.
            template: the question, with {description} in it; it must be one to answer with Yes or No.
            system_prompt: stands before the question; empty for none.
            on_image: called as `on_image(done, total)` with the rows that are judged; may raise to cancel.

        Returns:
            [B] float32 in [0, 1].

        Raises:
            ValueError: if there is no image or description, or an input does not fit.
        """
        if images is None:
            raise ValueError("images must be what is to be judged, got None; pass at least one image")
        descriptions = [description] if isinstance(description, str) else description
        questions = [score_question(template, text) for text in descriptions]
        verdicts = first_difference(*self.prompts.answers(VERDICTS, questions))
        return self._likelihoods(images, questions, verdicts, system_prompt, on_image).softmax(dim=1)[:, 0]

    @torch.no_grad()
    def choose(
        self,
        images: Images | None,
        question: str | Sequence[str],
        options: Sequence[str],
        *,
        per_token: bool = False,
        system_prompt: str = DEFAULT_SYSTEM_PROMPT,
        on_image: OnImage = ignore_image,
    ) -> Tensor:
        """Tells how likely each of some answers is to a question.

        An option counts by the likelihood of its tokens as the beginning of the model's answer, so "red" is
        never less likely than "red star", unless they are compared per token.

        Args:
            images: as `understand` takes them; None to ask without an image.
            question: one for all rows, or one per row.
            options: K answers to choose from, without regard to spaces around them.
            per_token: compares means over the tokens of an option in place of sums, so that long options are
                not at a disadvantage.
            system_prompt: stands before the question; empty for none.
            on_image: called as `on_image(done, total)` with the rows that are done; may raise to cancel.

        Returns:
            [B, K] float32 probabilities; each row sums to 1.

        Raises:
            ValueError: if there are fewer than two options, one is empty or given twice, or an input does not
                fit.
        """
        answers = self.prompts.answers(
            checked_options(options), [question] if isinstance(question, str) else question
        )
        sums = self._likelihoods(images, question, answers, system_prompt, on_image)
        lengths = sums.new_tensor([len(answer) if per_token else 1 for answer in answers])
        return (sums / lengths).softmax(dim=1)

    def decode_text(self, tokens: Tensor) -> list[str]:
        """Texts of [B, n] ids, special tokens left out."""
        return [self.prompts.tokenizer.decode(row) for row in tokens.tolist()]

    @torch.no_grad()
    def generate(
        self,
        prompt: str,
        options: TokenSampling | FlowSampling | None = None,
        *,
        negative_prompt: str = "",
        noise: Tensor | None = None,
        latents: Tensor | None = None,
        pixels: bool = True,
        on_step: OnStep = ignore_step,
        on_image: OnImage = ignore_image,
    ) -> GeneratedImages | GeneratedLatents:
        """Draws images of a description.

        Args:
            prompt: what to draw.
            options: guidance, randomness and how many images: `TokenSampling` or `FlowSampling`, as the model
                draws.
            negative_prompt: takes the place of the unconditional row: what to move away from. Without
                guidance (scale 1) there is no such row and it has no effect.
            noise: [B, 4, h, w] in place of the seeded noise, for a model that draws by a flow.
            latents: [B or 1, 4, h, w], of such a model too, to start from where `options.denoise` is below 1.
            pixels: whether images are wanted, and not only the tokens or latents that they are made of.
            on_step: called as `on_step(step, total, state)`, with the tokens or latents of the images at
                work; may raise to cancel.
            on_image: called as `on_image(done, total)` when the tokens or latents of an image have become
                pixels, after all steps; may raise as well.

        Raises:
            ValueError: if the prompt is empty or too long, or an input is not one for this model.
        """
        options, sampler = self.image_options(options), IMAGE_SAMPLERS[type(self.model.generation)]
        starts = sampler.checked_starts({"noise": noise, "latents": latents}, self.folder.name)
        guided = uses_guidance(options.guidance_scale)
        num_tokens = self.model.generation.config.num_tokens
        batch = self.prompts.generation(prompt, negative_prompt, guided, num_tokens, sampler.form)
        batch = batch.to(self.device)
        chunks = list(_chunks(options.batch_size))
        drawn = torch.cat(
            [
                sampler.sample(
                    self.model, batch, options, chunk, part_of(on_step, index, len(chunks)), **starts
                )
                for index, chunk in enumerate(chunks)
            ]
        )
        pixels = pixels and self.model.generation.can_decode
        return sampler.result(self._pixels(drawn, on_image) if pixels else None, drawn)

    def image_options(
        self, options: TokenSampling | FlowSampling | None = None
    ) -> TokenSampling | FlowSampling:
        """The same options, or the default ones of the model's way of drawing.

        Raises:
            ValueError: if they are those of another way; it says what to use.
        """
        sampler = IMAGE_SAMPLERS[type(self.model.generation)]
        return sampler.checked_options(options, self.folder.name)

    @torch.no_grad()
    def encode_vision(self, images: Tensor, on_image: OnImage = ignore_image) -> VisionFeatures:
        """What the understanding encoder makes of images [B, H, W, C] in [0, 1], for `understand` to take."""
        outputs = []
        for chunk in _chunks(len(checked_images(images))):
            pixel_values = self.image_processor.pixel_values(images[list(chunk)])
            outputs.append(self.model.understanding(pixel_values.to(self.device)))
            on_image(chunk.stop, len(images))
        features, embeds = (torch.cat(parts) for parts in zip(*outputs, strict=True))
        return VisionFeatures(embeds, features)

    @torch.no_grad()
    def encode_tokens(self, images: Tensor, on_image: OnImage = ignore_image) -> Tensor:
        """Codebook ids [B, N] of images [B, H, W, C] in [0, 1], letterboxed to the model's square."""
        self.image_options(TokenSampling())
        return self._encoded_pixels(images, on_image)

    @torch.no_grad()
    def encode_latents(self, images: Tensor, on_image: OnImage = ignore_image) -> Tensor:
        """Latents [B, 4, h, w] of images [B, H, W, C] in [0, 1], for `generate` to start from."""
        self.image_options(FlowSampling())
        return self._encoded_pixels(images, on_image)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that the body computes in."""
        return self.model.body.norm.weight.dtype

    @property
    def tokens_per_row(self) -> int:
        """Tokens in one row of an image; `decode_tokens` can show a half-drawn one in whole rows."""
        return self.model.generation.config.grid_size

    @property
    def latent_scale(self) -> float:
        """A VAE's latents times this are those that the flow integrates."""
        return float(self.model.generation.config.scaling_factor)

    @torch.no_grad()
    def decode_tokens(self, tokens: Tensor, on_image: OnImage = ignore_image) -> Tensor:
        """Images [B, H, W, 3] in [0, 1] of codebook ids [B, N].

        N may be fewer whole rows of the token grid than a full image has; the result is as much lower.

        Raises:
            ValueError: if the ids are not those of an image of this model.
        """
        self.image_options(TokenSampling())
        generation = self.model.generation.config
        tokens = checked_tokens(tokens, generation.grid_size, generation.vq.codebook_size)
        return self._pixels(tokens.to(self.device, torch.int64), on_image)

    def _encoded_pixels(self, images: Tensor, on_image: OnImage) -> Tensor:
        # One at a time: a single image fills a device, and activations of many would fill its memory.
        return torch.cat(
            [
                self.model.generation.encode(self.image_processor.pixels(image[None]).to(self.device))
                for image in counted(checked_images(images).unbind(), on_image)
            ]
        )

    def _pixels(self, drawn: Tensor, on_image: OnImage) -> Tensor:
        rows = counted(drawn.split(1), on_image)
        return torch.cat([to_images(self.model.generation.decode(row)) for row in rows])

    def _asked(
        self, images: Images | None, question: str | Sequence[str], system_prompt: str, num_new: int = 1
    ) -> tuple[list[tuple[range, PromptBatch]], Callable[[range], Tensor | None]]:
        """Rows that are worked together with their prompts, and what gives the images of some rows."""
        embeds_per_image = self.prompts.num_image_tokens + self.prompts.start_embedding
        questions, places = question_rows(
            question, images, (embeds_per_image, self.model.config.body.hidden_size)
        )
        # All prompts before any image is encoded, so that one that does not fit costs nothing.
        asked = [
            (
                chunk,
                self.prompts.understanding(
                    [questions[row] for row in chunk], len(places), system_prompt, num_new
                ),
            )
            for chunk in _chunks(len(questions))
        ]
        shared: dict[int, Tensor] = {}

        def embeds(chunk: range) -> Tensor | None:
            parts = [self._image_embeds(place, chunk, shared, number) for number, place in enumerate(places)]
            return torch.stack(parts, dim=1) if parts else None

        return asked, embeds

    def _likelihoods(
        self,
        images: Images | None,
        question: str | Sequence[str],
        answers: Sequence[Sequence[int]],
        system_prompt: str,
        on_image: OnImage,
    ) -> Tensor:
        """Log-likelihoods [B, K] of the same answers to each question."""
        asked, embeds = self._asked(images, question, system_prompt, max(map(len, answers)))
        parts = []
        for chunk, batch in asked:
            parts.append(log_likelihoods(self.model, batch.to(self.device), embeds(chunk), answers))
            on_image(chunk.stop, asked[-1][0].stop)
        return torch.cat(parts)

    def _image_embeds(
        self, place: Tensor | VisionFeatures, rows: Sequence[int], shared: dict[int, Tensor], index: int
    ) -> Tensor:
        """Embeddings [B, N, C] for some rows; an image that all rows share is encoded once."""
        if len(place) == 1:
            if index not in shared:
                shared[index] = self._encoded(place)
            return shared[index].expand(len(rows), -1, -1)
        return self._encoded(place[list(rows)])

    def _encoded(self, place: Tensor | VisionFeatures) -> Tensor:
        features = place if isinstance(place, VisionFeatures) else self.encode_vision(place)
        return features.image_embeds.to(self.device)


def _chunks(count: int) -> Iterator[range]:
    return (range(start, min(start + ROWS_AT_ONCE, count)) for start in range(0, count, ROWS_AT_ONCE))

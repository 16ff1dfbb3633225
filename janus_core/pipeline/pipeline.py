"""What a loaded model can do: answer, chat, judge, draw, edit, encode, decode.

It is long because it is the whole public face.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..models.janus import Janus
from ..processing.chat import DEFAULT_SYSTEM_PROMPT
from ..processing.edit_forms import EDIT_FORMS
from ..processing.images import ImageProcessor, to_images
from ..processing.judging import SCORE_TEMPLATE, VERDICTS, first_difference, score_question, validate_choices
from ..processing.prompts import PromptBuilder
from ..sampling import IMAGE_SAMPLERS
from ..sampling.guidance import uses_guidance
from ..sampling.inpainting import inpaint_tokens
from ..sampling.likelihood import log_likelihoods
from ..sampling.options import EditSampling, FlowSampling, TextSampling, TokenSampling
from ..sampling.results import EditedImages, GeneratedImages, GeneratedLatents
from ..sampling.steps import OnImage, OnStep, counted, ignore_image, ignore_step, part_of
from ..sampling.tokens import sample_image_tokens
from .answering import Answerer, Check
from .conversation import Conversation, Questions
from .edit_inputs import AUTO, checked_form, checked_instruction, checked_options, source_picture
from .editing import plan_instruction, plan_redraw
from .inputs import Images, VisionFeatures, check_embeds, checked_images, checked_tokens, question_rows

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
        edit_form: how the checkpoint is known to have been trained to edit by instruction, one of
            `EDIT_FORMS`; None if nothing tells that it was.
        image_defaults: options of the checkpoint's own, by name, that `generate` takes where none are given.
    """

    model: Janus
    prompts: PromptBuilder
    image_processor: ImageProcessor
    device: torch.device
    folder: Path
    edit_form: str | None = None
    image_defaults: Mapping[str, Any] = field(default_factory=dict)

    @torch.no_grad()
    def understand(
        self,
        images: Images | None,
        question: str | Sequence[str],
        options: TextSampling | None = None,
        *,
        system_prompt: str = DEFAULT_SYSTEM_PROMPT,
        check: Check | None = None,
        rows: Sequence[int] | None = None,
        on_step: OnStep = ignore_step,
    ) -> list[str]:
        """Answers questions about images.

        What the rows begin with, such as one image and many questions, is read once.

        Args:
            images: [B, H, W, C] in [0, 1], one image per question; a list of such batches (or of single
                [H, W, C] images) to show several images in each question, first images first; what
                `encode_vision` returned, in place of any of these; None to ask without an image.
            question: one for all rows, or one per row. A question may place `<image_placeholder>` itself,
                once per image; else the images stand before it.
            options: how answers are written; greedy by default.
            system_prompt: stands before the conversation; empty for none.
            check: gives an answer in a form that it must have, or raises ValueError to have it written again,
                with another seed and no longer greedily; `json_text` is one.
            rows: index of each row in a larger batch, for its seed; 0, 1, … by default.
            on_step: called as `on_step(step, total, tokens)`, with the tokens of the rows at work; may raise
                to cancel.

        Returns:
            B answers. One image (or one per place in the list) and several questions give one answer per
            question.

        Raises:
            ValueError: if an input does not fit; the message says which and how to mend it.
            RuntimeError: if an answer has not the form of `check` after four attempts.
        """
        start = self._started(None, system_prompt)
        questions = self._questions(images, question, start, rows)
        answered = self._answerer.answer(questions, options or TextSampling(), check, False, on_step)
        return [conversation.answer for conversation in answered]

    @torch.no_grad()
    def converse(
        self,
        images: Images | None,
        question: str | Sequence[str],
        options: TextSampling | None = None,
        *,
        conversation: Conversation | None = None,
        system_prompt: str | None = None,
        check: Check | None = None,
        remember: bool = True,
        on_step: OnStep = ignore_step,
    ) -> list[Conversation]:
        """Answers as `understand` does, and gives each answer with its conversation, to be gone on with.

        Args:
            images: what enters with the questions, as for `understand`.
            question: one for all rows, or one per row.
            options: how answers are written; greedy by default.
            conversation: what came before, in all rows; none by default.
            system_prompt: stands before a new conversation, the models' own by default. One that goes on has
                its own.
            check: as for `understand`.
            remember: whether keys and values of what was read are kept in main memory, about 2 GB at most
                for all rows; whoever goes on reads only what is new.
            on_step: as for `understand`.

        Returns:
            One conversation per row.

        Raises:
            ValueError, RuntimeError: as `understand`; also if the conversation is another checkpoint's.
        """
        start = self._started(conversation, system_prompt)
        questions = self._questions(images, question, start)
        return list(self._answerer.answer(questions, options or TextSampling(), check, remember, on_step))

    @torch.no_grad()
    def chat(
        self,
        question: str,
        images: Images | None = None,
        conversation: Conversation | None = None,
        options: TextSampling | None = None,
        *,
        system_prompt: str | None = None,
        check: Check | None = None,
        on_step: OnStep = ignore_step,
    ) -> Conversation:
        """Asks one question more; the arguments are those of `converse`, which does it for many.

        Returns:
            The conversation with its new `answer`. What came before stays as it is.

        Raises:
            ValueError, RuntimeError: as `converse`; also if images or questions are several rows.
        """
        start = self._started(conversation, system_prompt)
        questions = self._questions(images, question, start)
        if len(questions.texts) > 1:
            raise ValueError(
                f"images and question must be of one row in a chat, got {len(questions.texts)}; use "
                "converse, or pass images as a list to show all of them"
            )
        (said,) = self._answerer.answer(questions, options or TextSampling(), check, True, on_step)
        return said

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
            validate_choices(options), [question] if isinstance(question, str) else question
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
                draws; by default the checkpoint's own.
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
        batch = self.prompts.generation(prompt, negative_prompt, guided, num_tokens, sampler.prompt_style)
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
        """Changes a picture: what lies under a mask, with any model that draws by tokens, or as it is told.

        Args:
            image: one picture, [H, W, C] or [1, H, W, C] in [0, 1], of any size.
            instruction: what to change, for a checkpoint that was trained to follow it; with a mask, what the
                whole picture should show.
            options: guidance, randomness, candidates and how many images.
            mask: [H, W] or [1, H, W], above 0 where the picture may change; a token is drawn anew if any
                masked pixel falls on it. Every other pixel of the result is the picture's own.
            form: `mask`; or how the instruction is put, `janus-4o` or `janus-pro-r1`; `auto` is `mask` if
                there is one, else what the checkpoint is known for.
            on_step: called as `on_step(step, total, tokens)`, with the tokens of the images at work; may
                raise to cancel.
            on_image: called as `on_image(done, total)` when the tokens of an image have become pixels, after
                all steps; may raise as well.

        Returns:
            Of a redraw, images of the picture's size; of an instruction, the model's own squares.

        Raises:
            ValueError: if an input does not fit; the message says which and how to mend it.
        """
        options = checked_options(options)
        self.image_options(options)
        instruction, image = checked_instruction(instruction, self.prompts), source_picture(image)
        form = checked_form(form, mask, self.edit_form, self.folder.name)
        parts = (self.model, self.prompts, self.image_processor, self.device, image, instruction, options)
        plan = plan_instruction(*parts, EDIT_FORMS[form]) if mask is None else plan_redraw(*parts, mask)
        runs = plan.runs(ROWS_AT_ONCE)
        drawn = []
        for index, run in enumerate(runs):
            inputs = (self.model, plan.prompt, options, run.rows)
            report = part_of(on_step, index, len(runs))
            if mask is None:
                tokens = sample_image_tokens(*inputs, report, plan.inputs_embeds, plan.combine)
                drawn.append((tokens, torch.zeros(len(tokens), device=tokens.device)))
            else:
                drawn.append(inpaint_tokens(*inputs, run.given, report))
        tokens = plan.chosen(drawn)
        return plan.finish(tokens, self._pixels(tokens, on_image))

    def image_options(
        self, options: TokenSampling | FlowSampling | None = None
    ) -> TokenSampling | FlowSampling:
        """The same options, or the checkpoint's own, or the default ones of its way of drawing.

        Raises:
            ValueError: if they are those of another way; it says what to use.
        """
        sampler = IMAGE_SAMPLERS[type(self.model.generation)]
        if options is None:
            return sampler.options(**self.image_defaults)
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
        return self.model.token_generation.config.grid_size

    @property
    def latent_scale(self) -> float:
        """A VAE's latents times this are those that the flow integrates."""
        return float(self.model.flow_generation.config.scaling_factor)

    @torch.no_grad()
    def decode_tokens(self, tokens: Tensor, on_image: OnImage = ignore_image) -> Tensor:
        """Images [B, H, W, 3] in [0, 1] of codebook ids [B, N].

        N may be fewer whole rows of the token grid than a full image has; the result is as much lower.

        Raises:
            ValueError: if the ids are not those of an image of this model.
        """
        self.image_options(TokenSampling())
        generation = self.model.token_generation.config
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

    @property
    def _answerer(self) -> Answerer:
        return Answerer(self.model, self.prompts, self.device)

    def _started(self, conversation: Conversation | None, system_prompt: str | None) -> Conversation:
        """The conversation to go on with, or a new one."""
        if conversation is None:
            return Conversation(
                self.folder, DEFAULT_SYSTEM_PROMPT if system_prompt is None else system_prompt
            )
        if not isinstance(conversation, Conversation):
            raise ValueError(
                f"conversation must be what chat or converse returned, got {type(conversation).__name__}; "
                "pass None to start one"
            )
        if system_prompt not in (None, conversation.system_prompt):
            raise ValueError(
                f"system_prompt must be the conversation's own, got {system_prompt!r}; leave it out"
            )
        if conversation.image_embeds is None:
            return replace(conversation, folder=self.folder)
        if conversation.folder != self.folder:
            raise ValueError(
                "conversation must go on with the checkpoint that saw its images, "
                f"{conversation.folder.name!r}, got {self.folder.name!r}; start a new one with the images"
            )
        check_embeds("images of the conversation", conversation.image_embeds, self._embeds_shape)
        return conversation

    def _questions(
        self,
        images: Images | None,
        question: str | Sequence[str],
        start: Conversation,
        rows: Sequence[int] | None = None,
    ) -> Questions:
        texts, places = question_rows(question, images, self._embeds_shape)
        rows = range(len(texts)) if rows is None else rows
        if len(rows) != len(texts):
            raise ValueError(
                f"rows must be one index for each of the {len(texts)} rows, got {len(rows)}; leave them out"
            )
        alike = [len(place) == 1 for place in places]
        shared: dict[int, Tensor] = {}

        def embeds(rows: range) -> Tensor | None:
            parts = [self._image_embeds(place, rows, shared, index) for index, place in enumerate(places)]
            return torch.stack(parts, dim=1) if parts else None

        num_shared = [*alike, False].index(False)
        return Questions(start, texts, rows, len(places), num_shared, embeds, list(_chunks(len(texts))))

    def _likelihoods(
        self,
        images: Images | None,
        question: str | Sequence[str],
        answers: Sequence[Sequence[int]],
        system_prompt: str,
        on_image: OnImage,
    ) -> Tensor:
        """Log-likelihoods [B, K] of the same answers to each question."""
        questions = self._questions(images, question, self._started(None, system_prompt))
        texts, longest = questions.texts, max(map(len, answers))
        # All prompts before any image is encoded, so that one that does not fit costs nothing.
        batches = [
            self.prompts.understanding(
                [texts[row] for row in chunk], questions.num_new, system_prompt, longest
            ).to(self.device)
            for chunk in questions.chunks
        ]
        parts = []
        for chunk, batch in zip(questions.chunks, batches, strict=True):
            parts.append(log_likelihoods(self.model, batch, questions.embeds(chunk), answers))
            on_image(chunk.stop, len(texts))
        return torch.cat(parts)

    @property
    def _embeds_shape(self) -> tuple[int, int]:
        """Positions and width of the embeddings of one image."""
        return (
            self.prompts.num_image_tokens + self.prompts.start_embedding,
            self.model.config.body.hidden_size,
        )

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

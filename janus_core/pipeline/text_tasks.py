"""Tasks that answer in text or in numbers: understand, converse, chat, score, choose."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..arguments import checked_texts
from ..processing.chat import DEFAULT_SYSTEM_PROMPT
from ..processing.judging import SCORE_TEMPLATE, VERDICTS, first_difference, score_question, validate_choices
from ..sampling.options import TextSampling
from ..sampling.steps import OnImage, OnStep, ignore_image, ignore_step
from .answer import Answer
from .answering import Check, answer_questions
from .conversation import Conversation
from .inputs import Images, VisionFeatures, image_batches
from .judging import answer_log_probs
from .questions import question_batch
from .runtime import Runtime
from .vision import are_unfamiliar


class TextTasks(Runtime):
    """What a model says about images; `JanusPipeline` describes the callbacks."""

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
    ) -> list[Answer]:
        """Answers questions about images. A prefix that all questions share is computed once.

        Args:
            images: [B, H, W, C] in [0, 1], one image per question; a list of such batches (or of single
                [H, W, C] images) to show several images with each question; features from `encode_vision` in
                place of any of these; None to ask without an image.
            question: one for all images, or one per image. It may contain `<image_placeholder>` once per
                image; else the images come before it.
            options: length and randomness of the answers; greedy by default.
            system_prompt: text before the conversation; empty for none.
            check: returns an answer in the form that it must have, or raises ValueError to have it generated
                again, sampled with another seed; `json_text` is one.
            rows: what is added to the seed for each question; 0, 1, … by default.
            on_step: see `JanusPipeline`.

        Returns:
            One answer per image or question: texts with a `finish_reason`.

        Raises:
            RuntimeError: if an answer fails its check four times.
        """
        questions = question_batch(self, images, question, system_prompt=system_prompt, seed_offsets=rows)
        said = answer_questions(self, questions, options, check, False, on_step)
        return [conversation.answer for conversation in said]

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
        """Answers as `understand` does, and returns conversations that can be continued.

        Args:
            images: images of the new questions, as for `understand`.
            question: one for all images, or one per image.
            options: length and randomness of the answers; greedy by default.
            conversation: the conversation to continue; None for a new one.
            system_prompt: of a new conversation, the models' own by default.
            check: as for `understand`.
            remember: whether to keep keys and values in main memory (about 2 GB at most for all of them), so
                that the next turn computes only what is new.
            on_step: see `JanusPipeline`.

        Returns:
            One conversation per image or question.
        """
        questions = question_batch(self, images, question, conversation, system_prompt)
        return list(answer_questions(self, questions, options, check, remember, on_step))

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
        """Asks one question; the arguments are those of `converse`, which asks many.

        Returns:
            The conversation with its new `answer`; the one that was passed stays as it is.
        """
        questions = question_batch(self, images, question, conversation, system_prompt)
        if len(questions.texts) > 1:
            raise ValueError(
                f"images and question must make one question in a chat, got {len(questions.texts)}; use "
                "converse, or pass images as a list to show them all with one question"
            )
        (said,) = answer_questions(self, questions, options, check, True, on_step)
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
        """Rates how well images match a description, by the model's own judgement.

        The score is P(Yes) / (P(Yes) + P(No)) at the first token of the answer (VQAScore, arXiv:2404.01291,
        takes P(Yes) alone), or, if their first tokens are equal, at the first token that differs.

        Args:
            images: as for `understand`, from any source.
            description: what they should show; one for all images, or one per image.
            template: a yes-or-no question that contains {description}.
            system_prompt: text before the question; empty for none.
            on_image: see `JanusPipeline`.

        Returns:
            [B] float32 in [0, 1].
        """
        if images is None:
            raise ValueError("images must hold at least one image to score, got None; pass one")
        descriptions = checked_texts("description", description, "write what the image should show")
        texts = [score_question(template, text) for text in descriptions]
        verdicts = first_difference(*self.prompts.answers(VERDICTS, texts))
        questions = question_batch(self, images, texts, system_prompt=system_prompt)
        log_probs = answer_log_probs(self, questions, verdicts, on_image)
        return log_probs.softmax(dim=1)[:, 0]

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
        """Computes how likely each of some answers to a question is.

        An option is scored by its likelihood as a prefix of the answer, so "red" is never less
        likely than "red star", unless they are compared per token.

        Args:
            images: as for `understand`; None to ask without an image.
            question: one for all images, or one per image.
            options: K answers to choose from; spaces around them are ignored.
            per_token: normalises by length, so that long options are not penalised.
            system_prompt: text before the question; empty for none.
            on_image: see `JanusPipeline`.

        Returns:
            [B, K] float32 probabilities; each row sums to 1.
        """
        texts = checked_texts("question", question, "ask something about the image")
        answers = self.prompts.answers(validate_choices(options), texts)
        questions = question_batch(self, images, question, system_prompt=system_prompt)
        log_probs = answer_log_probs(self, questions, answers, on_image)
        lengths = log_probs.new_tensor([len(answer) if per_token else 1 for answer in answers])
        return (log_probs / lengths).softmax(dim=1)

    def are_unfamiliar(self, images: Images | None) -> tuple[bool, ...]:
        """Whether images are unlike all that the checkpoint was trained on, so that answers mean little.

        Args:
            images: as for `understand`.

        Returns:
            For each image, or for each image of a list one batch after the other, whether it is so; empty
            where the checkpoint does not tell.
        """
        return tuple(
            flag
            for batch in image_batches(images)
            for flag in (
                batch.unfamiliar
                if isinstance(batch, VisionFeatures)
                else are_unfamiliar(self, self.image_processor.pixel_values(batch))
            )
        )

    def decode_text(self, tokens: Tensor) -> list[str]:
        """Texts of token ids [B, n], without special tokens."""
        return [self.prompts.tokenizer.decode(ids) for ids in tokens.tolist()]

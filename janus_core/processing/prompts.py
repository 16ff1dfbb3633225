"""Builds batches of token ids from questions and image descriptions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..arguments import checked_text
from ..prompt_batch import GenerationPromptStyle, PromptBatch
from .chat import ChatFormat, Message, Turn
from .tokenizer import JanusTokenizer

_TOKEN_STYLE = GenerationPromptStyle()


@dataclass(frozen=True)
class PromptBuilder:
    """Writes prompts in a checkpoint's format."""

    tokenizer: JanusTokenizer
    chat: ChatFormat
    num_image_tokens: int  # placeholder tokens per image in a prompt
    vocab_size: int  # of the language model
    max_length: int  # its context length in tokens, prompt and answer together
    start_embedding: bool = False  # whether an image has an embedding for its start token too (JanusFlow)

    def __post_init__(self) -> None:
        if self.tokenizer.max_id >= self.vocab_size:
            raise ValueError(
                f"vocab_size must exceed every id of the tokenizer, got {self.vocab_size} for ids up to "
                f"{self.tokenizer.max_id}; use the tokenizer.json that belongs to the checkpoint"
            )

    def understanding(
        self, questions: Sequence[str], images_per_question: int, system_prompt: str, num_new: int = 1
    ) -> PromptBatch:
        """A batch of questions about images, one row each, with `num_new` tokens left for the answer.

        Unless a question contains `<image_placeholder>`, one per image is put before it.
        """
        rows = [self.question(text, images_per_question, system_prompt) for text in questions]
        return self.batch(rows, num_new)

    def question(
        self, question: str, num_images: int, system_prompt: str, earlier: Sequence[Turn] = ()
    ) -> list[int]:
        """Token ids of a conversation: earlier turns, then a question that comes with `num_images` images."""
        turns = (*earlier, Turn(question, num_images, answer=""))
        messages = []
        for turn in turns:
            checked_text("question", turn.question, "ask something about the image")
            checked_text("answer", turn.answer, "leave it empty for none", may_be_blank=True)
            # The model may have written a placeholder itself, for which there is no image.
            answer = turn.answer.replace(self.tokenizer.special.image, "")
            messages.append(Message(self.chat.user, self._with_placeholders(turn)))
            messages.append(Message(self.chat.assistant, answer))
        total = sum(turn.num_images for turn in turns)
        return self.encode(self._render(messages, system_prompt), total)

    def batch(self, rows: list[list[int]], num_new: int = 1, name: str = "prompt") -> PromptBatch:
        """Pads rows of token ids on the left to a common length.

        Refuses rows that leave fewer than `num_new` tokens of the model's context; `name` is what the error
        calls the longest row.
        """
        longest = max(len(row) for row in rows)
        if longest + num_new > self.max_length:
            fix = "shorten it or pass fewer images"
            if name == "conversation":
                fix = "start a new one, or continue from an earlier turn"
            raise ValueError(
                f"{name} must leave room in the model's context of {self.max_length} tokens, got {longest} "
                f"tokens and {num_new} more to write; {fix}"
            )
        return PromptBatch.from_rows(
            rows, self.tokenizer.pad_id, self.tokenizer.image_id, self.start_embedding
        )

    def token_keys(self, row: Sequence[int]) -> list[int]:
        """Keys by which to compare prompts: each position's token id, or -1 - i in the i-th image."""
        image_id, keys = self.tokenizer.image_id, list(row)
        embeddings_per_image = self.num_image_tokens + self.start_embedding
        num_embeddings = 0
        for index, token in enumerate(row):
            is_start = self.start_embedding and list(row[index + 1 : index + 2]) == [image_id]
            if token == image_id or is_start:
                keys[index] = -1 - num_embeddings // embeddings_per_image
                num_embeddings += 1
        return keys

    def answers(self, answers: Sequence[str], questions: Sequence[str]) -> list[list[int]]:
        """Token ids of given answers, as the model would generate them after any of these questions.

        Refuses a question whose end the tokenizer would merge with the beginning of an answer.
        """
        encode = self.tokenizer.encode
        for answer in answers:
            self._refuse_image("answers", answer.strip())
        texts = [self.chat.answer(answer) for answer in answers]
        rows = [encode(text)[1:] for text in texts]
        for question in dict.fromkeys(questions):
            prompt = self.turn(question)
            prompt_ids = encode(prompt)
            for text, row in zip(texts, rows, strict=True):
                if encode(prompt + text) != prompt_ids + row:
                    raise ValueError(
                        f"question must end where a token does, got {question!r}, which the tokenizer merges "
                        f"with the answer {text!r}; end it with a question mark or a line break"
                    )
        return rows

    def generation(
        self,
        prompt: str | Sequence[str],
        negative_prompt: str,
        use_cfg: bool,
        num_new: int,
        style: GenerationPromptStyle = _TOKEN_STYLE,
        name: str = "prompt",
    ) -> PromptBatch:
        """The prompt of an image, and for classifier-free guidance the unconditional prompt as a second row.

        Without a negative prompt, the unconditional row is the first one with padding in place of everything
        but its first token and the image start token, as in the reference (arXiv:2410.13848, section 3.3).
        Of several prompts, the unconditional rows follow after all others, in the same order. A style that
        masks padding takes one prompt. `num_new` and `name` are as in `batch`; the style is the sampler's, by
        default that of image tokens.
        """
        checked_text("negative_prompt", negative_prompt, "leave it empty for none", may_be_blank=True)
        prompts = [prompt] if isinstance(prompt, str) else prompt
        rows = [self._description(name, text) for text in prompts]
        # The unconditional rows: the negative prompt, or padding.
        blank = use_cfg and not negative_prompt.strip()
        if blank:
            pad_id = self.tokenizer.pad_id
            rows += [[first, *[pad_id] * len(middle), last] for first, *middle, last in rows]
        elif use_cfg:
            rows += [self._description("negative_prompt", negative_prompt)] * len(prompts)
        if not style.includes_image_start:
            rows = [row[:-1] for row in rows]
        longest = "negative_prompt" if len(rows[-1]) > max(map(len, rows[: len(prompts)])) else name
        batch = self.batch(rows, num_new, longest)
        assert len(prompts) == 1 or not style.masks_padding
        return batch.hide(row=1, first=1) if blank and style.masks_padding else batch

    def turn(self, text: str, system_prompt: str = "") -> str:
        """A single turn of the user, ending where the model's answer begins."""
        messages = (Message(self.chat.user, text), Message(self.chat.assistant, ""))
        return self._render(messages, system_prompt)

    def generation_turn(self, text: str) -> str:
        """A single turn of the user, ending where the generated image begins."""
        return self.turn(text) + self.tokenizer.special.image_start

    def encode_part(self, text: str) -> list[int]:
        """Token ids of a text within a turn, in which {eos} and other names stand for special tokens."""
        return self.tokenizer.encode(text.format(**vars(self.tokenizer.special)))[1:]

    def encode(self, text: str, num_images: int) -> list[int]:
        """Token ids of a rendered conversation, with each placeholder expanded to a whole image's tokens."""
        tokenizer = self.tokenizer
        placeholders = [tokenizer.image_id] * self.num_image_tokens
        image = [tokenizer.image_start_id, *placeholders, tokenizer.image_end_id]
        ids = tokenizer.encode(text)
        found = ids.count(tokenizer.image_id)
        if found != num_images:
            raise ValueError(
                f"question must hold one {tokenizer.special.image} per image or none at all, got {found} for "
                f"{num_images} images; remove them to have the images put before the question"
            )
        expanded: list[int] = []
        for token in ids:
            expanded += image if token == tokenizer.image_id else [token]
        return expanded

    def _description(self, name: str, text: str) -> list[int]:
        checked_text(name, text, "describe the image to draw")
        self._refuse_image(name, text)
        return self.encode(self.generation_turn(text), 0)

    def _with_placeholders(self, turn: Turn) -> str:
        if self.tokenizer.special.image in turn.question:
            return turn.question
        return f"{self.tokenizer.special.image}\n" * turn.num_images + turn.question

    def _render(self, messages: Sequence[Message], system_prompt: str = "") -> str:
        self._refuse_image("system_prompt", system_prompt)
        if self.chat.user_text is not None:
            raise ValueError(
                f"chat template must include the user's text, got {self.chat.name!r}, which always sends "
                f"{self.chat.user_text!r}; choose deepseek"
            )
        return self.chat.render(messages, system_prompt)

    def _refuse_image(self, name: str, text: str) -> None:
        if self.tokenizer.special.image in text:
            raise ValueError(f"{name} must hold no {self.tokenizer.special.image}, got {text!r}; remove it")

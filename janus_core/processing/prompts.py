"""Questions and descriptions to the token rows that the model reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..prompt_batch import GenerationPromptStyle, PromptBatch
from .chat import ChatFormat, Message, Turn
from .tokenizer import JanusTokenizer


@dataclass(frozen=True)
class PromptBuilder:
    """Writes prompts in a checkpoint's own format.

    Attributes:
        tokenizer: text to ids.
        chat: template and role texts.
        num_image_tokens: placeholders that one image takes in a prompt.
        vocab_size: ids that the language model knows.
        max_length: tokens that it can read, prompt and answer together.
        start_embedding: whether an image also takes the place of the tag before it.
    """

    tokenizer: JanusTokenizer
    chat: ChatFormat
    num_image_tokens: int
    vocab_size: int
    max_length: int
    start_embedding: bool = False

    def __post_init__(self) -> None:
        if self.tokenizer.max_id >= self.vocab_size:
            raise ValueError(
                f"the language model's vocab_size must exceed every id of the tokenizer, got "
                f"{self.vocab_size} for ids up to {self.tokenizer.max_id}; "
                "use the tokenizer.json that belongs to the checkpoint"
            )

    def understanding(
        self, questions: Sequence[str], images_per_question: int, system_prompt: str, num_new: int = 1
    ) -> PromptBatch:
        """Rows of questions about images.

        Args:
            questions: one per row. A question that does not place `<image_placeholder>` itself gets one per
                image before it, each on a line.
            images_per_question: images in each row.
            system_prompt: stands before every conversation; empty for none.
            num_new: tokens of an answer that must find room behind each.
        """
        rows = [self.question(text, images_per_question, system_prompt) for text in questions]
        return self.batch(rows, num_new)

    def question(
        self, question: str, num_images: int, system_prompt: str, earlier: Sequence[Turn] = ()
    ) -> list[int]:
        """The row of a question that the model is to answer.

        Args:
            question: places `<image_placeholder>` once per image, or gets them before it, each on a line.
            num_images: images that come with it.
            system_prompt: stands before the conversation; empty for none.
            earlier: what was asked and answered before.
        """
        if not isinstance(question, str) or not question.strip():
            raise ValueError(f"question must hold text, got {question!r}; ask something about the image")
        messages = []
        for turn in earlier:
            # A placeholder that the model spelt out is no image.
            answer = turn.answer.replace(self.tokenizer.special.image, "")
            messages.append(Message(self.chat.user, self._placed(turn.question, turn.num_images)))
            messages.append(Message(self.chat.assistant, answer))
        messages.append(Message(self.chat.user, self._placed(question, num_images)))
        messages.append(Message(self.chat.assistant, ""))
        total = num_images + sum(turn.num_images for turn in earlier)
        return self.encode(self._render(messages, system_prompt), total)

    def batch(self, rows: list[list[int]], num_new: int = 1, name: str = "prompt") -> PromptBatch:
        """Rows padded to one length.

        Args:
            rows: token ids.
            num_new: tokens that will follow.
            name: of the longest row, for the message.

        Raises:
            ValueError: if it is too long for the model.
        """
        longest = max(len(row) for row in rows)
        if longest + num_new > self.max_length:
            shorter = "shorten it or pass fewer images"
            if name == "conversation":
                shorter = "start a new one, or go on from an earlier turn"
            raise ValueError(
                f"{name} must leave room in the model's context of {self.max_length} tokens, got {longest} "
                f"tokens and {num_new} more to write; {shorter}"
            )
        return PromptBatch.from_rows(
            rows, self.tokenizer.pad_id, self.tokenizer.image_id, self.start_embedding
        )

    def token_keys(self, row: Sequence[int]) -> list[int]:
        """What the body reads at each position of a row: the token's id, or -1 - i for the i-th image."""
        image_id, found, content = self.tokenizer.image_id, 0, list(row)
        for index, token in enumerate(row):
            starts = self.start_embedding and list(row[index + 1 : index + 2]) == [image_id]
            if token == image_id or starts:
                content[index] = -1 - found // (self.num_image_tokens + self.start_embedding)
                found += 1
        return content

    def answers(self, answers: Sequence[str], questions: Sequence[str]) -> list[list[int]]:
        """Ids that the model would write behind a question to give each of some answers.

        Args:
            answers: K texts.
            questions: the questions that all of them may follow.

        Raises:
            ValueError: if an answer holds an image, or the tokenizer runs a question and an answer together.
        """
        encode = self.tokenizer.encode
        texts = [self.chat.answer(answer) for answer in answers]
        for text in texts:
            if self.tokenizer.special.image in text:
                raise ValueError(
                    f"answers must hold no {self.tokenizer.special.image}, got {text.strip()!r}; remove it"
                )
        rows = [encode(text)[1:] for text in texts]
        for question in dict.fromkeys(questions):
            asked = self._turn(question)
            before = encode(asked)
            for text, row in zip(texts, rows, strict=True):
                if encode(asked + text) != before + row:
                    raise ValueError(
                        f"question must end where a token does, got {question!r}, which the tokenizer runs "
                        f"together with the answer {text!r}; end it with a question mark or a line break"
                    )
        return rows

    def generation(
        self,
        prompt: str,
        negative_prompt: str,
        use_cfg: bool,
        num_new: int,
        form: GenerationPromptStyle | None = None,
        name: str = "prompt",
    ) -> PromptBatch:
        """The row of a picture's description and, with guidance, the unconditional row behind it.

        Without a negative prompt the unconditional row is the same row with everything but its first token
        and the tag that starts the image replaced by padding, as the reference draws (arXiv:2410.13848,
        section 3.3).

        Args:
            prompt: what to draw.
            negative_prompt: takes the unconditional row's place; empty for none.
            use_cfg: whether there is an unconditional row.
            num_new: tokens that the picture will take.
            form: what the way of drawing wants of these rows; by default, what drawing by tokens does.
            name: of the prompt, for messages.
        """
        if not isinstance(negative_prompt, str):
            raise ValueError(
                f"negative_prompt must be a text, got {negative_prompt!r}; leave it empty for none"
            )
        form = form or GenerationPromptStyle()
        rows = [self._description(name, prompt)]
        blank = use_cfg and not negative_prompt.strip()
        if blank:
            first, *middle, last = rows[0]
            rows.append([first, *[self.tokenizer.pad_id] * len(middle), last])
        elif use_cfg:
            rows.append(self._description("negative_prompt", negative_prompt))
        if not form.includes_image_start:
            rows = [row[:-1] for row in rows]
        longest = "negative_prompt" if len(rows[-1]) > len(rows[0]) else name
        batch = self.batch(rows, num_new, longest)
        return batch.hide(row=1, first=1) if blank and form.masks_padding else batch

    def generation_turn(self, text: str) -> str:
        """A single turn of the user, and the start of the image that answers it."""
        return self._turn(text) + self.tokenizer.special.image_start

    def encode(self, text: str, num_images: int) -> list[int]:
        """Ids of a rendered conversation, each placeholder widened to an image's worth of positions.

        Raises:
            ValueError: if the text does not hold as many placeholders as there are images.
        """
        tokenizer = self.tokenizer
        row: list[int] = []
        found = 0
        for token in tokenizer.encode(text):
            if token == tokenizer.image_id:
                found += 1
                image = [tokenizer.image_id] * self.num_image_tokens
                row += [tokenizer.image_start_id, *image, tokenizer.image_end_id]
            else:
                row.append(token)
        if found != num_images:
            raise ValueError(
                f"question must hold one {tokenizer.special.image} per image or none at all, got {found} for "
                f"{num_images} images; remove them, and they are placed before it"
            )
        return row

    def _description(self, name: str, text: str) -> list[int]:
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"{name} must hold text, got {text!r}; describe the picture to draw")
        if self.tokenizer.special.image in text:
            raise ValueError(f"{name} must hold no {self.tokenizer.special.image}, got {text!r}; remove it")
        return self.encode(self.generation_turn(text), 0)

    def _turn(self, text: str) -> str:
        """A single turn of the user, and the place where the model goes on."""
        return self._render((Message(self.chat.user, text), Message(self.chat.assistant, "")))

    def _placed(self, question: str, num_images: int) -> str:
        if self.tokenizer.special.image in question:
            return question
        return f"{self.tokenizer.special.image}\n" * num_images + question

    def _render(self, messages: Sequence[Message], system_prompt: str = "") -> str:
        if self.tokenizer.special.image in system_prompt:
            raise ValueError(
                f"system_prompt must hold no {self.tokenizer.special.image}, got {system_prompt!r}; images "
                "stand in the question"
            )
        if self.chat.user_text is not None:
            raise ValueError(
                f"chat template must have room for what you ask, got {self.chat.name!r}, which always says "
                f"{self.chat.user_text!r}; choose deepseek"
            )
        return self.chat.render(messages, system_prompt)

"""Questions and descriptions to the token rows that the model reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..inputs import DescriptionForm, PromptBatch
from .chat import ChatFormat
from .edit_forms import EditForm
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
        self, questions: Sequence[str], images_per_question: int, system_prompt: str
    ) -> PromptBatch:
        """Rows of questions about images.

        Args:
            questions: one per row. A question that does not place `<image_placeholder>` itself gets one per
                image before it, each on a line.
            images_per_question: images in each row.
            system_prompt: stands before every conversation; empty for none.
        """
        rows = []
        for question in questions:
            if not question.strip():
                raise ValueError(f"question must hold text, got {question!r}; ask something about the image")
            placed = question.count(self.tokenizer.special.image)
            if placed == 0:
                question = f"{self.tokenizer.special.image}\n" * images_per_question + question
            rows.append(self.encode(self._render(question, system_prompt), images_per_question))
        return self._batch(rows, num_new=1)

    def generation(
        self,
        prompt: str,
        negative_prompt: str,
        guided: bool,
        num_new: int,
        form: DescriptionForm | None = None,
        name: str = "prompt",
    ) -> PromptBatch:
        """The row of a picture's description and, with guidance, the unconditional row behind it.

        Without a negative prompt the unconditional row is the same row with everything but its first token
        and the tag that starts the image replaced by padding, as the reference draws (arXiv:2410.13848,
        section 3.3).

        Args:
            prompt: what to draw.
            negative_prompt: takes the unconditional row's place; empty for none.
            guided: whether there is an unconditional row.
            num_new: tokens that the picture will take.
            form: what the way of drawing wants of these rows; by default, what drawing by tokens does.
            name: of the prompt, for messages.
        """
        if not isinstance(negative_prompt, str):
            raise ValueError(
                f"negative_prompt must be a text, got {negative_prompt!r}; leave it empty for none"
            )
        form = form or DescriptionForm()
        rows = [self._description(name, prompt)]
        blank = guided and not negative_prompt.strip()
        if blank:
            first, *middle, last = rows[0]
            rows.append([first, *[self.tokenizer.pad_id] * len(middle), last])
        elif guided:
            rows.append(self._description("negative_prompt", negative_prompt))
        if not form.reads_start:
            rows = [row[:-1] for row in rows]
        longest = "negative_prompt" if len(rows[-1]) > len(rows[0]) else name
        batch = self._batch(rows, num_new, longest)
        return batch.hide(row=1, first=1) if blank and form.hides_padding else batch

    def editing(
        self, instruction: str, form: EditForm, num_tokens: int, *, guided: bool, sourced: bool
    ) -> PromptBatch:
        """The rows of a picture and what to change in it.

        All have one length and no hidden token: their padding is read, as the checkpoints were trained.

        Args:
            instruction: what to change.
            form: how the checkpoint was trained to be asked.
            num_tokens: tokens of the picture, which the new one takes as well.
            guided: whether there is an unconditional row.
            sourced: whether there is a row without the picture's tokens, where the form has one.
        """
        row, blank = self._edit_row(instruction, form, num_tokens)
        pad_id, image_start = self.tokenizer.pad_id, self.tokenizer.image_start_id
        uncond = [pad_id if index in blank else token for index, token in enumerate(row)]
        fills = form.used_rows(guided, sourced)
        rows = [row] * len(fills)
        if guided:
            rows[-1] = uncond
        batch = self._batch(rows, num_tokens, "instruction")
        starts = [index + 1 for index, token in enumerate(row) if token == image_start]
        image_mask = batch.image_mask.new_zeros(batch.image_mask.shape)
        # The last start is that of the picture to draw.
        for slot, start in zip(form.slots, starts[:-1], strict=True):
            end = row.index(self.tokenizer.image_end_id, start)
            for mask, filled in zip(image_mask, fills, strict=True):
                mask[start:end] = slot in filled
        return replace(batch, image_mask=image_mask)

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

    def _edit_row(self, instruction: str, form: EditForm, num_tokens: int) -> tuple[list[int], range]:
        """The row that holds everything, and where padding stands in the unconditional one."""
        opening, _, request = form.turn.partition("{instruction}")
        opening = opening.format(
            seen=self._place(self.tokenizer.special.image, self.num_image_tokens),
            tokens=self._place(self.tokenizer.special.image, num_tokens),
            padding=self._place(self.tokenizer.special.pad, num_tokens),
        )
        text = self._render(opening + instruction + request) + self.tokenizer.special.image_start
        encode = self.tokenizer.encode
        if form.whole_blank:
            row = encode(text)
            return row, range(1, len(row) - 1)
        # In three pieces, as trained: so an instruction is read the same whatever stands around it.
        start = text.index(opening) + len(opening)
        end = start + len(instruction)
        head, middle, tail = encode(text[:start]), encode(text[start:end])[1:], encode(text[end:])[1:]
        return [*head, *middle, *tail], range(len(head), len(head) + len(middle))

    def _place(self, token: str, count: int) -> str:
        return self.tokenizer.special.image_start + token * count + self.tokenizer.special.image_end

    def _description(self, name: str, text: str) -> list[int]:
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"{name} must hold text, got {text!r}; describe the picture to draw")
        if self.tokenizer.special.image in text:
            raise ValueError(f"{name} must hold no {self.tokenizer.special.image}, got {text!r}; remove it")
        return self.encode(self._render(text) + self.tokenizer.special.image_start, 0)

    def _render(self, text: str, system_prompt: str = "") -> str:
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
        return self.chat.question(text, system_prompt)

    def _batch(self, rows: list[list[int]], num_new: int, name: str = "prompt") -> PromptBatch:
        longest = max(len(row) for row in rows)
        if longest + num_new > self.max_length:
            raise ValueError(
                f"{name} must leave room in the model's context of {self.max_length} tokens, got {longest} "
                f"tokens and {num_new} more to write; shorten it or pass fewer images"
            )
        return PromptBatch.from_rows(
            rows, self.tokenizer.pad_id, self.tokenizer.image_id, self.start_embedding
        )

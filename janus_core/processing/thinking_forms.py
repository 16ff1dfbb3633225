"""Prompt layouts for drawing with a thought before the image or a review after it, one per checkpoint."""

from __future__ import annotations

from dataclasses import dataclass

# What ends a thought: names of `SpecialTokens`.
EOS, IMAGE_START, PAD = "eos", "image_start", "pad"


@dataclass(frozen=True)
class Thinking:
    """How a thought about the image is written before it is drawn.

    Attributes:
        ask: template of the user's turn that the thought answers. `{prompt}` is what to draw; a form with
            `{question}` sends a question in which {} stands for the prompt.
        turn: template of the user's turn that is drawn, with `{prompt}` and `{thought}`, the text of the
            thought. `{sentence}` is the prompt with a full stop, unless it ends a sentence. Empty if the
            image continues the assistant's turn after the thought's tokens.
        ends: what ends the thought; the end token itself is not part of it.
        max_new_tokens: its limit.
        temperature: of sampling.
        top_k: of sampling; 0 keeps all.
        system_prompt: of the turn that asks.
        shared: whether all images of a batch are drawn from one thought; otherwise each has its own.
        drops_last: whether the last token of a thought that reaches its limit gives way to the image start.
        added_tokens: tokens that were added to the tokenizer for thoughts.
    """

    ask: str
    turn: str
    ends: tuple[str, ...]
    max_new_tokens: int
    temperature: float = 1.0
    top_k: int = 0
    system_prompt: str = ""
    shared: bool = False
    drops_last: bool = False
    added_tokens: tuple[str, ...] = ()


@dataclass(frozen=True)
class Review:
    """How a drawn image is judged and drawn again, all in the assistant's turn after the image's start.

    Attributes:
        judge: text after the image as the understanding encoder sees it. The model continues with a
            verdict, then with a reflection.
        verdicts: the texts whose last token is the first of the answer; the first one keeps the image.
        ends: what ends a reflection; the end token is hidden from attention, but keeps its position.
        redraw: text after the image as VQ tokens, the `judge` text and the reflection.
        max_new_tokens: limit of verdict and reflection.
        temperature: of sampling.
    """

    judge: str
    verdicts: tuple[str, str]
    ends: tuple[str, ...]
    redraw: str
    max_new_tokens: int
    temperature: float = 1.0


@dataclass(frozen=True)
class ThinkingForm:
    """How a checkpoint thinks about what it draws.

    The unconditional prompt of an image is padding but for its first token and the image start; after a
    review, only what comes before the first image is padding.

    Attributes:
        name: the value of the `form` argument.
        checkpoint: the release that was trained with it; empty if any can be used.
        thinking: how it thinks before it draws; None if it does not.
        review: how it reviews what it has drawn, in the same conversation; None if it does not.
        scored: whether images are judged by `JanusPipeline.score` instead, and drawn again from the same
            prompt.
    """

    name: str
    checkpoint: str = ""
    thinking: Thinking | None = None
    review: Review | None = None
    scored: bool = False

    @property
    def takes_question(self) -> bool:
        """Whether its question can be replaced."""
        return self.thinking is not None and "{question}" in self.thinking.ask

    @property
    def judges(self) -> bool:
        """Whether images are judged, and drawn again in further rounds."""
        return self.scored or self.review is not None


# The question of forms whose authors' own is not part of their checkpoint.
DEFAULT_QUESTION = (
    'Someone will draw a picture of "{}". Describe this picture for them in one or two sentences: every '
    "object with its number, colour and place, and the background."
)

_T2I_R1_SYSTEM_PROMPT = (
    "You are a helpful assistant that receives an image prompt and generate a visualization of the prompt."
)

THINKING_FORMS = {
    form.name: form
    for form in (
        # Any checkpoint that understands and draws: the layout of T2I-R1 with the usual roles.
        ThinkingForm(
            "describe",
            thinking=Thinking(
                ask="{question}",
                turn="{sentence} {thought}",
                ends=(EOS,),
                max_new_tokens=256,
                temperature=0.0,
            ),
            scored=True,
        ),
        # T2I-R1 (arXiv:2505.00703), public inference code.
        ThinkingForm(
            "t2i-r1",
            "T2I-R1",
            Thinking(
                ask="{question}",
                turn="{prompt}. {thought}",
                ends=(EOS,),
                max_new_tokens=512,
                top_k=50,
                system_prompt=_T2I_R1_SYSTEM_PROMPT,
            ),
        ),
        # GoT-R1 (arXiv:2505.17022), public inference code.
        ThinkingForm(
            "got-r1",
            "GoT-R1-7B",
            Thinking(
                ask="Follow the caption to generate an image through a chain of thought process: {prompt}",
                turn="",
                ends=(IMAGE_START,),
                max_new_tokens=600,
                shared=True,
                added_tokens=("<|box_start|>", "<|box_end|>", "<|obj_start|>", "<|obj_end|>"),
            ),
        ),
        # ReasonGen-R1 (arXiv:2505.24875), public inference code.
        ThinkingForm(
            "reasongen-r1",
            "ReasonGen-R1",
            Thinking(
                ask="A photo of {prompt}. Output a richly detailed prompt:",
                turn="",
                ends=(IMAGE_START, EOS),
                max_new_tokens=448,
                drops_last=True,
            ),
        ),
        # Janus-Pro-R1 (arXiv:2506.01480), public inference code.
        ThinkingForm(
            "janus-pro-r1",
            "Janus-Pro-R1-7B",
            review=Review(
                judge="{image_end}\nLet me think Does this image match the prompt...",
                verdicts=("Yes", "No"),
                ends=(EOS, PAD),
                redraw="{eos}\nNext, I will draw a new image{image_start}",
                max_new_tokens=80,
            ),
        ),
    )
}


def added_tokens(form: str | None) -> tuple[str, ...]:
    """Tokens that a checkpoint trained with a form has in its tokenizer; none for None."""
    thinking = THINKING_FORMS[form].thinking if form else None
    return thinking.added_tokens if thinking else ()

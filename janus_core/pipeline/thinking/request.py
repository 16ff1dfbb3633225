"""Validates the arguments of thinking and drawing, and resolves its form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ...arguments import checked_text, checked_whole, shown
from ...models.parts import ANSWERING, DRAWING, NOTHING, SEEING, Parts
from ...processing.prompts import PromptBuilder
from ...processing.thinking_forms import THINKING_FORMS, ThinkingForm
from ...processing.thinking_prompts import (
    asking_row,
    check_prompt,
    checked_question,
    end_ids,
    judging_tail,
    read_question,
    redrawing_tail,
    verdict_ids,
)
from ...sampling.image_sampler import IMAGE_SAMPLERS
from ...sampling.options import TextSampling, TokenSampling
from ..inputs import checked_options
from ..runtime import Runtime

AUTO, ANY_CHECKPOINT = "auto", "describe"
THINKING_FORM_CHOICES = (AUTO, *THINKING_FORMS)

Thoughts = str | Sequence[str] | Sequence[Sequence[int]]
"""Given thoughts, as texts or token ids: one for all images, or one for each."""


@dataclass(frozen=True)
class ThinkingRequest:
    """What to think about and draw.

    Attributes:
        prompt: what to draw.
        form: how.
        options: of the images.
        thinking: of the texts; its limit leaves room in the context for what follows a text.
        rounds: how often at most an image is judged and drawn again.
        thoughts: token ids given in place of sampled ones: none, one for all images, or one for each.
        head: token ids of the turn that asks for a thought, or without one of the turn that is drawn.
        prompts: the checkpoint's, with the tokens that the form adds.
    """

    prompt: str
    form: ThinkingForm
    options: TokenSampling
    thinking: TextSampling
    rounds: int
    thoughts: list[list[int]]
    head: list[int]
    prompts: PromptBuilder

    @property
    def reviews(self) -> bool:
        """Whether images are judged, and drawn again."""
        return self.form.judges and self.rounds > 0

    @property
    def parts(self) -> Parts:
        """The parts of the model that it takes."""
        writes = self.reviews or not self.thoughts
        return DRAWING | (ANSWERING if writes else NOTHING) | (SEEING if self.reviews else NOTHING)


def resolve_form(runtime: Runtime, form: str) -> ThinkingForm:
    """The form of this name; for `auto`, the one that the checkpoint was trained with, or `describe`.

    Raises:
        ValueError: if there is no such form, or the model draws in another way than token by token.
    """
    if not isinstance(form, str) or form not in THINKING_FORM_CHOICES:
        raise ValueError(
            f"form must be one of {', '.join(THINKING_FORM_CHOICES)}, got {shown(form)}; choose one of these"
        )
    sampler = IMAGE_SAMPLERS[type(runtime.model.generation)]
    if sampler.options is not TokenSampling:
        raise ValueError(
            f"form must be one of a model that draws token by token, got {form!r} for "
            f"{runtime.folder.name!r}, which draws {sampler.method}; load another checkpoint"
        )
    return THINKING_FORMS[runtime.thinking_form or ANY_CHECKPOINT if form == AUTO else form]


def default_thinking(form: ThinkingForm, seed: int) -> TextSampling:
    """Options of a form's texts, as its authors sample them."""
    texts = form.thinking or form.review
    assert texts is not None
    top_k = form.thinking.top_k if form.thinking else 0
    return TextSampling(texts.max_new_tokens, texts.temperature, top_k, seed=seed)


def thinking_request(
    runtime: Runtime,
    prompt: str,
    form: str,
    options: TokenSampling,
    thinking: TextSampling | None,
    rounds: int,
    thoughts: Thoughts | None,
    question: str | None,
) -> ThinkingRequest:
    """Checks the arguments of `JanusPipeline.think_and_draw`.

    Raises:
        ValueError: if one of them does not fit; the message says which and how to fix it.
    """
    chosen = resolve_form(runtime, form)
    check_prompt(runtime.prompts, "prompt", prompt)
    _check_rounds(rounds, chosen)
    thinking = checked_options(thinking, default_thinking(chosen, int(options.seed)), name="thinking")
    if question is not None and not chosen.takes_question:
        raise ValueError(
            f"question must be left out for form {chosen.name!r}, which asks in its own words, got "
            f"{shown(question)}; remove it, or choose another form"
        )
    if chosen.thinking is None:
        if thoughts is not None:
            raise ValueError(
                f"thoughts must be left out for form {chosen.name!r}, which draws first and thinks then, got "
                f"{shown(thoughts)}; remove them, or choose another form"
            )
        prompts = runtime.prompts
        head, given = prompts.tokenizer.encode(prompts.generation_turn(prompt)), []
    else:
        tokenizer = runtime.prompts.tokenizer.with_tokens(chosen.thinking.added_tokens)
        if tokenizer.max_id >= runtime.prompts.vocab_size:
            raise ValueError(
                f"form must be one whose tokens the model has room for, got {chosen.name!r}, which adds "
                f"{', '.join(chosen.thinking.added_tokens)}, for {runtime.folder.name!r}; choose another form"
            )
        prompts = replace(runtime.prompts, tokenizer=tokenizer)
        if chosen.takes_question:
            asked = (
                read_question(runtime.folder) if question is None else checked_question("question", question)
            )
            check_prompt(runtime.prompts, "question", asked)
        else:
            asked = ""
        head = asking_row(prompts, chosen.thinking, prompt, asked)
        end = end_ids(prompts, chosen.thinking.ends)[0]
        given = _thought_ids(prompts, thoughts, int(options.batch_size), end)
    request = ThinkingRequest(prompt, chosen, options, thinking, int(rounds), given, head, prompts)
    after = _tokens_after(runtime, request)
    prompts.batch([head], 1 + after)  # refuses a prompt that leaves no room for a text
    limit = min(thinking.max_new_tokens, prompts.max_length - len(head) - after)
    return replace(request, thinking=replace(thinking, max_new_tokens=limit))


def _check_rounds(rounds: object, form: ThinkingForm) -> None:
    count = checked_whole("rounds", rounds)
    if count < 0:
        raise ValueError(f"rounds must be at least 0 (0 draws only), got {count}; set it within that range")
    if count > 1 and not form.judges:
        raise ValueError(
            f"rounds must be 0 or 1 for form {form.name!r}, which does not review images, got {count}; "
            "lower it"
        )


def _thought_ids(prompts: PromptBuilder, thoughts: Thoughts | None, images: int, end: int) -> list[list[int]]:
    """Token ids of given thoughts; `end` follows those of texts, which are never cut off."""
    if thoughts is None:
        return []
    fix = "pass texts or lists of token ids, one for all images or one for each"
    entries = [thoughts] if isinstance(thoughts, str) else thoughts
    if not isinstance(entries, Sequence) or len(entries) not in (1, images):
        counts = "1" if images == 1 else f"1 or {images}, as many as images"
        raise ValueError(f"thoughts must be {counts}, got {shown(thoughts)}; {fix}")
    rows = []
    for entry in entries:
        if isinstance(entry, str):
            checked_text("thoughts", entry, fix, may_be_blank=True)
            if found := prompts.tokenizer.special_tokens_in(entry):
                raise ValueError(
                    f"thoughts must hold no special tokens, got {', '.join(found)} in {shown(entry)}; remove "
                    "them"
                )
            rows.append([*prompts.tokenizer.encode(entry)[1:], end])
            continue
        if not isinstance(entry, Sequence):
            raise ValueError(f"thoughts must be texts or lists of token ids, got {shown(entry)}; {fix}")
        ids = [checked_whole("thoughts", token) for token in entry]
        if wrong := [token for token in ids if not 0 <= token < prompts.vocab_size]:
            raise ValueError(
                f"thoughts must hold token ids from 0 to {prompts.vocab_size - 1}, got {wrong[0]}; {fix}"
            )
        rows.append(ids)
    return rows


def _tokens_after(runtime: Runtime, request: ThinkingRequest) -> int:
    """Tokens that follow head and text in the context, at most."""
    num_tokens = runtime.model.generation.config.num_tokens
    if request.form.thinking is not None:
        # A turn of its own is checked once the thought is known.
        return 0 if request.form.thinking.turn else 1 + num_tokens
    assert request.form.review is not None
    verdict_ids(request.prompts, request.form.review)  # refuses a tokenizer without verdicts
    tails = (
        judging_tail(request.prompts, request.form.review),
        redrawing_tail(request.prompts, request.form.review),
    )
    return 2 * num_tokens + sum(map(len, tails))

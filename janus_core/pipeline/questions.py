"""Batches of questions: paired with images, and tokenized."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ..arguments import checked_texts, checked_whole
from ..models.parts import ANSWERING, SEEING, Parts
from ..prompt_batch import PromptBatch
from .conversation import Conversation, start_conversation
from .inputs import ImageBatch, Images, VisionFeatures, check_embeds, image_batches
from .prefix import KVSegment, common_length, with_unique_image_ids
from .runtime import Runtime


@dataclass(frozen=True)
class QuestionBatch:
    """Questions that continue the same conversation.

    Attributes:
        start: the conversation so far.
        texts: one question per sequence.
        seed_offsets: for each sequence, what is added to the seed.
        images: one entry per new image of a question: a batch with that image of each sequence, or with a
            single image that all sequences share.
    """

    start: Conversation
    texts: list[str]
    seed_offsets: Sequence[int]
    images: list[ImageBatch]

    @property
    def num_images(self) -> int:
        """Images shown with each question, those that wait in the conversation included."""
        return self.start.num_waiting + len(self.images)

    @property
    def num_shared(self) -> int:
        """New images, from the first on, that all sequences share."""
        shared = [len(batch) == 1 for batch in self.images]
        return [*shared, False].index(False)

    @property
    def shares_images(self) -> bool:
        """Whether all sequences see the same images."""
        return self.num_shared == len(self.images)

    @property
    def max_images_encoded(self) -> int:
        """The largest batch that the vision tower may get."""
        return max((len(batch) for batch in self.images if isinstance(batch, Tensor)), default=0)

    @property
    def parts(self) -> Parts:
        """The parts of the model that answering them takes."""
        return ANSWERING | SEEING if self.max_images_encoded else ANSWERING


def question_batch(
    runtime: Runtime,
    images: Images | None,
    question: str | Sequence[str],
    conversation: Conversation | None = None,
    system_prompt: str | None = None,
    seed_offsets: Sequence[int] | None = None,
) -> QuestionBatch:
    """Checks the arguments of `JanusPipeline.understand` and `converse`, and pairs questions with images.

    Raises:
        ValueError: if the numbers of questions and images do not match, or features or the conversation are
            another model's.
    """
    start = start_conversation(conversation, system_prompt, runtime)
    batches = image_batches(images)
    for batch in batches:
        if isinstance(batch, VisionFeatures):
            check_embeds("features", batch.image_embeds, runtime.embeds_shape)
    questions = checked_texts("question", question, "ask something about the image")
    count = max([len(questions), *map(len, batches)])
    for name, number in (("questions", len(questions)), *(("images", len(batch)) for batch in batches)):
        if number not in (1, count):
            raise ValueError(
                f"{name} must be 1 or as many as the batch has, got {number} for a batch of {count}; repeat "
                "them"
            )
    offsets = range(count) if seed_offsets is None else [checked_whole("rows", each) for each in seed_offsets]
    if len(offsets) != count:
        raise ValueError(
            f"rows must be one index for each of the {count} questions, got {len(offsets)}; leave them out"
        )
    return QuestionBatch(start, questions * (count // len(questions)), offsets, batches)


@dataclass(frozen=True)
class TokenizedQuestions:
    """The sequences of a question batch.

    Attributes:
        sequences: token ids of each.
        token_keys: what the model reads at each position of each, as `PromptBuilder.token_keys` encodes it.
        chunks: indices of the sequences that are computed together.
        batches: the padded ids of each chunk.
        shared_length: tokens of the prefix that is computed once for all sequences.
        reused_length: tokens of that prefix whose keys and values are saved in the conversation.
        reused_segments: these keys and values.
    """

    sequences: list[list[int]]
    token_keys: list[list[int]]
    chunks: list[range]
    batches: list[PromptBatch]
    shared_length: int
    reused_length: int
    reused_segments: tuple[KVSegment, ...]


def tokenize(runtime: Runtime, questions: QuestionBatch) -> TokenizedQuestions:
    """Renders and tokenizes the questions, and finds the prefix to share."""
    start, prompts = questions.start, runtime.prompts
    sequences = [
        prompts.question(text, questions.num_images, start.system_prompt, start.turns)
        for text in questions.texts
    ]
    chunks = runtime.chunks(len(sequences))
    name = "conversation" if start.turns else "prompt"
    batches = [prompts.batch([sequences[index] for index in chunk], name=name) for chunk in chunks]
    token_keys = [prompts.token_keys(sequence) for sequence in sequences]

    # The last token of each sequence is always computed: its hidden state predicts the answer.
    longest_prefix = min(map(len, token_keys)) - 1
    saved, reused = start.saved_prefix, 0
    segments: tuple[KVSegment, ...] = ()
    if saved is not None and saved.is_valid_for(runtime, start.image_embeds):
        reused = min(longest_prefix, common_length([saved.token_keys, *token_keys]))
        segments = saved.truncated(reused)
    num_shared = start.num_images + questions.num_shared
    shared = min(longest_prefix, common_length(with_unique_image_ids(token_keys, num_shared)))
    # A separate prefill pays off only if the shared part is longer than what differs between sequences.
    longest = max(map(len, token_keys))
    if len(token_keys) == 1 or shared - reused <= longest - shared:
        shared = reused
    return TokenizedQuestions(sequences, token_keys, chunks, batches, shared, reused, segments)

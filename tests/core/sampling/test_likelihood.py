"""Log-likelihoods of texts equal the reference's logits and a forward pass without a cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from janus_nodes.janus_core import DEFAULT_SYSTEM_PROMPT, JanusPipeline
from janus_nodes.janus_core.models.cache import NoCache
from janus_nodes.janus_core.prompt_batch import PromptBatch
from janus_nodes.janus_core.sampling.likelihood import log_likelihoods
from support.checkpoints import random_model, small_config
from torch import Tensor

pytestmark = pytest.mark.usefixtures("no_grad")

CONTINUATIONS = [[5], [7, 7, 9], [5, 8], [401, 2, 3, 4, 5, 6], [0]]


@pytest.fixture(scope="module")
def model() -> Any:
    """Random weights, as many query heads as five to a key head."""
    return random_model(small_config(), seed=4)


def by_hand(model: Any, row: Sequence[int], continuation: Sequence[int]) -> float:
    """The same from one pass over everything."""
    ids = torch.tensor([[*row, *continuation]])
    positions = torch.arange(ids.shape[1])[None]
    logits = model.body.lm_head(model.body(model.body.embed_tokens(ids), positions, NoCache()))
    log_probs = logits[0, len(row) - 1 : -1].double().log_softmax(dim=-1)
    return float(sum(log_probs[step, token] for step, token in enumerate(continuation)))


def rows(*lengths: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randint(0, 400, (length,), generator=generator).tolist() for length in lengths]


def test_log_likelihoods_equal_the_recorded_logits(
    recorded: Any, pipe: JanusPipeline, picture: Callable[[str], Tensor]
) -> None:
    rendered = pipe.prompts.chat.render(recorded.messages("one_image"), DEFAULT_SYSTEM_PROMPT)
    ids = pipe.prompts.encode(rendered, 1)
    start = len(ids) - 9  # behind the image
    tokenizer = pipe.prompts.tokenizer
    prompt = PromptBatch.from_rows([ids[:start]], tokenizer.pad_id, tokenizer.image_id)
    embeds = pipe.encode_vision(picture("landscape_rgb")[None]).image_embeds
    found = log_likelihoods(pipe.model, prompt, embeds, [ids[start : start + 1], ids[start:]])
    log_probs = recorded.tensor("understand/one_image.logits")[0, start - 1 : -1].log_softmax(dim=-1)
    steps = log_probs.gather(1, torch.tensor(ids[start:])[:, None])[:, 0]
    expected = torch.stack([steps[0], steps.sum()])[None]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_padded_batches_equal_one_pass_over_everything(model: Any) -> None:
    prompts = rows(3, 11, 1, 7)
    found = log_likelihoods(model, PromptBatch.from_rows(prompts, 0, -1), None, CONTINUATIONS)
    expected = torch.tensor([[by_hand(model, row, each) for each in CONTINUATIONS] for row in prompts])
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_continuations_do_not_affect_each_other(model: Any) -> None:
    prompt = PromptBatch.from_rows(rows(6, 4), 0, -1)
    together = log_likelihoods(model, prompt, None, CONTINUATIONS)
    for index, continuation in enumerate(CONTINUATIONS):
        alone = log_likelihoods(model, prompt, None, [continuation])
        torch.testing.assert_close(together[:, index : index + 1], alone, rtol=0, atol=1e-5)


def test_probabilities_of_all_next_tokens_sum_to_one(model: Any) -> None:
    prompt = PromptBatch.from_rows(rows(5), 0, -1)
    found = log_likelihoods(model, prompt, None, [[token] for token in range(model.body.config.vocab_size)])
    torch.testing.assert_close(found.logsumexp(dim=1), torch.zeros(1), rtol=0, atol=1e-5)


def test_the_prompt_is_read_once_however_many_continuations_there_are(model: Any) -> None:
    read: list[int] = []
    hook = model.body.register_forward_hook(lambda _, inputs, __: read.append(inputs[0].shape[1]))
    log_likelihoods(model, PromptBatch.from_rows(rows(20), 0, -1), None, CONTINUATIONS)
    hook.remove()
    assert read == [20, 2, 1, 5]


def test_broken_numbers_are_an_error(model: Any) -> None:
    prompt = PromptBatch.from_rows([[1, 2, 3]], 0, 2)
    embeds = torch.full((1, 1, 80), torch.nan)
    with pytest.raises(RuntimeError, match=r"logits must be finite, got NaN or infinity from a model in"):
        log_likelihoods(model, prompt, embeds, [[1]])

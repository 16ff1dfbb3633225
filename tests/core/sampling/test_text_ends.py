"""Text generation with several end tokens, and with few allowed first tokens."""

from __future__ import annotations

import pytest
import torch
from janus_nodes.janus_core import JanusPipeline, TextSampling
from janus_nodes.janus_core.prompt_batch import PromptBatch
from janus_nodes.janus_core.sampling.text import generate_text

pytestmark = pytest.mark.usefixtures("no_grad")


def test_any_of_several_tokens_ends_a_text(pipe: JanusPipeline) -> None:
    prompt = PromptBatch.from_rows([[1, 2, 3], [4, 5]], 0, -1)
    options = TextSampling(max_new_tokens=12, temperature=1.0, seed=3)
    free = generate_text(pipe.model, prompt, None, options, (447,))
    assert free.lengths.tolist() == [12, 12]
    assert free.first_probs is None
    ends = [int(free.tokens[0, 4]), int(free.tokens[1, 7])]
    ended = generate_text(pipe.model, prompt, None, options, ends)
    for row, length in enumerate(ended.lengths.tolist()):
        whole = free.tokens[row].tolist()
        assert length == 1 + min(whole.index(end) for end in ends if end in whole)
        found = ended.tokens[row].tolist()
        assert found[:length] == whole[:length]
        assert set(found[length:]) <= {ends[0]}


def test_the_first_token_can_be_limited_to_some(pipe: JanusPipeline) -> None:
    prompt = PromptBatch.from_rows([[1, 2, 3]], 0, -1)
    logits: list[torch.Tensor] = []
    hook = pipe.model.body.lm_head.register_forward_hook(lambda *call: logits.append(call[2].clone()))
    text = generate_text(pipe.model, prompt, None, TextSampling(max_new_tokens=3), (447,), first_ids=(300, 7))
    hook.remove()
    expected = logits[0][:, [300, 7]].softmax(dim=-1)
    torch.testing.assert_close(text.first_probs, expected)
    assert text.tokens[0, 0] == (300, 7)[int(expected.argmax())]
    assert text.tokens[0, 1] == logits[1].argmax()

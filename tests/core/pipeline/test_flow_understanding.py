"""Understanding with a learned start embedding: the reference's ids, masks, embeddings and answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from janus_nodes.janus_core import DEFAULT_SYSTEM_PROMPT, JanusPipeline, TextSampling
from janus_nodes.janus_core.models.cache import KVCache
from janus_nodes.janus_core.prompt_batch import PromptBatch
from janus_nodes.janus_core.sampling.text import sample_text
from torch import Tensor

pytestmark = pytest.mark.usefixtures("no_grad")
Picture = Callable[[str], Tensor]
NAMES = ["text_only", "one_image", "two_images", "multi_turn", "batch"]


def conversation(
    recorded: Any, pipe: JanusPipeline, picture: Picture, name: str
) -> tuple[PromptBatch, Tensor | None]:
    """A recorded conversation, or the recorded batch of three, with embeddings of its images."""
    names = ["one_image", "text_only", "two_images"] if name == "batch" else [name]
    builder = pipe.prompts
    rows = [
        builder.encode(
            builder.chat.render(recorded.messages(part), DEFAULT_SYSTEM_PROMPT), len(recorded.images(part))
        )
        for part in names
    ]
    tokenizer = builder.tokenizer
    batch = PromptBatch.from_rows(rows, tokenizer.pad_id, tokenizer.image_id, builder.start_embedding)
    pictures = [picture(image) for part in names for image in recorded.images(part)]
    # The reference ignores alpha.
    embeds = [pipe.encode_vision(image[None, ..., :3]).image_embeds for image in pictures]
    return batch, torch.cat(embeds) if embeds else None


@pytest.mark.parametrize("name", NAMES)
def test_prompts_and_answers_equal_the_reference(
    flow_recorded: Any, flow_pipe: JanusPipeline, picture: Picture, name: str
) -> None:
    batch, embeds = conversation(flow_recorded, flow_pipe, picture, name)
    assert torch.equal(batch.input_ids, flow_recorded.tensor(f"tokenize/{name}.input_ids"))
    assert torch.equal(batch.attention_mask, flow_recorded.tensor(f"tokenize/{name}.attention_mask").bool())
    assert torch.equal(batch.image_mask, flow_recorded.tensor(f"tokenize/{name}.images_seq_mask"))
    per_row = flow_recorded.tensor(f"tokenize/{name}.images_emb_mask").flatten(1).sum(dim=1)
    assert torch.equal(batch.image_mask.sum(dim=1), per_row)

    model = flow_pipe.model
    inputs_embeds = model.embed_prompt(batch, embeds)
    cache = KVCache(model.body.config, len(inputs_embeds), batch.length, "cpu", torch.float32)
    cache.mark_padding(batch.attention_mask)
    hidden = model.body(inputs_embeds, batch.position_ids, cache)
    found = {"logits_last": model.body.lm_head(hidden[:, -1]), "inputs_embeds": inputs_embeds}
    found["logits"] = model.body.lm_head(hidden)
    for kind, tensor in found.items():
        if flow_recorded.has(f"understand/{name}.{kind}"):
            expected = flow_recorded.tensor(f"understand/{name}.{kind}")
            torch.testing.assert_close(tensor, expected, rtol=0, atol=1e-4)
    expected = flow_recorded.tensor(f"understand/{name}.hidden_last")[-1]
    torch.testing.assert_close(hidden[:, -1], expected.view_as(hidden[:, -1]), rtol=0, atol=1e-4)

    eos_id = flow_pipe.prompts.tokenizer.eos_id
    tokens = sample_text(model, batch, embeds, TextSampling(max_new_tokens=24), eos_id)
    assert tokens.tolist() == flow_recorded.tensor(f"understand/{name}.greedy_ids").tolist()
    assert flow_pipe.decode_text(tokens) == flow_recorded.value(f"understand.{name}.greedy_text")


def test_the_start_embedding_stands_before_the_patches(
    flow_recorded: Any, flow_pipe: JanusPipeline, picture: Picture
) -> None:
    pixel_values = flow_recorded.tensor("understand/one_image.pixel_values")[0]
    found = flow_pipe.image_processor.pixel_values(picture("landscape_rgb")[None])
    torch.testing.assert_close(found, pixel_values, rtol=0, atol=1e-6)
    features, embeds = flow_pipe.model.understanding(pixel_values)
    expected = flow_recorded.tensor("understand/one_image.vision_out")
    torch.testing.assert_close(features, expected, rtol=0, atol=1e-4)
    expected = flow_recorded.tensor("understand/one_image.aligner_out")
    torch.testing.assert_close(embeds[:, 1:], expected, rtol=0, atol=1e-4)
    assert torch.equal(embeds[0, :1], flow_pipe.model.understanding.start.weight)


def test_special_tokens_have_the_recorded_ids(flow_recorded: Any, flow_pipe: JanusPipeline) -> None:
    tokenizer = flow_pipe.prompts.tokenizer
    for kind in ("pad_id", "image_id", "image_start_id", "image_end_id"):
        assert getattr(tokenizer, kind) == flow_recorded.value(kind)
    for kind in ("bos", "eos", "pad"):
        assert getattr(tokenizer, f"{kind}_id") == flow_recorded.value(f"{kind}_token_id")


def test_features_and_lists_of_images_give_the_same_answers(
    flow_pipe: JanusPipeline, picture: Picture
) -> None:
    images, options = picture("square_64")[None], TextSampling(max_new_tokens=6)
    direct = flow_pipe.understand(images, "What is this?", options)
    features = flow_pipe.encode_vision(images)
    assert features.image_embeds.shape[1] == 17
    assert flow_pipe.understand(features, "What is this?", options) == direct
    assert flow_pipe.understand([images[0]], ["What is this?"] * 2, options) == direct * 2

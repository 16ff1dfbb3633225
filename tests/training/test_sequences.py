"""Training sequences are the prompts of inference."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from janus_nodes.janus_core import JanusPipeline
from janus_nodes.janus_core.pipeline.edit_request import EditRequest
from janus_nodes.janus_core.pipeline.editing import embed_sources, instruction_prompt
from janus_nodes.janus_core.processing.chat import Message
from janus_nodes.janus_core.processing.edit_forms import EDIT_FORMS, EditForm
from janus_nodes.janus_core.sampling.options import EditSampling
from janus_nodes.janus_core.training.editing import edit_batch
from janus_nodes.janus_core.training.pictures import to_images
from janus_nodes.janus_core.training.samples import EditSample, Sample
from janus_nodes.janus_core.training.sequences import (
    IGNORED,
    batch_sequences,
    conversation_sequence,
    edit_sequence,
    generation_sequence,
)

PICTURE = np.zeros((8, 8, 3), np.uint8)


def test_a_first_question_is_the_prompt_of_understanding(pipe: JanusPipeline) -> None:
    sequence = conversation_sequence(pipe, Sample(PICTURE, (("What is it?", "A star."),)), "Be brief.")
    asked = pipe.prompts.understanding(["What is it?"], 1, "Be brief.").input_ids[0].tolist()
    assert sequence.ids[: len(asked)] == asked
    answer = sequence.ids[len(asked) :]
    assert answer[-1] == pipe.prompts.tokenizer.eos_id
    assert pipe.prompts.tokenizer.decode(answer).strip() == "A star."
    assert sequence.labels[len(asked) - 1 : -1] == answer
    assert set(sequence.labels[: len(asked) - 1]) == {IGNORED} == {sequence.labels[-1]}


def test_later_turns_follow_as_in_a_rendered_conversation(pipe: JanusPipeline) -> None:
    turns = (("One?", "Yes."), ("Two?", "No."))
    sequence = conversation_sequence(pipe, Sample(None, turns), "")
    chat, tokenizer = pipe.prompts.chat, pipe.prompts.tokenizer
    messages = [
        Message(role, text)
        for question, answer in turns
        for role, text in ((chat.user, question), (chat.assistant, answer))
    ]
    assert sequence.ids == tokenizer.encode(chat.render(messages))
    answered = [label for label in sequence.labels if label != IGNORED]
    assert tokenizer.decode(answered).split() == ["Yes.", "No."]


def test_a_generation_sequence_is_its_prompt_and_image_positions(pipe: JanusPipeline) -> None:
    count = pipe.model.generation.config.num_tokens
    for hidden in (False, True):
        sequence = generation_sequence(pipe, "A star.", hidden)
        prompt = pipe.prompts.generation("A star.", "", use_cfg=True, num_new=count)
        assert sequence.ids[: sequence.generated.start] == prompt.input_ids[int(hidden)].tolist()
        assert len(sequence.generated) == count and sequence.generated.stop == len(sequence.ids)


@pytest.mark.parametrize("form", EDIT_FORMS.values(), ids=str)
def test_edit_sequences_are_the_prompts_and_inputs_of_the_pipeline(
    form: EditForm, pipe: JanusPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipe, "edit_form", form.name)
    picture = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    options = EditSampling(guidance_scale=3.0, source_scale=2.0)
    images = torch.stack(to_images([picture]))
    request = EditRequest(images, "Make it blue.", options, form.name, None)
    prompt = instruction_prompt(pipe, request)
    inputs = embed_sources(pipe, request, prompt, [0]).inputs_embeds
    samples = [EditSample(picture, "Make it blue.", picture)] * 30
    batch = edit_batch(pipe, samples, 0.5, random.Random(0))
    found = set()
    for condition in range(len(form.conditions)):
        expected = edit_sequence(pipe, "Make it blue.", form, condition)
        start = expected.generated.start
        assert expected.ids[:start] == prompt.input_ids[condition].tolist()
        assert expected.image_mask == prompt.image_mask[condition].tolist()
        for sequence, embeds in zip(batch.sequences, batch.image_embeds, strict=True):
            if sequence == expected:
                found.add(condition)
                one = batch_sequences(pipe, [sequence]).prompt
                trained = pipe.model.embed_prompt(one, embeds)[0, :start]
                torch.testing.assert_close(trained, inputs[condition], rtol=0, atol=1e-6)
    assert found == set(range(len(form.conditions)))
    assert torch.equal(batch.tokens[:1], pipe.encode_tokens(images))


def test_padding_is_on_the_right(pipe: JanusPipeline) -> None:
    sequences = [generation_sequence(pipe, text, False) for text in ("A star.", "A long red star on white.")]
    batch = batch_sequences(pipe, sequences)
    assert (
        batch.generated.sum()
        == batch.predicts_image.sum()
        == sum(len(sequence.generated) for sequence in sequences)
    )
    for index, sequence in enumerate(sequences):
        assert torch.nonzero(batch.predicts_image[index]).flatten().tolist() == [
            i - 1 for i in sequence.generated
        ]
        assert not batch.generated[index, sequence.generated.stop :].any()


@pytest.mark.parametrize(
    ("turns", "message"),
    [
        ((("One?", "<image_placeholder>"),), r"must hold no <image_placeholder>"),
        ((("One?", "Yes."), ("<image_placeholder> Two?", "No.")), r"must hold no <image_placeholder>"),
        ((("<image_placeholder> <image_placeholder>", "Two."),), r"got 2 for 1 images"),
        ((("Tell.", "long " * 20_000),), r"must fit into the model's context of \d+ tokens, got"),
    ],
)
def test_a_conversation_that_does_not_fit_is_refused(
    turns: tuple[tuple[str, str], ...], message: str, pipe: JanusPipeline
) -> None:
    with pytest.raises(ValueError, match=message):
        conversation_sequence(pipe, Sample(PICTURE, turns))


def test_a_first_question_may_place_its_picture(pipe: JanusPipeline) -> None:
    sequence = conversation_sequence(pipe, Sample(PICTURE, (("What is <image_placeholder>?", "A star."),)))
    assert sequence.ids.count(pipe.prompts.tokenizer.image_id) == pipe.prompts.num_image_tokens


def test_copies_of_an_image_share_a_caption_and_do_not_see_each_other(pipe: JanusPipeline) -> None:
    count = pipe.model.generation.config.num_tokens
    alone = generation_sequence(pipe, "A star.", False)
    sequence, start = generation_sequence(pipe, "A star.", False, copies=3), alone.generated.start
    assert sequence.generated == range(start, start + 3 * count)
    batch = batch_sequences(pipe, [sequence, alone])
    positions = batch.prompt.position_ids[0].tolist()
    assert positions == [*range(start), *list(range(start, start + count)) * 3]
    visible = batch.visible
    assert visible is not None and visible.shape == (2, 1, *[start + 3 * count] * 2)
    for copy in range(3):
        first, last = start + copy * count, start + (copy + 1) * count - 1
        seen = torch.nonzero(visible[0, 0, last]).flatten().tolist()
        assert seen == [*range(start), *range(first, last + 1)]
    end = alone.generated.stop
    assert torch.equal(visible[1, 0, :end, :end], torch.ones(end, end, dtype=torch.bool).tril())
    assert batch_sequences(pipe, [alone]).visible is None

"""What does not fit the model is refused before it costs anything, by name, value and way out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from janus_nodes.janus_core import JanusPipeline, TextSampling, VisionFeatures
from support.drawing import counted_images
from torch import Tensor

SHORT = TextSampling(max_new_tokens=6)


def test_five_thousand_images_in_a_question_are_refused(pipe: JanusPipeline) -> None:
    with counted_images(pipe) as sizes:
        expected = r"context of 16384 tokens, got 9\d{4} tokens and 1 more to write; .*pass fewer images"
        with pytest.raises(ValueError, match=expected):
            pipe.understand([torch.zeros(1, 1, 3)] * 5000, "What?", SHORT)
    assert sizes == []


def test_questions_longer_than_the_context_are_refused(pipe: JanusPipeline, images: Tensor) -> None:
    with counted_images(pipe) as sizes, pytest.raises(ValueError, match="shorten it or pass fewer images"):
        pipe.understand(images, "Why? " * 6000, SHORT)
    assert sizes == []
    with pytest.raises(ValueError, match=r"^prompt must .* got \d+ tokens and 16 more to write"):
        pipe.generate("Why? " * 6000)
    with pytest.raises(ValueError, match=r"^negative_prompt must .* got \d+ tokens and 16 more to write"):
        pipe.generate("A cat", negative_prompt="Why? " * 6000)


@pytest.mark.parametrize("question", ["", "  ", ["What?", ""]])
def test_empty_questions_are_refused(pipe: JanusPipeline, images: Tensor, question: Any) -> None:
    with pytest.raises(ValueError, match="question must hold text"):
        pipe.understand(images[:2], question, SHORT)


def test_rows_that_do_not_match_the_questions_are_refused(pipe: JanusPipeline, images: Tensor) -> None:
    with pytest.raises(
        ValueError, match=r"^rows must be one index for each of the 5 questions, got 2; leave"
    ):
        pipe.understand(images, "What?", SHORT, rows=[0, 1])


def test_no_questions_are_refused(pipe: JanusPipeline, images: Tensor) -> None:
    with pytest.raises(ValueError, match=r"question must be a text or .* got an empty list"):
        pipe.understand(images, [], SHORT)


def test_an_empty_prompt_is_refused(pipe: JanusPipeline) -> None:
    with pytest.raises(ValueError, match="prompt must hold text, got ''; describe the image"):
        pipe.generate("")


@pytest.mark.parametrize(
    "images",
    [torch.zeros(0, 8, 8, 3), torch.zeros(8, 8), torch.zeros(1, 1, 8, 8, 3), torch.zeros(1, 8, 0, 3)],
    ids=lambda images: str(list(images.shape)),
)
def test_inputs_that_are_no_batch_of_images_are_refused(pipe: JanusPipeline, images: Tensor) -> None:
    expected = r"images must be a batch \[B, H, W, C\] with at least one image, got shape \["
    for use in (lambda: pipe.understand(images, "What?", SHORT), lambda: pipe.encode_vision(images),
                lambda: pipe.encode_tokens(images)):  # fmt: skip
        with pytest.raises(ValueError, match=expected):
            use()


def test_an_empty_list_of_images_is_refused(pipe: JanusPipeline) -> None:
    with pytest.raises(ValueError, match="images must hold at least one image, got none; pass None to ask"):
        pipe.understand([], "What?", SHORT)


@pytest.mark.parametrize("channels", [2, 5])
def test_other_numbers_of_channels_are_refused(pipe: JanusPipeline, channels: int) -> None:
    with pytest.raises(ValueError, match="with 1, 3 or 4 channels, got shape"):
        pipe.encode_tokens(torch.zeros(1, 8, 8, channels))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_images_with_broken_numbers_are_refused(pipe: JanusPipeline, images: Tensor, value: float) -> None:
    images[2, 3, 4, 1] = value
    with pytest.raises(ValueError, match="image must contain finite numbers, got NaN or infinity"):
        pipe.understand(images, "What?", SHORT)


@pytest.mark.parametrize(("count", "questions", "name"), [(2, 3, "images"), (3, 2, "questions")])
def test_numbers_of_images_and_questions_that_do_not_fit_are_refused(
    pipe: JanusPipeline, images: Tensor, count: int, questions: int, name: str
) -> None:
    with pytest.raises(
        ValueError, match=f"{name} must be 1 or as many as the batch has, got 2 for a batch of 3"
    ):
        pipe.understand(images[:count], ["What?"] * questions, SHORT)


@pytest.mark.parametrize("placed", [1, 3])
def test_wrong_numbers_of_placeholders_are_refused(pipe: JanusPipeline, images: Tensor, placed: int) -> None:
    with pytest.raises(ValueError, match=f"got {placed} for 2 images; remove them"):
        pipe.understand([images[0], images[1]], "<image_placeholder>" * placed + "What?", SHORT)


@pytest.mark.parametrize("shape", [(1, 9, 64), (1, 25, 64), (1, 16, 80), (2, 16, 63)], ids=str)
def test_features_of_another_model_are_refused(pipe: JanusPipeline, shape: tuple[int, ...]) -> None:
    features = VisionFeatures(torch.zeros(shape), torch.zeros(shape))
    expected = (
        r"features must be \[B, 16, 64\] as this model's, got shape \[.*\]; encode the images with this"
    )
    with pytest.raises(ValueError, match=expected):
        pipe.understand(features, "What?", SHORT)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (
            torch.zeros(16, dtype=torch.long),
            r"multiple of the model's 4 tokens per row, 16 at most, got shape \[16\]",
        ),
        (
            torch.zeros(1, 15, dtype=torch.long),
            r"multiple of the model's 4 tokens per row, 16 at most, got shape \[1, 15\]",
        ),
        (torch.zeros(1, 20, dtype=torch.long), r"16 at most, got shape \[1, 20\]"),
        (torch.zeros(0, 16, dtype=torch.long), r"got shape \[0, 16\]"),
        (torch.zeros(1, 0, dtype=torch.long), r"got shape \[1, 0\]"),
        (torch.zeros(1, 4, 4, dtype=torch.long), r"got shape \[1, 4, 4\]"),
        (
            torch.full((1, 16), 128),
            r"whole numbers from 0 to 127, the model's codebook, got .* to 128; encode",
        ),
        (torch.full((1, 16), -1), r"whole numbers from 0 to 127, the model's codebook, got .* from -1"),
        (torch.zeros(1, 16), r"whole numbers from 0 to 127, the model's codebook, got torch\.float32"),
        (torch.zeros(1, 16, dtype=torch.bool), r"the model's codebook, got torch\.bool"),
    ],
    ids=range(10),
)
def test_tokens_that_are_not_this_models_are_refused(
    pipe: JanusPipeline, tokens: Tensor, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        pipe.decode_tokens(tokens)


def test_latent_scale_of_a_model_of_image_tokens_is_refused(pipe: JanusPipeline) -> None:
    with pytest.raises(ValueError, match="use TokenSampling"):
        _ = pipe.latent_scale

"""The image tokenizer: the reference's latents, ids and pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from janus_nodes.janus_core import JanusPipeline
from janus_nodes.janus_core.models.vq import VQModel
from support.checkpoints import random_model, small_config
from torch import Tensor

pytestmark = pytest.mark.usefixtures("no_grad")


@pytest.fixture
def vq(pipe: JanusPipeline) -> VQModel:
    """The golden image tokenizer."""
    return pipe.model.generation.vq


def entries(vq: VQModel, indices: Tensor) -> Tensor:
    """The unit vectors of ids, as the decoder gets them."""
    return F.normalize(vq.codebook(indices), dim=-1)


def test_encoding_equals_the_reference_step_by_step(recorded: Any, vq: VQModel) -> None:
    pixels = recorded.tensor("vq/encode.input")
    latents = vq.encoder(pixels)
    torch.testing.assert_close(latents, recorded.tensor("vq/encode.encoder_out"), rtol=0, atol=1e-4)
    latents = vq.quant_conv(latents)
    torch.testing.assert_close(latents, recorded.tensor("vq/encode.pre_quant"), rtol=0, atol=1e-4)
    indices = vq.encode(pixels)
    assert indices.flatten().tolist() == recorded.tensor("vq/encode.indices").tolist()
    quantised = entries(vq, indices).permute(0, 3, 1, 2)
    torch.testing.assert_close(quantised, recorded.tensor("vq/encode.quant"), rtol=0, atol=1e-4)


def test_ids_need_unit_vectors_on_both_sides(recorded: Any, vq: VQModel) -> None:
    latents = recorded.tensor("vq/encode.pre_quant").permute(0, 2, 3, 1).flatten(0, 2)
    plain = torch.cdist(latents, vq.codebook.weight).argmin(dim=1)
    differing = int((plain != recorded.tensor("vq/encode.indices")).sum())
    assert differing == recorded.value("vq.indices_differ_without_l2norm")


def test_codebook_entries_are_unit_vectors(recorded: Any, vq: VQModel) -> None:
    found = entries(vq, recorded.tensor("vq/encode.indices"))
    torch.testing.assert_close(found, recorded.tensor("vq/codebook.entries"), rtol=0, atol=1e-4)
    found = found.view(2, 4, 4, -1).permute(0, 3, 1, 2)
    torch.testing.assert_close(found, recorded.tensor("vq/codebook.entries_bchw"), rtol=0, atol=1e-4)


def test_decoding_equals_the_reference(recorded: Any, vq: VQModel) -> None:
    indices = recorded.tensor("vq/encode.indices").view(2, 4, 4)[:1]
    torch.testing.assert_close(
        vq.decode(indices), recorded.tensor("vq/decode.from_encode"), rtol=0, atol=1e-4
    )
    indices = recorded.tensor("vq/decode.arange_indices")
    expected = recorded.tensor("vq/decode.arange_pixels")
    torch.testing.assert_close(vq.decode(indices.view(1, 4, 4)), expected, rtol=0, atol=1e-4)
    expected = recorded.tensor("vq/decode.nonsquare")
    torch.testing.assert_close(vq.decode(indices[:, :6].view(1, 2, 3)), expected, rtol=0, atol=1e-4)


def test_pictures_have_the_recorded_ids(
    recorded: Any, pipe: JanusPipeline, picture: Callable[[str], Tensor]
) -> None:
    names = recorded.value("vq.encode_input")
    pixels = pipe.image_processor.pixels([picture(name) for name in names])
    assert torch.equal(pixels, recorded.tensor("vq/encode.input"))
    tokens = torch.cat([pipe.encode_tokens(picture(name)[None]) for name in names])
    assert tokens.flatten().tolist() == recorded.tensor("vq/encode.indices").tolist()


def test_tokens_give_the_recorded_picture(recorded: Any, pipe: JanusPipeline) -> None:
    images = pipe.decode_tokens(recorded.tensor("vq/decode.arange_indices"))
    expected = (recorded.tensor("vq/decode.arange_pixels").clamp(-1, 1) + 1) / 2
    torch.testing.assert_close(images.permute(0, 3, 1, 2), expected, rtol=0, atol=1e-4)


def test_an_unfinished_image_decodes_in_whole_grid_rows(pipe: JanusPipeline) -> None:
    tokens = torch.arange(16).view(1, 16) % 128
    assert pipe.decode_tokens(tokens[:, :8]).shape == (1, 32, 64, 3)


def test_other_sizes_encode_to_one_id_per_patch() -> None:
    generation = random_model(small_config(image_size=36)).generation
    pixels = torch.rand(2, 3, 36, 36, generator=torch.Generator().manual_seed(0)) * 2 - 1
    tokens = generation.encode(pixels)
    assert tokens.shape == (2, 81)
    assert len(tokens.unique()) > 10
    assert generation.decode(tokens).shape == (2, 3, 36, 36)

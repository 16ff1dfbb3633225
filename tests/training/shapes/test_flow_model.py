"""The start of the flow demonstration: what it takes over, and sizes that others rely on."""

from __future__ import annotations

import pytest
import torch
from janus_nodes.janus_core import DEMONSTRATION, JanusPipeline, load_pipeline, missing_files
from janus_nodes.janus_core.training.shapes.boxes import BOXES
from janus_nodes.janus_core.training.shapes.data import ShapesData


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> JanusPipeline:
    """The untrained checkpoint, loaded."""
    folder = tmp_path_factory.mktemp("start")
    BOXES["janusflow-shapes"].write_start(folder, ShapesData(), 0)
    assert missing_files(folder) == []
    return load_pipeline(folder, dtype=torch.float32)


def test_the_language_model_and_the_vision_tower_are_those_of_janus_shapes(start: JanusPipeline) -> None:
    trained = load_pipeline(DEMONSTRATION, dtype=torch.float32).model
    for name, part in (("body", trained.body), ("understanding.tower", trained.understanding.tower)):
        copied = start.model.get_submodule(name).state_dict()
        assert copied and all(torch.equal(part.state_dict()[key], copied[key]) for key in copied)
    assert BOXES["janusflow-shapes"].origin().startswith("janus-shapes ")
    assert BOXES["janus-shapes"].origin() == ""


def test_it_fits_into_16_megabytes_and_into_comfyuis_vae(start: JanusPipeline) -> None:
    assert sum(parameter.numel() for parameter in start.model.parameters()) * 2 < 15.75e6
    config = start.model.generation.config
    assert config.latent_shape == (4, 12, 12) and config.num_tokens == 1 + 9
    assert all(width % 32 == 0 for width in config.vae.block_out_channels)


def test_the_first_velocity_is_zero(start: JanusPipeline) -> None:
    latents, time = torch.randn(2, 4, 12, 12), torch.tensor([0.2, 0.7])
    with torch.no_grad():
        inputs, skip, time_embeds = start.model.generation.embed_latents(latents, time)
        assert not start.model.generation.velocity(inputs, skip, time_embeds).any()
    assert 0.1 < float(inputs.std()) < 3.0

"""The demonstration model that draws by flow: its recipe, and the weights from which it starts."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import torch

from ...checkpoints.save import save_model
from ...config import FlowGenerationConfig, JanusConfig, ProjectorConfig, UViTConfig, VAEConfig
from ...file_io import read_json
from ...loading import DEMONSTRATION, load_pipeline
from ...models.janus import Janus
from ..recipe import AUTOENCODER, FLOW_ADAPTORS, FLOW_BODY, Recipe, Stage
from ..samples import TrainingData
from .model import initialize_weights

# For two CPU cores. JanusFlow starts from a language model and an understanding encoder that are trained, and
# so does this: from those of Janus-Shapes, so most of each batch is drawings. The projector of the alignment
# is new in each stage.
# - The U-ViT is new and narrow, and learns faster than the language model: at three times its learning rate,
#   the error after 300 steps was 0.58 instead of 0.77; at six times, it was lower after 100 than at three.
# - What is drawn where is decided near the noise, hence the shift of the times: after 300 steps with twice
#   the shift, the error at time 0.08 was 8 % lower than without, and higher after 0.3.
_UNIFIED = Stage(
    "unified",
    "unified",
    FLOW_BODY,
    2500,
    68,
    1e-3,
    generator_rate=6.0,
    decay=0.0,
    shares=(3, 1, 64),
    alignment=0.5,
    draws=8,
    time_shift=-0.5,
)
FLOW_SHAPES_RECIPE = Recipe(
    (
        Stage("autoencoder", "autoencoder", AUTOENCODER, 2600, 8, 1.5e-3),
        replace(_UNIFIED, name="adaptors", trains=FLOW_ADAPTORS, steps=200),
        _UNIFIED,
        replace(_UNIFIED, name="annealing", steps=9000, decay=1.0, average=0.995),
    )
)

# A token is a cell of the world's grid, 4 x 4 latents, so that one token can tell an object from noise. After
# 420 s of training, the error was 0.27 with these, and 0.37 with tokens of 2 x 2 latents. The transformer is
# causal: only the U-ViT lets a position see the noise of later ones, as it must to draw the right number of
# objects in the right places. Its kernels cover the whole grid.
UVIT_WIDTH, UVIT_BLOCKS = 88, 2
PATCH_SIZE = 4
BODY_LAYERS = 5  # the first ones of Janus-Shapes; what the others would take is the U-ViT's
VAE_WIDTHS = (32, 32, 32, 32)  # multiples of 32, as ComfyUI's own class of this VAE needs


def write_flow_start(folder: Path, data: TrainingData, seed: int) -> None:
    """Writes the checkpoint from which training starts: parts of Janus-Shapes, and untrained ones.

    The vision tower, the language model and its tokenizer are those of Janus-Shapes; the seed determines the
    other weights.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"):
        shutil.copyfile(DEMONSTRATION / name, folder / name)
    processor = read_json(DEMONSTRATION / "processor_config.json")
    del processor["image_sampling"], processor["reasoning_prompt"]
    (folder / "processor_config.json").write_text(json.dumps(processor, indent=2), encoding="utf-8")
    trained = load_pipeline(DEMONSTRATION, dtype=torch.float32).model
    model = Janus(flow_config(trained.config))
    initialize_weights(model, seed)
    model.understanding.tower.load_state_dict(trained.understanding.tower.state_dict())
    body = trained.body.state_dict()
    model.body.load_state_dict({name: body[name] for name in model.body.state_dict()})
    save_model(model, folder)  # last, since config.json marks the folder as complete


def flow_config(base: JanusConfig) -> JanusConfig:
    """Returns the config of a model that draws by flow, around the other parts of a token model."""
    width, vision = base.body.hidden_size, base.understanding.vision
    uvit = UViTConfig(
        channels=4,
        block_out_channels=UVIT_WIDTH,
        patch_size=PATCH_SIZE,
        layers_in_middle=UVIT_BLOCKS,
        hidden_size=width,
        norm_eps=base.body.rms_norm_eps,
    )
    return replace(
        base,
        body=replace(base.body, num_hidden_layers=BODY_LAYERS),
        understanding=replace(
            base.understanding,
            aligner=ProjectorConfig(vision.hidden_size, width, depth=1),
            start_embedding=True,
        ),
        generation=FlowGenerationConfig(
            encoder=uvit,
            decoder=uvit,
            hidden_size=width,
            rms_norm_eps=base.body.rms_norm_eps,
            image_size=vision.image_size,
            vae=VAEConfig(VAE_WIDTHS, layers_per_block=1, latent_channels=4, norm_num_groups=8),
        ),
    )

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
    1500,
    32,
    1e-3,
    generator_rate=6.0,
    decay=0.0,
    shares=(3, 1, 28),
    alignment=0.5,
    draws=4,
    time_shift=-0.5,
)
FLOW_SHAPES_RECIPE = Recipe(
    (
        Stage("autoencoder", "autoencoder", AUTOENCODER, 2600, 8, 1.5e-3),
        replace(_UNIFIED, name="adaptors", trains=FLOW_ADAPTORS, steps=100, shares=(1, 0, 3)),
        _UNIFIED,
        replace(_UNIFIED, name="annealing", steps=2500, decay=1.0, shares=(3, 1, 28), average=0.995),
    )
)

# The transformer is causal: only the convolutions let a position see the noise of later ones, as it must to
# draw the right number of objects in the right places. Two blocks, as in JanusFlow, see the whole image.
# Width is worth more than depth: after 300 steps, the error was 0.65 with 144 channels and a body of 4
# layers, 0.77 with 88 and 5, and 0.83 with 80, 4 and twice as many blocks in the decoder.
UVIT_WIDTH, UVIT_BLOCKS = 128, 2
BODY_LAYERS = 4  # the first ones of Janus-Shapes; what the others would take is the U-ViT's
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
        patch_size=2,
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

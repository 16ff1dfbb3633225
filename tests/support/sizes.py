"""Pipelines of the released models' sizes or of their proportions, without their weights.

The README's table of checkpoints has the working memory to draw images; this prints it:

    python -c "import sys; sys.path.insert(0, 'tests'); from support.packages import load_packages
    load_packages(); from support.sizes import drawing_gigabytes; print(drawing_gigabytes())"
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch
from janus_nodes.janus_core import JanusPipeline, Precision, load_pipeline
from janus_nodes.janus_core.checkpoints.layouts import LAYOUTS
from janus_nodes.janus_core.config import FlowGenerationConfig, JanusConfig, ProjectorConfig, VAEConfig
from janus_nodes.janus_core.models.janus import Janus
from janus_nodes.janus_core.pipeline.workspace import drawing_bytes
from janus_nodes.janus_core.prompt_batch import GenerationPromptStyle

from dev.gpu_session.resized import resized

from .checkpoints import GOLDEN, random_model

SDXL_VAE = VAEConfig(block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4)


def released_config(name: str) -> JanusConfig:
    """The config of a released checkpoint, such as `Janus-Pro-7B`; with SDXL's VAE if it draws by flow."""
    content = json.loads((GOLDEN / "real_configs" / f"{name}.config.json").read_text(encoding="utf-8"))
    layout = next(layout for layout in LAYOUTS if layout.describes(content))
    config = layout.read_config(content)
    if isinstance(config.generation, FlowGenerationConfig):
        config = replace(config, generation=replace(config.generation, vae=SDXL_VAE))
    return config


def shrunk_config(name: str) -> JanusConfig:
    """A config of the same proportions that a CPU runs in a moment: 96 pixels, width 256, 2 layers."""
    config = released_config(name)
    width, image_size = 256, 96
    vision = replace(
        config.understanding.vision,
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=512,
        image_size=image_size,
    )
    understanding = replace(
        config.understanding,
        vision=vision,
        aligner=replace(config.understanding.aligner, input_size=128, hidden_size=width),
    )
    body = replace(
        config.body,
        vocab_size=8192,
        hidden_size=width,
        intermediate_size=704,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=64,
    )
    generation = config.generation
    if isinstance(generation, FlowGenerationConfig):
        ends = [
            replace(end, block_out_channels=96, hidden_size=width)
            for end in (generation.encoder, generation.decoder)
        ]
        vae = replace(SDXL_VAE, block_out_channels=(32, 64, 64, 64))
        generation = replace(
            generation,
            encoder=ends[0],
            decoder=ends[1],
            hidden_size=width,
            image_size=image_size,
            vae=vae,
        )
    else:
        vq = replace(generation.vq, ch=32, codebook_size=2048)
        generation = replace(
            generation,
            vq=vq,
            aligner=ProjectorConfig(vq.codebook_dim, width, generation.aligner.depth),
            head=replace(generation.head, hidden_size=width, image_token_embed=width, codebook_size=2048),
            image_size=image_size,
        )
    return JanusConfig(understanding, body, generation)


def sized_pipeline(
    config: JanusConfig, device: str, dtype: torch.dtype = torch.float32, quantized: str | None = None
) -> JanusPipeline:
    """A pipeline with random weights, or on `meta` with none, and a golden checkpoint's tokenizer."""
    if device == "meta":
        with torch.device("meta"):
            model = Janus(config).to(dtype).eval().requires_grad_(False)
    else:
        model = random_model(config, dtype=dtype)
    _replace_layers(model, Precision(dtype, quantized=quantized))
    flow = isinstance(config.generation, FlowGenerationConfig)
    golden = load_pipeline(GOLDEN / ("janusflow-tiny" if flow else "janus-pro-tiny"), dtype=torch.float32)
    return resized(golden, model, device)


def _replace_layers(model: Janus, precision: Precision) -> None:
    for name, layer_class in precision.replacing(model).items():
        layer = model.get_submodule(name)
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, layer_class(layer.weight, getattr(layer, "bias", None)))


def drawing_gigabytes() -> dict[str, list[float]]:
    """Working memory in bf16 to draw 1 and 8 images with guidance and previews, by checkpoint."""
    pipelines = {
        name: sized_pipeline(released_config(name), "meta", torch.bfloat16)
        for name in ("Janus-Pro-1B", "Janus-Pro-7B")
    }
    shapes = Path(__file__).resolve().parents[2] / "janus_core/assets/janus-shapes"
    pipelines["Janus-Shapes"] = load_pipeline(shapes, dtype=torch.bfloat16)
    table = {}
    for name, pipe in pipelines.items():
        style = GenerationPromptStyle()
        prompt = pipe.prompts.generation(
            "A red fox in the snow.", "", True, pipe.model.generation.config.num_tokens, style
        )
        table[name] = [round(drawing_bytes(pipe, prompt, count, preview=True) / 1e9, 3) for count in (1, 8)]
    return table

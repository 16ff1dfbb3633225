"""Stand-ins for the Stable Diffusion checkpoints and VAEs that some example workflows select.

All their weights are zero. They load as the real models do and generate a uniform grey, so a workflow can be
run to its end with them. A Stable Diffusion 1.5 checkpoint stands in for SDXL as well. The files are sparse
and take no space on disk.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import prod
from pathlib import Path

Shapes = dict[str, tuple[int, ...]]

TEXT, TEXT_LAYERS, WORDS, PLACES = (
    768,
    12,
    49408,
    77,
)  # CLIP-L, whose sizes ComfyUI does not read from the file
UNET, TIME = 320, 1280
CODER = 64
# The bias of the last layer, its value 0.5 in float16, and the grey level that is saved. NaN would be black.
COLOUR, HALF, GREY = "taesd_decoder.19.bias", b"\x00\x38", 127
# Layers of TAESD by index; those without weights (activations, upsampling) are empty strings.
ENCODER = ("end", "block", *("resize", "block", "block", "block") * 3, "end")
DECODER = ("", "end", "", *("block", "block", "block", "", "resize") * 3, "block", "end")


def write_zeros(file: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Writes a safetensors file of float16 zeros, except for the colour that a VAE decodes to."""
    header: dict[str, dict[str, object]] = {}
    colours, end = [], 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * prod(shape)
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": (begin, end)}
        if name.endswith(COLOUR):
            colours.append((begin, prod(shape)))
    text = json.dumps(header).encode()
    data = 8 + len(text)
    with file.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        stream.truncate(data + end)
        for begin, count in colours:
            stream.seek(data + begin)
            stream.write(HALF * count)


def tiny_autoencoder() -> Shapes:
    """Tensors of TAESD (github.com/madebyollin/taesd), a VAE that ComfyUI's loaders accept."""
    found: Shapes = {}
    for part, layers, first, last in (
        ("taesd_encoder", ENCODER, (CODER, 3), (4, CODER)),
        ("taesd_decoder", DECODER, (CODER, 4), (3, CODER)),
    ):
        ends = iter((first, last))
        for index, kind in enumerate(layers):
            if kind == "end":
                linear(found, f"{part}.{index}", *next(ends), 3, 3)
            elif kind == "resize":
                found[f"{part}.{index}.weight"] = (CODER, CODER, 3, 3)
            elif kind == "block":
                for place in (0, 2, 4):
                    linear(found, f"{part}.{index}.conv.{place}", CODER, CODER, 3, 3)
    return found


def diffusion_checkpoint() -> Shapes:
    """Tensors of Stable Diffusion 1.5 with a one-level U-Net, its text encoder and the tiny VAE."""
    unet: Shapes = {}
    linear(unet, "time_embed.0", TIME, UNET)
    linear(unet, "time_embed.2", TIME, TIME)
    linear(unet, "input_blocks.0.0", UNET, 4, 3, 3)
    for block, channels in (
        ("input_blocks.1", UNET),
        ("output_blocks.0", 2 * UNET),
        ("output_blocks.1", 2 * UNET),
    ):
        residual_block(unet, f"{block}.0", channels)
        transformer(unet, f"{block}.1")
    norm(unet, "out.0", UNET)
    linear(unet, "out.2", 4, UNET, 3, 3)
    found = {f"model.diffusion_model.{name}": shape for name, shape in unet.items()}
    found |= {f"first_stage_model.{name}": shape for name, shape in tiny_autoencoder().items()}
    return found | {
        f"cond_stage_model.transformer.text_model.{name}": s for name, s in text_encoder().items()
    }


def text_encoder() -> Shapes:
    """Tensors of the CLIP-L text encoder."""
    found: Shapes = {
        "embeddings.token_embedding.weight": (WORDS, TEXT),
        "embeddings.position_embedding.weight": (PLACES, TEXT),
    }
    for index in range(TEXT_LAYERS):
        layer = f"encoder.layers.{index}"
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            linear(found, f"{layer}.self_attn.{name}", TEXT, TEXT)
        linear(found, f"{layer}.mlp.fc1", 4 * TEXT, TEXT)
        linear(found, f"{layer}.mlp.fc2", TEXT, 4 * TEXT)
        norm(found, f"{layer}.layer_norm1", TEXT)
        norm(found, f"{layer}.layer_norm2", TEXT)
    norm(found, "final_layer_norm", TEXT)
    return found


def residual_block(found: Shapes, name: str, channels: int) -> None:
    """Adds a residual block from `channels` to `UNET` channels."""
    norm(found, f"{name}.in_layers.0", channels)
    linear(found, f"{name}.in_layers.2", UNET, channels, 3, 3)
    linear(found, f"{name}.emb_layers.1", UNET, TIME)
    norm(found, f"{name}.out_layers.0", UNET)
    linear(found, f"{name}.out_layers.3", UNET, UNET, 3, 3)
    if channels != UNET:
        linear(found, f"{name}.skip_connection", UNET, channels, 1, 1)


def transformer(found: Shapes, name: str) -> None:
    """Adds one transformer block: self-attention, cross-attention to the text, feed-forward."""
    norm(found, f"{name}.norm", UNET)
    for projection in ("proj_in", "proj_out"):
        linear(found, f"{name}.{projection}", UNET, UNET, 1, 1)
    block = f"{name}.transformer_blocks.0"
    for attention, seen in (("attn1", UNET), ("attn2", TEXT)):
        found[f"{block}.{attention}.to_q.weight"] = (UNET, UNET)
        found[f"{block}.{attention}.to_k.weight"] = (UNET, seen)
        found[f"{block}.{attention}.to_v.weight"] = (UNET, seen)
        linear(found, f"{block}.{attention}.to_out.0", UNET, UNET)
    linear(found, f"{block}.ff.net.0.proj", 8 * UNET, UNET)
    linear(found, f"{block}.ff.net.2", UNET, 4 * UNET)
    for index in (1, 2, 3):
        norm(found, f"{block}.norm{index}", UNET)


def linear(found: Shapes, name: str, out: int, *into: int) -> None:
    """Adds a linear layer or convolution with bias; `into` is the input size, followed by the kernel size."""
    found.update({f"{name}.weight": (out, *into), f"{name}.bias": (out,)})


def norm(found: Shapes, name: str, size: int) -> None:
    """Adds a normalization layer with scale and bias."""
    found.update({f"{name}.weight": (size,), f"{name}.bias": (size,)})

"""The VAE that a checkpoint's folder holds, as ComfyUI's own."""

import comfy.sd
import torch

from ..janus_core import vae_tensors
from .memory import LoadedJanus

# ComfyUI's class of this VAE is built with as many groups in each of its norms.
_GROUPS = 32

_FIX = "use Load VAE with SDXL's VAE"


class MissingVAE:
    """The value of the output where there is no VAE; using it says so."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def __getattr__(self, name: str) -> None:
        # An AttributeError, since ComfyUI asks any value for attributes that it may lack.
        raise AttributeError(self._reason)


def own_vae(model: LoadedJanus) -> "comfy.sd.VAE | MissingVAE":
    """Returns the VAE of a checkpoint, or a value that says why there is none when it is used."""
    name, generation = model.pipeline.folder.name, model.pipeline.model.config.generation
    config = getattr(generation, "vae", None)
    if config is None:
        return MissingVAE(
            f"vae must be one that the checkpoint's folder holds, got none in {name!r}; for JanusFlow "
            f"{_FIX}, other models need no VAE"
        )
    width, *wider = config.block_out_channels
    if any(other % width for other in wider) or width % _GROUPS:
        return MissingVAE(
            f"vae must have widths that are multiples of the first, and that of {_GROUPS}, for ComfyUI, got "
            f"{list(config.block_out_channels)} in {name!r}; {_FIX}"
        )
    sizes = {
        "double_z": True,
        "z_channels": config.latent_channels,
        "resolution": generation.image_size,
        "in_channels": 3,
        "out_ch": 3,
        "ch": width,
        "ch_mult": [other // width for other in config.block_out_channels],
        "num_res_blocks": config.layers_per_block,
        "attn_resolutions": [],
        "dropout": 0.0,
    }
    params = {"ddconfig": sizes, "embed_dim": config.latent_channels}
    vae = comfy.sd.VAE(sd=vae_tensors(model.pipeline.model), config={"params": params})
    for layer in vae.first_stage_model.modules():
        if isinstance(layer, torch.nn.GroupNorm):
            layer.num_groups = config.norm_num_groups
    return vae

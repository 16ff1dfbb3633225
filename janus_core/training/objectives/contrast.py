"""Training of the vision tower: which texts match which regions (SigLIP, arXiv:2303.15343)."""

from __future__ import annotations

import math
import random

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...models.siglip import SiglipBlock
from ...pipeline.pipeline import JanusPipeline
from ..pictures import to_images
from ..recipe import Stage
from ..samples import Region, TrainingData
from ..sequences import pad_right


class ContrastObjective(nn.Module):
    """SigLIP's sigmoid loss, with a text tower that exists only during this stage.

    SigLIP pools a whole picture by attention. Here the features of a region's patches are averaged, since the
    language model reads the features of all patches.
    """

    TEXT_LENGTH = 48
    TEXT_LAYERS = 2
    SCALE = math.log(10.0)
    BIAS = -4.0  # SigLIP's is -10, for batches in which one pair in thousands matches

    def __init__(self, pipeline: JanusPipeline, stage: Stage, data: TrainingData) -> None:
        super().__init__()
        self.pipeline, self.stage, self.data = pipeline, stage, data
        vision = pipeline.model.config.understanding.vision
        self.embed = nn.Embedding(pipeline.model.config.body.vocab_size, vision.hidden_size)
        self.positions = nn.Embedding(self.TEXT_LENGTH, vision.hidden_size)
        self.blocks = nn.ModuleList(SiglipBlock(vision) for _ in range(self.TEXT_LAYERS))
        self.scale, self.bias = nn.Parameter(torch.tensor(self.SCALE)), nn.Parameter(torch.tensor(self.BIAS))

    def losses(self, step: int, rng: random.Random) -> dict[str, Tensor]:
        """Returns the losses of one batch by name; "loss" is the one to minimise."""
        pipeline = self.pipeline
        pictures, regions = self.data.regions(rng, self.stage.batch_size)
        texts = sorted({text for region in regions for text in region.texts})
        pixel_values = pipeline.image_processor.pixel_values(to_images(pictures)).to(pipeline.device)
        patch_features = pipeline.model.understanding.tower(pixel_values)
        region_features = F.normalize(pool_regions(patch_features, regions), dim=-1)
        text_features = F.normalize(self._encode_texts(texts), dim=-1)
        matches = torch.tensor([[text in region.texts for text in texts] for region in regions])
        matches = matches.to(region_features.device)
        # Autocast is off: a scaled product plus the bias is a difference of large numbers.
        with torch.autocast(region_features.device.type, enabled=False):
            logits = region_features.float() @ text_features.float().T * self.scale.exp() + self.bias
        # Algorithm 1 of SigLIP: every pair of a region and a text is a binary decision.
        loss = F.binary_cross_entropy_with_logits(logits, matches.to(logits.dtype), reduction="sum")
        return {"loss": loss / len(logits), "matched": (logits[matches] > 0).float().mean()}

    def finish(self) -> None:
        """Does nothing; the text tower is dropped."""

    def _encode_texts(self, texts: list[str]) -> Tensor:
        """Encodes texts as the mean of their token features, [B, C]."""
        pipeline = self.pipeline
        tokenizer = pipeline.prompts.tokenizer
        encoded = [tokenizer.encode(text)[: self.TEXT_LENGTH] for text in texts]
        ids = pad_right(encoded, tokenizer.pad_id).to(pipeline.device)
        states = self.embed(ids) + self.positions.weight[: ids.shape[1]]
        for block in self.blocks:
            states = block(states)
        is_text = (ids != tokenizer.pad_id)[..., None]
        return (states * is_text).sum(dim=1) / is_text.sum(dim=1)


def pool_regions(features: Tensor, regions: list[Region]) -> Tensor:
    """Averages features [B, N, C] of a square grid over the patches whose centre is in a region: [R, C].

    A region too small to contain the centre of a patch gets the feature of the patch at its own centre.
    """
    side = math.isqrt(features.shape[1])
    centres = (torch.arange(side) + 0.5) / side
    left, top, right, bottom = torch.tensor([region.box for region in regions])[:, :, None].unbind(dim=1)
    inside_x, inside_y = (
        ((centres >= low) & (centres < high)) | (((low + high) / 2 * side).long() == torch.arange(side))
        for low, high in ((left, right), (top, bottom))
    )
    inside = (inside_y[:, :, None] & inside_x[:, None, :]).flatten(1).to(features)[..., None]
    pictures = torch.tensor([region.picture for region in regions], device=features.device)
    return (features[pictures] * inside).sum(dim=1) / inside.sum(dim=1)

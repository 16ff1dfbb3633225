"""Training the understanding encoder: which text belongs to which picture (SigLIP, arXiv:2303.15343)."""

from __future__ import annotations

import math
import random

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...config import SiglipConfig
from ...models.siglip import SiglipBlock
from ...pipeline.pipeline import JanusPipeline
from ..losses import sigmoid_loss
from ..pictures import to_images
from ..recipe import Stage
from ..samples import Data, Region


class ContrastObjective(nn.Module):
    """A text tower for the length of this stage, beside the vision tower that stays.

    SigLIP pools a whole picture by attention; here the features of a region's patches are averaged, since
    what comes after reads all of them.
    """

    TEXT_LENGTH = 48
    TEXT_LAYERS = 2
    SCALE, BIAS = math.log(10.0), -4.0  # SigLIP's is -10, for texts of which one in thousands is true

    def __init__(self, pipeline: JanusPipeline, stage: Stage, data: Data) -> None:
        super().__init__()
        self.pipeline, self.stage, self.data = pipeline, stage, data
        vision = pipeline.model.config.understanding.vision
        width = vision.hidden_size
        config = SiglipConfig(
            width, self.TEXT_LAYERS, vision.num_attention_heads, vision.intermediate_size, width, width
        )
        self.embed = nn.Embedding(pipeline.model.config.body.vocab_size, width)
        self.positions = nn.Embedding(self.TEXT_LENGTH, width)
        self.blocks = nn.ModuleList(SiglipBlock(config) for _ in range(self.TEXT_LAYERS))
        self.scale, self.bias = nn.Parameter(torch.tensor(self.SCALE)), nn.Parameter(torch.tensor(self.BIAS))

    def losses(self, step: int, rng: random.Random) -> dict[str, Tensor]:
        """Losses of one batch; the first is what is made small."""
        pipeline = self.pipeline
        pictures, regions = self.data.regions(rng, self.stage.batch_size)
        texts = sorted({text for region in regions for text in region.texts})
        pixel_values = pipeline.image_processor.pixel_values(to_images(pictures)).to(pipeline.device)
        seen = F.normalize(pooled(pipeline.model.understanding.tower(pixel_values), regions), dim=-1)
        read = F.normalize(self._texts(texts), dim=-1)
        true = torch.tensor([[text in region.texts for text in texts] for region in regions]).to(seen.device)
        # Without autocast: products times the scale plus the bias are differences of large numbers.
        with torch.autocast(seen.device.type, enabled=False):
            logits = seen.float() @ read.float().T * self.scale.exp() + self.bias
        return {"loss": sigmoid_loss(logits, true), "matched": (logits[true] > 0).float().mean()}

    def finish(self) -> None:
        """Nothing is left to do."""

    def _texts(self, texts: list[str]) -> Tensor:
        pipeline = self.pipeline
        tokenizer = pipeline.prompts.tokenizer
        rows = [tokenizer.encode(text)[: self.TEXT_LENGTH] for text in texts]
        ids = torch.full((len(texts), max(map(len, rows))), tokenizer.pad_id)
        for row, tokens in enumerate(rows):
            ids[row, : len(tokens)] = torch.tensor(tokens)
        ids = ids.to(pipeline.device)
        states = self.embed(ids) + self.positions.weight[: ids.shape[1]]
        for block in self.blocks:
            states = block(states)
        read = (ids != tokenizer.pad_id)[..., None]
        return (states * read).sum(dim=1) / read.sum(dim=1)


def pooled(features: Tensor, regions: list[Region]) -> Tensor:
    """The mean feature [R, C] of the patches of which the middle lies in a region, from [B, N, C].

    Where a region is too small to hold one, it is that of the patch in which its own middle lies.
    """
    side = math.isqrt(features.shape[1])
    middles = (torch.arange(side) + 0.5) / side
    left, top, right, bottom = torch.tensor([region.box for region in regions])[:, :, None].unbind(dim=1)
    across, down = (
        ((middles >= low) & (middles < high)) | (((low + high) / 2 * side).long() == torch.arange(side))
        for low, high in ((left, right), (top, bottom))
    )
    inside = (down[:, :, None] & across[:, None, :]).flatten(1).to(features)[..., None]
    pictures = torch.tensor([region.picture for region in regions], device=features.device)
    return (features[pictures] * inside).sum(dim=1) / inside.sum(dim=1)

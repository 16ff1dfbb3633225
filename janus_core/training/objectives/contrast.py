"""Training the understanding encoder: which caption belongs to which picture (SigLIP, arXiv:2303.15343)."""

from __future__ import annotations

import math
import random

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...config import SiglipConfig
from ...models.siglip import SiglipBlock
from ...pipeline import JanusPipeline
from ..losses import sigmoid_loss
from ..pictures import to_images
from ..recipe import Stage
from ..samples import Data
from ..vision import whiten_inputs

FINISH_BATCHES = 4  # whose features tell what the tower says


class ContrastObjective(nn.Module):
    """A text tower for the length of this stage, beside the vision tower that stays.

    SigLIP pools by attention; here features are averaged, since what comes after reads all of them.
    """

    TEXT_LENGTH = 48
    TEXT_LAYERS = 2
    SCALE, BIAS = math.log(10.0), -10.0  # SigLIP, section 3.2

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
        pictures, captions = self.data.pairs(rng, self.stage.batch_size)
        pixel_values = pipeline.image_processor.pixel_values(to_images(pictures)).to(pipeline.device)
        images = F.normalize(pipeline.model.understanding.tower(pixel_values).mean(dim=1), dim=-1)
        texts = F.normalize(self._texts(captions), dim=-1)
        # Without autocast: products times the scale plus the bias are differences of large numbers.
        with torch.autocast(images.device.type, enabled=False):
            loss = sigmoid_loss(images.float(), texts.float(), self.scale, self.bias)
        hits = (images @ texts.T).argmax(dim=1).cpu() == torch.arange(len(captions))
        return {"loss": loss, "matched": hits.float().mean()}

    @torch.no_grad()
    def finish(self) -> None:
        """Lets the projector begin with all that the tower now tells, faint parts too.

        What it had learnt before is lost: this stage comes before those that train it.
        """
        understanding = self.pipeline.model.understanding
        rng = random.Random(f"{self.stage.name}, finish")
        features = []
        for _ in range(FINISH_BATCHES):
            pictures, _ = self.data.pairs(rng, self.stage.batch_size)
            pixel_values = self.pipeline.image_processor.pixel_values(to_images(pictures))
            features.append(understanding.tower(pixel_values.to(self.pipeline.device)).flatten(0, 1))
        first = understanding.aligner.layers[0]
        assert isinstance(first, nn.Linear)
        whiten_inputs(first, torch.cat(features))

    def _texts(self, captions: list[str]) -> Tensor:
        pipeline = self.pipeline
        tokenizer = pipeline.prompts.tokenizer
        ids = torch.full((len(captions), self.TEXT_LENGTH), tokenizer.pad_id)
        for row, caption in enumerate(captions):
            tokens = tokenizer.encode(caption)[: self.TEXT_LENGTH]
            ids[row, : len(tokens)] = torch.tensor(tokens)
        ids = ids.to(pipeline.device)
        states = self.embed(ids) + self.positions.weight
        for block in self.blocks:
            states = block(states)
        read = (ids != tokenizer.pad_id)[..., None]
        return (states * read).sum(dim=1) / read.sum(dim=1)

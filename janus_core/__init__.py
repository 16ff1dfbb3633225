"""Janus, Janus-Pro and JanusFlow in PyTorch: images to text and text to images, without ComfyUI."""

from .best_of import RankedImages, best_of
from .captioning.files import CAPTION_FILES
from .captioning.folder import CaptionFolder, CaptionReport, caption_folder
from .checkpoints.files import missing_files
from .checkpoints.load import PRECISIONS
from .checkpoints.save import convert_bin
from .image_inputs import VisionFeatures
from .loading import DEMONSTRATION, load_pipeline, save_checkpoint
from .memory import (
    memory_for_pixels,
    memory_to_caption,
    memory_to_choose,
    memory_to_find_best,
    memory_to_generate,
    memory_to_score,
    memory_to_see,
    memory_to_understand,
)
from .models.janus import Janus
from .models.layers import RMSNorm
from .models.uvit import GlobalResponseNorm
from .pipeline import JanusPipeline
from .presets import RELEASES
from .processing.chat import CHAT_FORMATS, DEFAULT_SYSTEM_PROMPT
from .processing.judging import SCORE_TEMPLATE
from .sampling.options import MAX_SEED, FlowSampling, TextSampling, TokenSampling
from .sampling.results import GeneratedImages, GeneratedLatents
from .sampling.solvers import SOLVERS

__all__ = [
    "CAPTION_FILES",
    "CHAT_FORMATS",
    "DEFAULT_SYSTEM_PROMPT",
    "DEMONSTRATION",
    "MAX_SEED",
    "PRECISIONS",
    "RELEASES",
    "SCORE_TEMPLATE",
    "SOLVERS",
    "CaptionFolder",
    "CaptionReport",
    "FlowSampling",
    "GeneratedImages",
    "GeneratedLatents",
    "GlobalResponseNorm",
    "Janus",
    "JanusPipeline",
    "RMSNorm",
    "RankedImages",
    "TextSampling",
    "TokenSampling",
    "VisionFeatures",
    "best_of",
    "caption_folder",
    "convert_bin",
    "load_pipeline",
    "memory_for_pixels",
    "memory_to_caption",
    "memory_to_choose",
    "memory_to_find_best",
    "memory_to_generate",
    "memory_to_score",
    "memory_to_see",
    "memory_to_understand",
    "missing_files",
    "save_checkpoint",
]

"""Janus, Janus-Pro and JanusFlow in PyTorch: images to text and text to images, without ComfyUI."""

from .checkpoints.files import missing_files
from .checkpoints.load import PRECISIONS
from .checkpoints.save import convert_bin
from .conversation import Conversation
from .edit_inputs import FORMS as EDIT_FORMS
from .image_inputs import VisionFeatures
from .json_answers import json_text, parse_json
from .loading import DEMONSTRATION, load_pipeline, save_checkpoint
from .memory import memory_for_pixels, memory_to_edit, memory_to_generate, memory_to_see, memory_to_understand
from .models.janus import Janus
from .models.layers import RMSNorm
from .models.uvit import GlobalResponseNorm
from .pipeline import JanusPipeline
from .presets import RELEASES
from .processing.chat import CHAT_FORMATS, DEFAULT_SYSTEM_PROMPT, Turn
from .sampling.options import MAX_SEED, EditSampling, FlowSampling, TextSampling, TokenSampling
from .sampling.results import EditedImages, GeneratedImages, GeneratedLatents
from .sampling.solvers import SOLVERS

__all__ = [
    "CHAT_FORMATS",
    "DEFAULT_SYSTEM_PROMPT",
    "DEMONSTRATION",
    "EDIT_FORMS",
    "MAX_SEED",
    "PRECISIONS",
    "RELEASES",
    "SOLVERS",
    "Conversation",
    "EditSampling",
    "EditedImages",
    "FlowSampling",
    "GeneratedImages",
    "GeneratedLatents",
    "GlobalResponseNorm",
    "Janus",
    "JanusPipeline",
    "RMSNorm",
    "TextSampling",
    "TokenSampling",
    "Turn",
    "VisionFeatures",
    "convert_bin",
    "json_text",
    "load_pipeline",
    "memory_for_pixels",
    "memory_to_edit",
    "memory_to_generate",
    "memory_to_see",
    "memory_to_understand",
    "missing_files",
    "parse_json",
    "save_checkpoint",
]

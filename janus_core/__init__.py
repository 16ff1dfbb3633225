"""Janus, Janus-Pro and JanusFlow in PyTorch: images to text and text to images, without ComfyUI."""

from .arguments import checked_text, checked_whole, listed, shown
from .captioning.files import CAPTION_FILES
from .captioning.folder import caption_folder
from .captioning.options import JOINS as CAPTION_JOINS
from .captioning.options import CaptionFolder
from .captioning.report import CaptionReport
from .checkpoints.adapter_files import ADAPTER_CONFIG
from .checkpoints.adapters import merged_changes, read_adapters
from .checkpoints.changes import Change, add_changes
from .checkpoints.files import WEIGHT_SUFFIXES, missing_files
from .checkpoints.precision import PRECISIONS, QUANTIZED_PRECISIONS, Precision
from .checkpoints.save import convert_bin, vae_tensors
from .checkpoints.sources import saved_precision
from .loading import DEMONSTRATION, FLOW_DEMONSTRATION, applied_adapters, load_pipeline, save_checkpoint
from .models.janus import Janus
from .models.layers import RMSNorm
from .models.parts import Part, Parts
from .models.quantized.int4_linear import Int4Embedding, Int4Linear
from .models.quantized.int8_linear import Int8Linear
from .models.quantized.registry import packed_bytes, weight_bytes
from .models.uvit import GlobalResponseNorm
from .pipeline.answer import Answer, repeats
from .pipeline.best_of import RankedImages, best_of
from .pipeline.conversation import Conversation
from .pipeline.device_memory import Room
from .pipeline.edit_request import EDIT_FORM_CHOICES
from .pipeline.inputs import VisionFeatures
from .pipeline.pipeline import JanusPipeline
from .pipeline.routing import DESCRIBE as DESCRIBE_TO_DRAW
from .pipeline.routing import TASKS as ROUTED_TASKS
from .pipeline.routing import Reply, Route, reply, route
from .pipeline.thinking.request import THINKING_FORM_CHOICES
from .pipeline.thinking_tasks import ThoughtImages
from .presets import RELEASES
from .processing.chat import CHAT_FORMATS, DEFAULT_SYSTEM_PROMPT, Turn
from .processing.image_files import BACKGROUNDS
from .processing.json_answers import json_text, parse_json
from .processing.judging import SCORE_TEMPLATE
from .sampling.options import MAX_SEED, EditSampling, FlowSampling, TextSampling, TokenSampling
from .sampling.results import EditedImages, GeneratedImages, GeneratedLatents
from .sampling.solvers import SOLVERS

__all__ = [
    "ADAPTER_CONFIG",
    "BACKGROUNDS",
    "CAPTION_FILES",
    "CAPTION_JOINS",
    "CHAT_FORMATS",
    "DEFAULT_SYSTEM_PROMPT",
    "DEMONSTRATION",
    "DESCRIBE_TO_DRAW",
    "EDIT_FORM_CHOICES",
    "FLOW_DEMONSTRATION",
    "MAX_SEED",
    "PRECISIONS",
    "QUANTIZED_PRECISIONS",
    "RELEASES",
    "ROUTED_TASKS",
    "SCORE_TEMPLATE",
    "SOLVERS",
    "THINKING_FORM_CHOICES",
    "WEIGHT_SUFFIXES",
    "Answer",
    "CaptionFolder",
    "CaptionReport",
    "Change",
    "Conversation",
    "EditSampling",
    "EditedImages",
    "FlowSampling",
    "GeneratedImages",
    "GeneratedLatents",
    "GlobalResponseNorm",
    "Int4Embedding",
    "Int4Linear",
    "Int8Linear",
    "Janus",
    "JanusPipeline",
    "Part",
    "Parts",
    "Precision",
    "RMSNorm",
    "RankedImages",
    "Reply",
    "Room",
    "Route",
    "TextSampling",
    "ThoughtImages",
    "TokenSampling",
    "Turn",
    "VisionFeatures",
    "add_changes",
    "applied_adapters",
    "best_of",
    "caption_folder",
    "checked_text",
    "checked_whole",
    "convert_bin",
    "json_text",
    "listed",
    "load_pipeline",
    "merged_changes",
    "missing_files",
    "packed_bytes",
    "parse_json",
    "read_adapters",
    "repeats",
    "reply",
    "route",
    "save_checkpoint",
    "saved_precision",
    "shown",
    "vae_tensors",
    "weight_bytes",
]

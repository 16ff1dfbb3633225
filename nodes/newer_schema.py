"""Parts of a node's schema that older versions of ComfyUI do not have; there they are left out."""

import inspect
from typing import Any

from comfy_api.latest import io


def _takes(kind: type, name: str) -> bool:
    return name in inspect.signature(kind).parameters


def rare(kind: type[io.Input]) -> dict[str, Any]:
    """Has Nodes 2.0 hide a widget of this class until the user asks for advanced inputs."""
    return {"advanced": True} if _takes(kind, "advanced") else {}


# By the node's id: what people type who do not know this pack's names. They let a node be found, but not come
# first: front ends (1.32 to 1.58) begin with the shortest id or name that starts with the typed word, so
# "janus" gives JanusAsk before JanusLoad. No field of a schema changes that.
SEARCH_WORDS = {
    "JanusLoad": "janus, janus pro, deepseek, deepseek janus, load model, checkpoint loader, vision language "
    "model, vlm, multimodal",
    "JanusGenerate": "deepseek, text to image, txt2img, t2i, draw, create image, image generation",
    "JanusUnderstand": "deepseek, vqa, visual question answering, image to text, caption, describe, tags, "
    "ocr, interrogate, read text, vision, vlm, florence, joycaption, llava, qwen vl, image to prompt",
    "JanusEdit": "deepseek, inpaint, inpainting, edit image, image to image, img2img, instruction, redraw",
    "JanusAsk": "deepseek, chat, assistant, prompt, vqa, text to image",
    "JanusLora": "deepseek, lora loader, load lora, adapter, peft, fine-tune",
    "JanusBestOf": "deepseek, text to image, txt2img, rerank, rank images, select best",
    "JanusThinkAndDraw": "deepseek, chain of thought, reasoning, t2i-r1, got-r1, reasongen-r1, text to image",
    "JanusScore": "deepseek, rate image, image score, clip score, similarity, alignment, judge",
    "JanusChoose": "deepseek, classify, classification, multiple choice, vqa, zero-shot",
    "JanusCaptionFolder": "deepseek, batch caption, caption dataset, tag folder, training captions, lora "
    "dataset, florence, joycaption",
    "JanusFlowSampler": "deepseek, janusflow, text to image, txt2img, rectified flow, sampler, img2img",
    "JanusSiglipEncode": "deepseek, clip vision encode, image features, vision encoder",
    "JanusVQEncode": "deepseek, image tokens, vae encode, tokenize image",
    "JanusVQDecode": "deepseek, image tokens, vae decode, detokenize",
    "JanusPromptList": "prompts, list of prompts, multiline prompts, split lines, batch prompts",
}


def found_by(node_id: str) -> dict[str, Any]:
    """Further words by which the node search finds a node."""
    words = SEARCH_WORDS[node_id].split(", ")
    return {"search_aliases": words} if _takes(io.Schema, "search_aliases") else {}

"""Load Janus-Pro: a checkpoint folder to a model."""

from comfy_api.latest import io

from ..janus_core import CHAT_FORMATS, PRECISIONS
from ..janus_core import convert_bin as convert_to_safetensors
from . import memory, paths
from .download import download_release
from .progress import report_count
from .types import CATEGORY, JanusModelSocket, chosen

_PRECISIONS = ["auto", *PRECISIONS]
_TEMPLATES = ["auto", *(name for name, chat in CHAT_FORMATS.items() if chat.user_text is None)]


class JanusLoad(io.ComfyNode):
    """A checkpoint's name in, a model out; the work is `janus_core.load_pipeline`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="JanusLoad",
            display_name="Load Janus-Pro",
            category=CATEGORY,
            description="Loads a Janus-1.3B, Janus-Pro, JanusFlow or compatible checkpoint from "
            "models/janus, or the built-in demonstration.",
            inputs=[
                io.Combo.Input(
                    "checkpoint",
                    options=paths.choices(),
                    tooltip="A folder in models/janus (or a janus path of extra_model_paths.yaml). Behind "
                    "these stands the built-in demonstration, which knows a small world of flat coloured "
                    "shapes and nothing else. Official releases that are not there yet are listed last; they "
                    "need download.",
                ),
                io.Boolean.Input(
                    "download",
                    default=False,
                    tooltip="On: fetches the official Janus-Pro-1B (4.2 GB) or Janus-Pro-7B (14.8 GB) from "
                    "huggingface.co into models/janus if it is not there; an error for other checkpoints of "
                    "your own. Off: nothing is ever downloaded.",
                ),
                io.Combo.Input(
                    "precision",
                    options=_PRECISIONS,
                    default="auto",
                    tooltip="Number format of the weights. auto: 2 bytes per weight where the device is fast "
                    "in them (bf16, fp16), else fp32. bf16 and fp16 take 2 bytes per weight (Janus-Pro-1B "
                    "4 GB, 7B 15 GB), fp32 takes 4, int8 takes 1 in the transformer (1B 3 GB, 7B 8 GB) at "
                    "some loss of quality. The image tokenizer is never in fp16.",
                ),
                io.Combo.Input(
                    "template",
                    options=_TEMPLATES,
                    default="auto",
                    tooltip="Chat template of the prompts. auto: what the checkpoint was trained with. "
                    "deepseek says <|User|> (Janus-Pro), deepseek_old says User (Janus-1.3B, T2I-R1, "
                    "GoT-R1), plain names no roles and leaves out the system prompt.",
                ),
                io.Boolean.Input(
                    "convert_bin",
                    default=False,
                    tooltip="On: writes a safetensors copy of pytorch_model.bin beside it, once; it takes as "
                    "much disk space again and the .bin stays. Later loads read the copy.",
                ),
            ],
            outputs=[
                JanusModelSocket.Output(
                    display_name="model",
                    tooltip="For all other Janus nodes. JanusFlow draws with JanusFlow Sampler, the others "
                    "with Janus Generate.",
                )
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, checkpoint: str | None = None, **kwargs: object) -> str:
        """Changes when the checkpoint's files do, so that a replaced checkpoint is loaded anew."""
        return paths.fingerprint(checkpoint) if checkpoint else ""

    @classmethod
    def execute(
        cls, checkpoint: str, precision: str, template: str, download: bool, convert_bin: bool
    ) -> io.NodeOutput:
        precision = chosen("precision", precision, _PRECISIONS)
        template = chosen("template", template, _TEMPLATES)
        if download:
            download_release(checkpoint)
        folder = paths.find(checkpoint)
        if convert_bin:
            convert_to_safetensors(folder, report_count())
        return io.NodeOutput(memory.load(folder, precision, None if template == "auto" else template))

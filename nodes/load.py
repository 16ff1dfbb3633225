"""Load Janus-Pro: loads a checkpoint."""

from comfy_api.latest import io

from ..janus_core import CHAT_FORMATS, PRECISIONS
from ..janus_core import convert_bin as convert_to_safetensors
from . import memory, paths, widgets
from .choices import choice_input, resolve_choice
from .download import download_release
from .model_facts import model_facts
from .newer_schema import found_by, rare
from .own_vae import own_vae
from .progress import progress_callback
from .result import ui_output
from .sockets import checks_inputs
from .types import JanusModelSocket

_PRECISIONS = ["auto", *PRECISIONS]
_TEMPLATES = ["auto", *(name for name, chat in CHAT_FORMATS.items() if chat.user_text is None)]


class JanusLoad(io.ComfyNode):
    """Loads a checkpoint with `janus_core.load_pipeline`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="JanusLoad",
            display_name="Load Janus-Pro",
            category=widgets.CATEGORY,
            **found_by("JanusLoad"),
            description="Loads a Janus-1.3B, Janus-Pro, JanusFlow or compatible checkpoint from "
            "models/janus, or the built-in demonstration.",
            inputs=[
                io.Combo.Input(
                    "checkpoint",
                    options=paths.choices(),
                    tooltip="A folder in models/janus, in a janus path of extra_model_paths.yaml, or in a "
                    "folder of another pack. Listed last: the built-in demonstration, and releases that need "
                    "download.",
                ),
                io.Boolean.Input(
                    "download",
                    default=False,
                    tooltip="On: downloads Janus-Pro-1B (4.2 GB) or Janus-Pro-7B (14.8 GB) from "
                    "huggingface.co to models/janus if it is not installed; an error for your own "
                    "checkpoints. Off: nothing is ever downloaded.",
                ),
                choice_input(
                    "precision",
                    _PRECISIONS,
                    "Data type of the weights. auto: 16 bits where the device is fast with them, else fp32. "
                    "bf16 and fp16 use 2 bytes per weight (Janus-Pro-1B 4 GB, 7B 15 GB), fp32 uses 4. int8 "
                    "uses 1 in the transformer (1B 3 GB, 7B 8 GB) at some loss of quality, int4 about half a "
                    "byte (1B 1.5 GB, 7B 4.6 GB) at more: logits change by 1 to 2 %. The image tokenizer "
                    "never runs in fp16.",
                ),
                choice_input(
                    "template",
                    _TEMPLATES,
                    "Chat template. auto: the one that the checkpoint was trained with, detected by its "
                    "name. deepseek marks turns with <|User|> (Janus-Pro), deepseek_old with User "
                    "(Janus-1.3B, T2I-R1, GoT-R1). plain uses no role texts and no system prompt.",
                ),
                io.Boolean.Input(
                    "convert_bin",
                    default=False,
                    tooltip="On: writes a safetensors copy of pytorch_model.bin beside it, once, which "
                    "later loads read. It takes the same disk space again; the .bin file is kept.",
                    **rare(io.Boolean.Input),
                ),
            ],
            outputs=[
                JanusModelSocket.Output(
                    display_name="model",
                    tooltip="For all other Janus nodes. JanusFlow generates images with JanusFlow Sampler, "
                    "other models with Janus Generate.",
                ),
                io.Vae.Output(
                    display_name="vae",
                    tooltip="For VAE Decode and VAE Encode with a JanusFlow checkpoint whose folder has a "
                    "vae folder. For others, use Load VAE.",
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, checkpoint: str | None = None, **kwargs: object) -> str:
        """Has ComfyUI load a checkpoint again when its files have changed."""
        return paths.fingerprint(checkpoint) if checkpoint else ""

    @classmethod
    def validate_inputs(cls, checkpoint: str | None = None) -> bool | str:
        """Replaces ComfyUI's check of `checkpoint`, since other machines may spell a name differently."""
        if checkpoint is None:  # it is linked
            return True
        try:
            return paths.refusal(checkpoint) or True
        except ValueError as error:
            return str(error)

    @classmethod
    @checks_inputs
    def execute(
        cls, checkpoint: str, precision: str, template: str, download: bool, convert_bin: bool
    ) -> io.NodeOutput:
        precision = resolve_choice("precision", precision, _PRECISIONS)
        template = resolve_choice("template", template, _TEMPLATES)
        if download:
            download_release(checkpoint)
        folder = paths.find(checkpoint)
        if convert_bin:
            convert_to_safetensors(folder, progress_callback())
        chosen = None if template == "auto" else template
        model = memory.load(folder, precision, chosen)
        facts = "\n".join(model_facts(model.pipeline, chosen))
        return io.NodeOutput(model, own_vae(model), ui=ui_output(cls, [facts]))

"""Janus LoRA: applies a LoRA adapter to a model."""

from comfy_api.latest import io

from . import adapter_folders, widgets
from .adapters import with_adapter
from .memory import LoadedJanus
from .newer_schema import found_by
from .sockets import checks_inputs
from .types import JanusModelSocket


class JanusLora(io.ComfyNode):
    """Adds an adapter to a model with `adapters.with_adapter`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="JanusLora",
            display_name="Janus LoRA",
            category=widgets.CATEGORY,
            **found_by("JanusLora"),
            description="Applies a LoRA adapter that was trained for a Janus model. Several can be chained.",
            inputs=[
                widgets.model_input(),
                io.Combo.Input(
                    "adapter",
                    options=list(adapter_folders.installed()),
                    tooltip="A folder with adapter_config.json in models/janus_loras or models/loras, or a "
                    ".safetensors file in models/janus_loras. It must be for this checkpoint.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=-2.0,
                    max=2.0,
                    step=0.05,
                    tooltip="How much of the adapter is applied: 1 as trained, 0 nothing, negative values "
                    "the opposite.",
                ),
            ],
            outputs=[
                JanusModelSocket.Output(
                    display_name="model",
                    tooltip="The model with the adapter. The input model can still be used without it.",
                )
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, adapter: str | None = None, **kwargs: object) -> str:
        """Has ComfyUI apply an adapter again when its files have changed."""
        return adapter_folders.fingerprint(adapter) if adapter else ""

    @classmethod
    @checks_inputs
    def execute(cls, model: LoadedJanus, adapter: str, strength: float) -> io.NodeOutput:
        return io.NodeOutput(with_adapter(model, adapter_folders.find(adapter), strength))

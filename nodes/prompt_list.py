"""Janus Prompt List: a text with one prompt per line, as a list that other nodes run over."""

from comfy_api.latest import io

from . import widgets
from .newer_schema import found_by
from .sockets import checks_inputs


class JanusPromptList(io.ComfyNode):
    """Splits a text into lines; ComfyUI runs the nodes connected to a list once per item."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="JanusPromptList",
            display_name="Janus Prompt List",
            category=widgets.CATEGORY,
            **found_by("JanusPromptList"),
            description="Makes a list of prompts from a text with one per line. Nodes connected to it run "
            "once for each, in one run of the workflow.",
            inputs=[
                widgets.text_input(
                    "prompts",
                    "A red star on a white background.\nA blue circle on a white background.",
                    "One prompt per line; empty lines are left out.",
                    dynamic_prompts=True,
                )
            ],
            outputs=[
                io.String.Output(
                    display_name="prompt",
                    is_output_list=True,
                    tooltip="A list with one text per line, for the prompt of Janus Generate or any other "
                    "text input.",
                )
            ],
        )

    @classmethod
    @checks_inputs
    def execute(cls, prompts: str) -> io.NodeOutput:
        lines = [line.strip() for line in prompts.splitlines() if line.strip()]
        if not lines:
            raise ValueError(f"prompts must hold text, got {prompts!r}; write one prompt per line")
        return io.NodeOutput(lines)

"""Janus Caption Folder: writes a caption for each image of a folder."""

from comfy_api.latest import io

from ..janus_core import CAPTION_FILES, CaptionFolder, TextSampling, caption_folder
from . import paths, widgets
from .choices import choice_input
from .memory import LoadedJanus
from .progress import TextReport
from .result import ui_output
from .understand import question_inputs, resolve_question


class JanusCaptionFolder(io.ComfyNode):
    """Captions a folder with `janus_core.caption_folder`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="JanusCaptionFolder",
            display_name="Janus Caption Folder",
            category=widgets.CATEGORY,
            description="Writes a caption file for each image of a folder, for training. An interrupted run "
            "continues where it stopped.",
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                widgets.model_input(),
                choice_input("location", paths.LOCATIONS, "The folder of ComfyUI that the images are in."),
                io.String.Input(
                    "folder",
                    default="",
                    tooltip="A path relative to it, such as my_dataset or sets/first, or a full path inside "
                    "input or output. A dot stands for all of it.",
                ),
                io.Boolean.Input("subfolders", default=False, tooltip="Also captions images in subfolders."),
                *question_inputs(),
                choice_input(
                    "output",
                    CAPTION_FILES,
                    "txt: a name.txt beside each name.png. jsonl: lines of one metadata.jsonl in the folder.",
                ),
                io.Boolean.Input(
                    "overwrite",
                    default=False,
                    tooltip="Off: images with a caption are skipped. On: existing captions are replaced.",
                ),
                io.String.Input(
                    "prefix",
                    default="",
                    tooltip="Text before each caption, such as a trigger word. Include the comma and space "
                    "that should follow it.",
                ),
                io.String.Input("suffix", default="", tooltip="Text after each caption."),
                *widgets.text_sampling_inputs(),
            ],
            outputs=[
                io.Int.Output(display_name="done", tooltip="Number of images captioned in this run."),
                io.Int.Output(display_name="skipped", tooltip="Number of images that already had a caption."),
                io.Int.Output(display_name="failed", tooltip="Number of images that could not be captioned."),
                io.String.Output(
                    display_name="report",
                    tooltip="The three counts, and the reason for each image that failed.",
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, **inputs: object) -> float:
        """NaN equals nothing, so the node runs each time: the folder's content is not among its inputs."""
        return float("nan")

    @classmethod
    def execute(
        cls,
        model: LoadedJanus,
        location: str,
        folder: str,
        subfolders: bool,
        task: str,
        question: str,
        output: str,
        overwrite: bool,
        prefix: str,
        suffix: str,
        **sampling,
    ) -> io.NodeOutput:
        path = paths.folder_in(location, folder)
        question = resolve_question(task, question)
        options = CaptionFolder(question, prefix, suffix, output, subfolders, overwrite)
        report = TextReport(model.pipeline, cls.hidden.unique_id)
        result = caption_folder(
            model.pipeline, path, options, TextSampling(**sampling), on_step=report, on_image=report.check
        )
        counts = result.done, result.skipped, len(result.failed)
        return io.NodeOutput(*counts, result.text, ui=ui_output(cls, [result.text]))

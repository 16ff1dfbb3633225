"""Janus Caption Folder: writes a caption for each image of a folder."""

from comfy_api.latest import io

from ..janus_core import (
    BACKGROUNDS,
    CAPTION_FILES,
    CAPTION_JOINS,
    CaptionFolder,
    TextSampling,
    caption_folder,
)
from . import widgets
from .choices import choice_input, resolve_choice
from .image_folders import LOCATIONS, folder_in
from .memory import LoadedJanus
from .newer_schema import found_by, rare
from .progress import TextReport
from .result import ui_output
from .sockets import checks_inputs
from .understand import question_inputs, resolve_question

OFF = "off"
PLACEHOLDERS = (
    "{filename}, {folder} and {metadata} stand for the image's name, the name of its folder and the text in "
    "the file."
)


class JanusCaptionFolder(io.ComfyNode):
    """Captions a folder with `janus_core.caption_folder`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="JanusCaptionFolder",
            display_name="Janus Caption Folder",
            category=widgets.CATEGORY,
            **found_by("JanusCaptionFolder"),
            description="Writes a caption file for each image of a folder, for training. An interrupted run "
            "continues where it stopped.",
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                widgets.model_input(),
                choice_input("location", LOCATIONS, "The folder of ComfyUI that the images are in."),
                io.String.Input(
                    "folder",
                    default="",
                    tooltip="A path relative to it, such as my_dataset or sets/first, or a full path inside "
                    "input or output. A dot stands for all of it.",
                ),
                io.Boolean.Input("subfolders", default=False, tooltip="Also captions images in subfolders."),
                *question_inputs(PLACEHOLDERS),
                choice_input(
                    "output",
                    CAPTION_FILES,
                    "txt: a name.txt beside each name.png. jsonl: lines of one metadata.jsonl in the folder.",
                ),
                io.Boolean.Input(
                    "overwrite",
                    default=False,
                    tooltip="Off: images with a caption are skipped. On: existing captions are replaced. An "
                    "empty file is no caption.",
                ),
                io.String.Input(
                    "prefix",
                    default="",
                    tooltip="Text before each new caption, such as a trigger word. Include the comma and the "
                    f"space after it. {PLACEHOLDERS}",
                ),
                io.String.Input(
                    "suffix", default="", tooltip="Text after each new caption, with the same placeholders."
                ),
                *widgets.text_sampling_inputs(),
                choice_input(
                    "add_to_existing",
                    (OFF, *CAPTION_JOINS),
                    "Adds the new caption after (append) or before (prepend) an existing one, instead of "
                    "skipping its image. Requires overwrite to be off.",
                    optional=True,
                ),
                io.String.Input(
                    "skip",
                    default="",
                    optional=True,
                    tooltip="Images to leave out, as patterns separated by semicolons, such as "
                    "*_mask.png; drafts/* for masks and a subfolder.",
                    **rare(io.String.Input),
                ),
                choice_input(
                    "background",
                    BACKGROUNDS,
                    "The colour behind transparent parts of images. Grey is the model's own padding.",
                    optional=True,
                    **rare(io.Combo.Input),
                ),
            ],
            outputs=[
                io.Int.Output(display_name="done", tooltip="Number of images captioned in this run."),
                io.Int.Output(display_name="skipped", tooltip="Number of images that keep their caption."),
                io.Int.Output(display_name="failed", tooltip="Number of images that could not be captioned."),
                io.String.Output(
                    display_name="report",
                    tooltip="The three counts, the reason for each image that failed, captions that were cut "
                    "off or repeat themselves, and files that were not read.",
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, **inputs: object) -> float:
        """NaN equals nothing, so the node runs each time: the folder's content is not among its inputs."""
        return float("nan")

    @classmethod
    @checks_inputs
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
        add_to_existing: str = OFF,
        skip: str = "",
        background: str = "grey",
        **sampling,
    ) -> io.NodeOutput:
        path = folder_in(location, folder)
        question = resolve_question(task, question)
        existing = resolve_existing(overwrite, add_to_existing)
        options = CaptionFolder(question, prefix, suffix, output, subfolders, existing, skip, background)
        report = TextReport(model.pipeline, cls.hidden.unique_id)
        result = caption_folder(
            model.pipeline, path, options, TextSampling(**sampling), on_step=report, on_image=report.check
        )
        counts = result.done, result.skipped, len(result.failed)
        return io.NodeOutput(*counts, result.text, ui=ui_output(cls, [result.text]))


def resolve_existing(overwrite: bool, add_to_existing: str) -> str:
    """What `CaptionFolder` does with existing captions, from the two widgets that say so.

    Raises:
        ValueError: if they contradict each other.
    """
    if resolve_choice("add_to_existing", add_to_existing, (OFF, *CAPTION_JOINS)) == OFF:
        return "replace" if overwrite else "skip"
    if overwrite:
        raise ValueError(
            f"add_to_existing must be off while overwrite is on, got {add_to_existing!r}; turn one of them "
            "off"
        )
    return add_to_existing

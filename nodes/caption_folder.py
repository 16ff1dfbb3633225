"""Caption Folder: a data set's images to captions on disk."""

from comfy_api.latest import io

from ..janus_core import CAPTION_FILES, CaptionFolder, TextSampling, caption_folder
from . import paths
from .memory import LoadedJanus
from .progress import TextReport
from .result import shown
from .types import CATEGORY, chosen, model_input, text_sampling_inputs
from .understand import TASKS, question_inputs


class JanusCaptionFolder(io.ComfyNode):
    """A folder's name in, captions beside its images out; the work is `janus_core.caption_folder`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="JanusCaptionFolder",
            display_name="Janus Caption Folder",
            category=CATEGORY,
            description="Writes a caption for each image of a folder, for training. A run that was stopped "
            "goes on where it was.",
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                model_input(),
                io.Combo.Input(
                    "location",
                    options=list(paths.LOCATIONS),
                    default="input",
                    tooltip="Which of ComfyUI's own folders the images are in.",
                ),
                io.String.Input(
                    "folder",
                    default="",
                    tooltip="A folder within it, such as my_dataset or sets/first. A dot: all of it.",
                ),
                io.Boolean.Input(
                    "subfolders", default=False, tooltip="Whether images in folders within count as well."
                ),
                *question_inputs(),
                io.Combo.Input(
                    "output",
                    options=list(CAPTION_FILES),
                    default="txt",
                    tooltip="txt: name.txt beside name.png. jsonl: lines of one metadata.jsonl there.",
                ),
                io.Boolean.Input(
                    "overwrite",
                    default=False,
                    tooltip="Off: images that have a caption are skipped. On: all are captioned anew, and "
                    "captions that are there are lost.",
                ),
                io.String.Input(
                    "prefix",
                    default="",
                    tooltip="Stands before every caption, such as a trigger word. End it with a comma and a "
                    "space if these should stand behind it.",
                ),
                io.String.Input("suffix", default="", tooltip="Stands behind every caption."),
                *text_sampling_inputs(),
            ],
            outputs=[
                io.Int.Output(display_name="done", tooltip="Images captioned in this run."),
                io.Int.Output(display_name="skipped", tooltip="Images that had a caption before."),
                io.Int.Output(display_name="failed", tooltip="Images that have none; the report says why."),
                io.String.Output(
                    display_name="report",
                    tooltip="The three numbers, and the reason for each image that failed.",
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, **inputs) -> float:
        # What lies in the folder is no input: the node runs each time, and skips what is done.
        return float("nan")

    @classmethod
    def execute(
        cls, model: LoadedJanus, location, folder, subfolders, task, question, output, overwrite, prefix,
        suffix, **sampling,
    ) -> io.NodeOutput:  # fmt: skip
        question = TASKS[chosen("task", task, TASKS)] or question
        place = paths.folder_in(location, folder)
        options = CaptionFolder(question, prefix, suffix, output, subfolders, overwrite)
        writing = TextSampling(**sampling)
        report = TextReport(model.pipeline, cls.hidden.unique_id)
        result = caption_folder(
            model.pipeline, place, options, writing, on_step=report, on_image=report.check
        )
        counts = result.done, result.skipped, len(result.failed)
        return io.NodeOutput(*counts, result.text, ui=shown(cls, [result.text]))

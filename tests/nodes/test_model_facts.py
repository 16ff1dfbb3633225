"""What Load Janus-Pro shows on itself: the chat roles that it took, and why."""

from __future__ import annotations

from pathlib import Path

import pytest
from janus_nodes.nodes.load import JanusLoad
from janus_nodes.nodes.paths import BUILT_IN
from support.checkpoints import copy_checkpoint
from support.node_runs import run_and_show

TAGGED = "Chat roles: <|User|> / <|Assistant|>, "
PLAIN = "Chat roles: User / Assistant, "


def shown_on_the_node(checkpoint: str, template: str = "auto") -> str:
    """The text on the node after it has loaded a checkpoint."""
    _, ui = run_and_show(JanusLoad, checkpoint=checkpoint, precision="fp32", template=template)
    (text,) = ui["text"]
    return str(text)


def test_the_node_says_which_roles_it_took_and_why(janus_folder: Path) -> None:
    copy_checkpoint("janus-pro-tiny", janus_folder / "my-Janus-Pro-1B")
    expected = f"{TAGGED}by the folder's name, 'my-Janus-Pro-1B'."
    assert shown_on_the_node("my-Janus-Pro-1B") == expected
    (janus_folder / "my-Janus-Pro-1B").rename(janus_folder / "STAGE")
    assert shown_on_the_node("STAGE") == f"{PLAIN}by the folder's name, 'STAGE'."
    (janus_folder / "STAGE").rename(janus_folder / "mine")
    text = shown_on_the_node("mine")
    assert text.startswith(f"{TAGGED}a guess: no name in or around its folder is known. If results")
    assert shown_on_the_node(BUILT_IN).endswith("by its processor_config.json.")


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("deepseek_old", f"{PLAIN}as set by template = deepseek_old."),
        ("plain", "No chat roles, as set by template = plain."),
    ],
)
def test_a_template_of_the_users_own_is_named(janus_folder: Path, template: str, expected: str) -> None:
    copy_checkpoint("janus-pro-tiny", janus_folder / "Janus-Pro-1B")
    assert shown_on_the_node("Janus-Pro-1B", template) == expected


def test_the_node_says_that_a_checkpoint_edits_or_thinks(janus_folder: Path) -> None:
    copy_checkpoint("janus-pro-tiny", janus_folder / "Janus-Pro-R1-7B")
    _, edits, thinks = shown_on_the_node("Janus-Pro-R1-7B").split("\n")
    assert edits == "Edits images by instruction, in form janus-pro-r1."
    assert thinks == "Thinks with Janus Think and Draw, in form janus-pro-r1."

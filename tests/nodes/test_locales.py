"""Translated texts of nodes in `locales/`, and help pages in `web/docs/`.

A new language is a folder under `locales/` with a `nodeDefs.json`, and a help page
`web/docs/<node>/<language>.md` for each node.

English needs no folder in `locales/`: its texts are the schemas' own. The frontend requests the help page
`<node>/<language>.md` and then `<node>.md`, so the English page is both: `<node>/en.md` is a copy of
`<node>.md`. The first list of a page is of the inputs, the second of the outputs: the side panel is too
narrow for tables. After its first paragraph comes a picture of the node, in two themes, the same in every
language: `python3 tasks.py help-pictures`.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from comfy_api.latest import io
from janus_nodes.nodes import comfy_entrypoint

ROOT = Path(__file__).resolve().parents[2]
LOCALES = ROOT / "locales"
PAGES = ROOT / "web" / "docs"
LANGUAGES = sorted(folder.name for folder in LOCALES.iterdir() if folder.is_dir())

NODES: dict[str, io.Schema] = {
    node.__name__: node.GET_SCHEMA() for node in asyncio.run(asyncio.run(comfy_entrypoint()).get_node_list())
}

# Combos that list folders, and values that are names or file types: the same in every language.
FOLDERS = {"checkpoint", "adapter"}
NAMES = {
    *("bf16", "fp16", "fp32", "int8", "int4", "deepseek", "deepseek_old", "janus-4o", "janus-pro-r1"),
    *("t2i-r1", "got-r1", "reasongen-r1"),
    *("euler", "midpoint", "heun", "JSON", "txt", "jsonl"),
}

every_language = pytest.mark.parametrize("language", LANGUAGES)
every_node = pytest.mark.parametrize("node_id", NODES)


def english(schema: io.Schema) -> dict[str, Any]:
    """A node's texts in the form of `nodeDefs.json`."""
    return {
        "display_name": schema.display_name,
        "description": schema.description,
        "inputs": {entry.id: texts(entry.id, entry.tooltip) | options(entry) for entry in schema.inputs},
        "outputs": {
            str(index): texts(output.display_name, output.tooltip)
            for index, output in enumerate(schema.outputs)
        },
    }


def texts(name: str, tooltip: str | None) -> dict[str, str]:
    return {"name": name, **({"tooltip": tooltip} if tooltip else {})}


def options(entry: io.Input) -> dict[str, dict[str, str]]:
    """The values of a combo that are words, in the form that `web/janus_options.js` reads."""
    listed = entry.options if isinstance(entry, io.Combo.Input) and entry.id not in FOLDERS else []
    words = {option: option for option in listed if option not in NAMES}
    return {"options": words} if words else {}


def node_texts(language: str) -> dict[str, Any]:
    return json.loads((LOCALES / language / "nodeDefs.json").read_text(encoding="utf-8"))


def leaves(tree: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Each text with the keys that lead to it."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key), value


def page(node_id: str, language: str | None = None) -> str:
    file = PAGES / node_id / f"{language}.md" if language else PAGES / f"{node_id}.md"
    return file.read_text(encoding="utf-8")


def lists(text: str) -> list[list[tuple[str, str]]]:
    """The entries of the first two sections, inputs and outputs: what each is about, and what it says."""
    sections = re.split(r"^## .*\n", text, flags=re.MULTILINE)[1:3]
    return [[read_entry(line) for line in section.strip().split("\n")] for section in sections]


def read_entry(line: str) -> tuple[str, str]:
    found = re.fullmatch(r"- (\*\*\w+\*\*.*?)(?:: |：)(.+)", line)
    assert found, line
    return found[1], found[2]


def named(entries: list[tuple[str, str]]) -> list[str]:
    """Identifiers in bold in what entries are about."""
    return [name for about, _ in entries for name in re.findall(r"\*\*(\w+)\*\*", about)]


def check_lists(text: str, schema: io.Schema) -> None:
    """Every input and output is in bold once, and no other; several inputs may share an entry."""
    inputs, outputs = lists(text)
    assert sorted(named(inputs)) == sorted(entry.id for entry in schema.inputs)
    assert named(outputs) == [output.display_name for output in schema.outputs]
    assert not re.search(r"^\|", text, flags=re.MULTILINE), "the side panel is too narrow for tables"


def check_options(text: str, schema: io.Schema, translated: dict[str, Any], nodes: set[str]) -> None:
    """What is in italics in an entry about a combo is one of its options as shown, or a node's name."""
    combos = {entry.id: entry for entry in schema.inputs if isinstance(entry, io.Combo.Input)}
    for about, says in lists(text)[0]:
        shown = set()
        for name in set(named([(about, says)])) & set(combos):
            words = translated["inputs"][name].get("options", {})
            shown |= {words.get(option, option) for option in combos[name].options}
        if shown:
            assert set(re.findall(r"(?<!\*)\*([^*]+)\*(?!\*)", says)) <= shown | nodes, says


def check_pictures(text: str, node_id: str) -> None:
    """The page's only pictures, dark and light, are right behind its first paragraph, and exist."""
    # GitHub chooses by these ends of addresses, and so does `web/janus_help.css` in the front end.
    pictures = re.findall(r"!\[([^\]]+)\]\((.*?)\)", text.split("\n\n")[2])
    assert [address for _, address in pictures] == [
        f"pictures/{node_id}.jpg#gh-dark-mode-only",
        f"pictures/{node_id}_light.jpg#gh-light-mode-only",
    ]
    assert text.count("![") == len(pictures)
    # The frontend looks for them beside the English pages, whatever the language.
    assert all((PAGES / address.partition("#")[0]).is_file() for _, address in pictures)


def test_there_are_languages() -> None:
    assert "zh" in LANGUAGES


@every_language
def test_every_text_is_translated_and_no_other(language: str) -> None:
    translated = node_texts(language)
    assert translated.keys() == NODES.keys()
    for node_id, schema in NODES.items():
        wanted = {keys for keys, _ in leaves(english(schema))}
        assert {keys for keys, _ in leaves(translated[node_id])} == wanted, node_id


@every_language
def test_no_text_is_empty_or_still_english(language: str) -> None:
    source = dict(leaves({node_id: english(schema) for node_id, schema in NODES.items()}))
    for keys, text in leaves(node_texts(language)):
        assert isinstance(text, str), keys
        assert text.strip() == text != "", keys
        if keys[-1] in ("tooltip", "description"):
            assert text != source[keys], keys


@every_language
def test_no_text_holds_what_the_frontend_would_read_as_syntax(language: str) -> None:
    # vue-i18n fills in what is in braces, links behind @ and chooses between what | separates.
    for keys, text in leaves(node_texts(language)):
        assert not set(text) & set("{}@|$"), keys


@every_language
def test_every_number_of_a_tooltip_is_in_its_translation(language: str) -> None:
    source = dict(leaves({node_id: english(schema) for node_id, schema in NODES.items()}))
    for keys, text in leaves(node_texts(language)):
        if keys[-1] in ("tooltip", "description"):
            assert set(numbers(source[keys])) <= set(numbers(text)), keys


def numbers(text: str) -> list[str]:
    return re.findall(r"\d+(?:\.\d+)?", text)


@every_language
def test_a_language_has_no_files_that_comfyui_would_not_read(language: str) -> None:
    read = {"main.json", "nodeDefs.json", "commands.json", "settings.json"}
    assert {file.name for file in (LOCALES / language).iterdir()} <= read


@every_node
def test_english_page_names_every_input_and_output(node_id: str) -> None:
    schema = NODES[node_id]
    text = page(node_id)
    assert text.startswith(f"# {schema.display_name}\n")
    check_lists(text, schema)
    check_options(text, schema, english(schema), {each.display_name for each in NODES.values()})


@every_node
def test_english_page_is_found_at_once_and_by_other_languages(node_id: str) -> None:
    same = page(node_id) == page(node_id, "en")
    assert same, f"web/docs/{node_id}/en.md must be equal to web/docs/{node_id}.md; copy it"


@every_language
@every_node
def test_translated_page_names_every_input_and_output(language: str, node_id: str) -> None:
    schema, translated = NODES[node_id], node_texts(language)
    text = page(node_id, language)
    assert text.startswith(f"# {translated[node_id]['display_name']}\n")
    check_lists(text, schema)
    check_options(text, schema, translated[node_id], {each["display_name"] for each in translated.values()})


@every_language
@every_node
def test_translated_page_shows_the_canvas_names_beside_the_identifiers(language: str, node_id: str) -> None:
    translated = node_texts(language)[node_id]
    inputs, outputs = lists(page(node_id, language))
    shown = [name for about, _ in inputs for name in about.split("、")]
    assert sorted(shown) == sorted(
        f"**{entry.id}** {translated['inputs'][entry.id]['name']}" for entry in NODES[node_id].inputs
    )
    assert [about for about, _ in outputs] == [
        f"**{output.display_name}** {translated['outputs'][str(index)]['name']}"
        for index, output in enumerate(NODES[node_id].outputs)
    ]


@every_node
def test_every_page_shows_the_node(node_id: str) -> None:
    for language in (None, *LANGUAGES):
        check_pictures(page(node_id, language), node_id)


def test_every_page_belongs_to_a_node_and_a_language() -> None:
    pages = {file.relative_to(PAGES).as_posix() for file in PAGES.rglob("*.md")}
    assert pages == {
        *(f"{node_id}.md" for node_id in NODES),
        *(f"{node_id}/{language}.md" for node_id in NODES for language in ("en", *LANGUAGES)),
    }

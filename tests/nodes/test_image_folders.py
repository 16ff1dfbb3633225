"""Folders in ComfyUI's input and output, named as people type and paste them.

Reported for other packs: picobyte/stable-diffusion-webui-wd14-tagger#91 (quotes and spaces),
deforum/sd-webui-deforum#637 (quotes), ltdrdata/ComfyUI-Inspire-Pack#33 (full paths, slashes at the end).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath

import folder_paths
import pytest
from janus_nodes.nodes.image_folders import LOCATIONS, clean_path, folder_in


@pytest.fixture
def folders() -> Iterator[Path]:
    """ComfyUI's input folder with `set/more` and `my set`; its output folder has a `set`, and a `drawn`."""
    roots = Path(folder_paths.get_input_directory()), Path(folder_paths.get_output_directory())
    places = [roots[0] / "set", roots[0] / "my set", roots[1] / "set", roots[1] / "drawn"]
    for place in places:
        (place / "more").mkdir(parents=True)
    yield roots[0]
    for place in places:
        shutil.rmtree(place)


@pytest.mark.parametrize(
    "pasted",
    [
        "set/more",
        "set\\more\\",
        " set/more ",
        "./set/more/",
        '"set/more"',
        "'set\\more'",
        "“set/more”",
        "„set/more“",
        "' “set/more” '",
        "\u202aset/more\u202c",
        "set/more\n",
        "input/set/more",
        "input\\set\\more",
        "./input/set/more/",
        "{above}/input/set/more",
        "{root}/set/more",
        '"{root}/set/more/"',
        "{root}/set//more",
        "file://{root}/set/more",
        "file://localhost{root}/set/%6dore",
    ],
)
def test_a_folder_is_found_as_it_is_pasted(folders: Path, pasted: str) -> None:
    name = pasted.format(root=folders, above=folders.parent.name)
    assert folder_in("input", name) == folders.resolve() / "set" / "more"


@pytest.mark.parametrize(
    "name", ["my set", "'my set'", "my\\ set", "file:{root}/my%20set", "{root}/my\\ set"]
)
def test_spaces_within_a_name_are_kept(folders: Path, name: str) -> None:
    assert folder_in("input", name.format(root=folders)) == folders.resolve() / "my set"


@pytest.mark.parametrize("name", ["output/drawn", "output\\drawn\\", "{output}/drawn", '"{output}/drawn"'])
def test_a_name_that_says_its_location_is_found_there(folders: Path, name: str) -> None:
    output = Path(folder_paths.get_output_directory())
    assert folder_in("input", name.format(output=output)) == output.resolve() / "drawn"


def test_the_chosen_location_comes_first(folders: Path) -> None:
    output = Path(folder_paths.get_output_directory()).resolve()
    (folders / "set" / "output" / "drawn").mkdir(parents=True)
    assert folder_in("output", "set") == output / "set"
    assert folder_in("input", "set") == folders.resolve() / "set"
    assert folder_in("input", "output/set") == output / "set"
    for literal in ("input/set", "output/set", "' set '", "~"):
        (folders / literal).mkdir(parents=True)
    try:
        for literal in ("input/set", "output/set", "' set '", "~"):
            assert folder_in("input", literal) == folders.resolve() / literal
    finally:
        for literal in ("input", "output", "' set '", "~"):
            shutil.rmtree(folders / literal)


def test_a_full_path_is_found_through_links_and_in_the_home_folder(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = tmp_path / "disk"
    (real / "set").mkdir(parents=True)
    (tmp_path / "input").symlink_to(real, target_is_directory=True)
    monkeypatch.setitem(LOCATIONS, "input", lambda: str(tmp_path / "input"))
    monkeypatch.setenv("HOME", str(tmp_path))
    names = ("set", str(tmp_path / "input" / "set"), str(real / "set"), "~/input/set", "input/set")
    assert {folder_in("input", name) for name in names} == {(real / "set").resolve()}


@pytest.mark.parametrize("name", [".", "./", '"."', "input", "{root}", "{root}/"])
def test_all_of_a_location_is_named(folders: Path, name: str) -> None:
    assert folder_in("input", name.format(root=folders)) == folders.resolve()


def test_an_address_of_windows_is_a_path_with_a_drive() -> None:
    assert clean_path("file:///C:/ComfyUI/my%20set") == "C:/ComfyUI/my set"
    assert clean_path('"\u202aC:\\ComfyUI\\input\\set" ') == "C:\\ComfyUI\\input\\set"


@pytest.mark.skipif(isinstance(Path(), PureWindowsPath), reason="these are refused by their drive there")
def test_a_path_of_another_system_is_not_looked_up(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up: list[Path] = []
    resolve = Path.resolve
    monkeypatch.setattr(Path, "resolve", lambda path, *_: looked_up.append(path) or resolve(path))
    for name in ("\\\\server\\share\\set", "//server/share", "D:\\set", "\\\\?\\C:\\set"):
        with pytest.raises(ValueError, match=r"^folder must lie in"):
            folder_in("input", name)
    roots = {Path(directory()) for directory in LOCATIONS.values()}
    assert set(looked_up) == roots


@pytest.mark.parametrize(
    "name",
    [
        "..",
        "../output/set",
        "set/../../outside",
        "set/..",
        "..\\outside",
        "set\\..\\..\\outside",
        "/etc",
        "//server/share",
        "\\\\server\\share",
        "C:\\Windows",
        "C:set",
        "c:/",
        "set\0",
        "linked_out",
        "linked_out/deep",
        # The same in the ways that paths are pasted.
        '"/etc"',
        "“..”",
        " ../output/set ",
        "file:///etc",
        "file:///%2e%2e/etc",
        "file://server/share",
        "input/../../outside",
        "{root}/linked_out",
        "{root}/../outside",
        "{root}/../output/../../outside",
        "{root}_more",
        "~/",
    ],
)
def test_no_way_leads_out_of_the_folder(folders: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "deep").mkdir()
    link = folders / "linked_out"
    link.symlink_to(tmp_path, target_is_directory=True)
    try:
        with pytest.raises(ValueError, match=r"^folder must lie in ComfyUI's input folder, got .*; move it"):
            folder_in("input", name.format(root=folders))
        with pytest.raises(FileNotFoundError, match=r"^folder must be one in ComfyUI's input folder"):
            folder_in("input", "input/linked_out")
    finally:
        link.unlink()


@pytest.mark.parametrize("name", ["", " ", '""', "“ ”"])
def test_no_name_is_not_the_whole_folder(folders: Path, name: str) -> None:
    with pytest.raises(
        ValueError, match=r"^folder must name a folder in ComfyUI's input folder, got '.*a dot"
    ):
        folder_in("input", name)


@pytest.mark.parametrize("name", ["nowhere", "~", "set/image_0.png", "%2e%2e"])
def test_names_of_no_folder_are_refused(folders: Path, name: str) -> None:
    with pytest.raises(
        (FileNotFoundError, ValueError), match=r"^folder must (be one|lie) in ComfyUI's input"
    ):
        folder_in("input", name)


def test_a_wrong_location_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^location must be one of input, output, got 'temp'; choose one"):
        folder_in("temp", "")


@pytest.mark.parametrize(
    "name", ["x" * 300, "set/" + "x" * 300, "{root}/" + "x" * 5000, "set/\ud800", "circle"]
)
def test_names_that_the_system_cannot_look_up_are_refused_in_one_sentence(folders: Path, name: str) -> None:
    link = folders / "circle"
    link.symlink_to(link, target_is_directory=True)
    try:
        with pytest.raises(
            (FileNotFoundError, ValueError),
            match=r"^folder must (be one|lie) in ComfyUI's input folder, got '",
        ):
            folder_in("input", name.format(root=folders))
    finally:
        link.unlink()

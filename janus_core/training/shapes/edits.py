"""Edits of scenes by instruction: six kinds, each in several wordings."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from . import words
from .scene import (
    BACKGROUNDS,
    CELL_SIZE,
    COLOURS,
    MAX_OBJECTS,
    SIZES,
    Scene,
    SceneObject,
    free_cells,
    random_object,
    random_scene,
)

_NEAR = 6  # pixels by which a drawn object may be off its place, as in `drawing.found_share`

# What an edit says and the scene that it leads to; None if the scene does not allow an edit of that kind.
_Result = tuple[str, Scene] | None

_RECOLOUR = ("make {} {}", "change {} to {}", "paint {} {}", "turn {} {}")
_REMOVE = ("remove {}", "take {} away", "delete {}", "erase {}")
_ADD = ("add {} in the {}", "put {} in the {}", "place {} in the {}")
_MOVE = ("move {} to the {}", "shift {} to the {}", "put {} in the {}")
_BACKGROUND = ("make the background {}", "change the background to {}", "put everything on a {} background")
_SWAP = ("swap {} and {}", "swap {} with {}", "let {} and {} change places", "exchange {} and {}")


@dataclass(frozen=True)
class Edit:
    """An instruction with the scene that it changes and the scene that it leads to."""

    kind: str  # one of `EDIT_KINDS`
    instruction: str
    source: Scene
    target: Scene


def random_edit(rng: random.Random, kind: str | None = None, held_out: bool = False) -> Edit:
    """Returns an edit of a kind, or of any.

    Neither of its scenes has a combination that is held out of training; with `held_out`, its target has one.
    """
    chosen = kind or rng.choice(tuple(EDIT_KINDS))
    while True:
        source = random_scene(rng, held_out=None if held_out else False)
        result = EDIT_KINDS[chosen](source, rng)
        if result is not None and result[1].held_out == held_out:
            return Edit(chosen, _vary(result[0], rng), source, result[1])


def follows(edit: Edit, found: Scene) -> bool:
    """Whether a scene shows the change that was asked for; sizes are not compared."""
    places = _changed_places(edit)
    seen, wanted = (
        Counter(
            (_place(obj), obj.shape, obj.colour)
            for obj in map(_on_grid, scene.objects)
            if _place(obj) in places
        )
        for scene in (found, edit.target)
    )
    has_background = edit.kind != "background" or found.background == edit.target.background
    return has_background and seen == wanted


def keeps_the_rest(edit: Edit, found: Scene) -> bool:
    """Whether all other objects have stayed, with their sizes, and nothing has been added elsewhere."""
    places = _changed_places(edit)
    seen, wanted = (
        Counter(obj for obj in map(_on_grid, scene.objects) if _place(obj) not in places)
        for scene in (found, edit.target)
    )
    has_background = edit.kind == "background" or found.background == edit.source.background
    return has_background and seen == wanted


def refer_to(obj: SceneObject, scene: Scene, rng: random.Random) -> str:
    """Names an object of a scene so that no other one can be meant, such as "the red star"."""
    phrases = [f"the {obj.shape} in the {words.region_name(obj)}"]
    if scene.count(obj.shape) == 1:
        phrases += [f"the {obj.shape}"] * 2
    if scene.count(obj.shape, obj.colour) == 1:
        phrases += [f"the {obj.colour} {obj.shape}"] * 2
    return rng.choice(phrases)


def _recolour(scene: Scene, rng: random.Random) -> _Result:
    obj = rng.choice(scene.objects)
    colour = rng.choice([colour for colour in COLOURS if colour != obj.colour])
    text = rng.choice(_RECOLOUR).format(refer_to(obj, scene, rng), colour)
    return text, _with(scene, [obj], [replace(obj, colour=colour)])


def _remove(scene: Scene, rng: random.Random) -> _Result:
    if len(scene.objects) < 2:
        return None
    obj = rng.choice(scene.objects)
    return rng.choice(_REMOVE).format(refer_to(obj, scene, rng)), _with(scene, [obj], [])


def _add(scene: Scene, rng: random.Random) -> _Result:
    if len(scene.objects) == MAX_OBJECTS:
        return None
    left, top = rng.choice(free_cells(scene.objects))
    obj = replace(random_object(rng), left=left, top=top, size=rng.choice(tuple(SIZES)))
    phrase = words.noun_phrase(obj.shape, obj.colour)
    return rng.choice(_ADD).format(phrase, words.region_name(obj)), _with(scene, [], [obj])


def _move(scene: Scene, rng: random.Random) -> _Result:
    obj = rng.choice(scene.objects)
    left, top = rng.choice(free_cells(scene.objects))
    moved = replace(obj, left=left, top=top)
    text = rng.choice(_MOVE).format(refer_to(obj, scene, rng), words.region_name(moved))
    return text, _with(scene, [obj], [moved])


def _background(scene: Scene, rng: random.Random) -> _Result:
    colour = rng.choice([colour for colour in BACKGROUNDS if colour != scene.background])
    return rng.choice(_BACKGROUND).format(colour), replace(scene, background=colour)


def _swap(scene: Scene, rng: random.Random) -> _Result:
    if len(scene.objects) < 2:
        return None
    one, other = rng.sample(scene.objects, 2)
    if (one.shape, one.colour) == (other.shape, other.colour):
        return None
    text = rng.choice(_SWAP).format(refer_to(one, scene, rng), refer_to(other, scene, rng))
    swapped = [replace(one, left=other.left, top=other.top), replace(other, left=one.left, top=one.top)]
    return text, _with(scene, [one, other], swapped)


EDIT_KINDS: dict[str, Callable[[Scene, random.Random], _Result]] = {
    "recolour": _recolour,
    "remove": _remove,
    "add": _add,
    "move": _move,
    "background": _background,
    "swap": _swap,
}


def _vary(text: str, rng: random.Random) -> str:
    """Begins and ends an instruction as people do."""
    return words.sentence(text) if rng.random() < 0.7 else text


def _with(scene: Scene, without: Sequence[SceneObject], added: Sequence[SceneObject]) -> Scene:
    kept = [obj for obj in scene.objects if obj not in without]
    return replace(scene, objects=(*kept, *added))


def _changed_places(edit: Edit) -> set[tuple[int, int]]:
    return {_place(obj) for obj in set(edit.source.objects) ^ set(edit.target.objects)}


def _place(obj: SceneObject) -> tuple[int, int]:
    return obj.left, obj.top


def _on_grid(obj: SceneObject) -> SceneObject:
    """An object in the cell that it is drawn in; unchanged if it is not drawn in any."""
    left, top = (CELL_SIZE * round(edge / CELL_SIZE) for edge in _place(obj))
    is_near = max(abs(obj.left - left), abs(obj.top - top)) <= _NEAR
    return replace(obj, left=left, top=top) if is_near else obj

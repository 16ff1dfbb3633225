"""Phrases for objects: what captions, questions and answers are made of."""

from __future__ import annotations

from collections.abc import Sequence

from .scene import BOX, Scene, Thing

NUMBERS = ("zero", "one", "two", "three", "four")
RELATIONS = ("left of", "right of", "above", "below")


def plural(shape: str) -> str:
    """Several of a shape."""
    return f"{shape}es" if shape == "cross" else f"{shape}s"


def noun(shape: str, colour: str | None = None, count: int = 1) -> str:
    """For example "a red star", "an orange ring" or "three green triangles"."""
    words = f"{colour} " if colour else ""
    if count != 1:
        return f"{NUMBERS[count]} {words}{plural(shape)}"
    words += shape
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"


def listed(phrases: Sequence[str]) -> str:
    """For example "a star, a ring and two crosses"."""
    return phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} and {phrases[-1]}"


def sentence(text: str) -> str:
    """With a capital letter and a full stop."""
    return f"{text[0].upper()}{text[1:]}."


def things_in_words(scene: Scene) -> str:
    """All objects, equal ones together, in reading order."""
    kinds = dict.fromkeys((thing.shape, thing.colour) for thing in scene.things)
    return listed([noun(shape, colour, scene.count(shape, colour)) for shape, colour in kinds])


def description(scene: Scene) -> str:
    """All objects and the background."""
    return f"{things_in_words(scene)} on a {scene.background} background"


def region(thing: Thing) -> str:
    """Where in the picture an object stands: one of nine regions."""
    row = ("top", "middle", "bottom")[round(thing.top / BOX)]
    column = ("left", "middle", "right")[round(thing.left / BOX)]
    if row == column == "middle":
        return "centre"
    return " ".join(part for part in (row, column) if part != "middle")


def phrases(thing: Thing) -> tuple[str, ...]:
    """All that a few words can say of an object: shape, colour and place, one by one and in pairs."""
    shape, spot = noun(thing.shape), f"in the {region(thing)}"
    coloured = noun(thing.shape, thing.colour)
    return shape, thing.colour, spot, coloured, f"{shape} {spot}", f"{thing.colour} {spot}"


def places(scene: Scene) -> str:
    """All objects, each with its region."""
    return listed([f"{noun(thing.shape, thing.colour)} in the {region(thing)}" for thing in scene.things])


def stands(first: Thing, relation: str, second: Thing) -> bool:
    """Whether a relation holds, clearly enough to be seen; of two that stand askew, two relations hold."""
    right, down = first.left - second.left, first.top - second.top
    distance = {"left of": -right, "right of": right, "above": -down, "below": down}[relation]
    return distance >= BOX / 4


def related(first: Thing, second: Thing) -> str:
    """The relation in which the first object most clearly stands to the second."""
    right, down = first.left - second.left, first.top - second.top
    if abs(right) >= abs(down):
        return "right of" if right > 0 else "left of"
    return "below" if down > 0 else "above"

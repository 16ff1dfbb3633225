"""Phrases about objects, for captions, questions and answers."""

from __future__ import annotations

from collections.abc import Sequence

from .scene import CELL_SIZE, Scene, SceneObject

NUMBERS = ("zero", "one", "two", "three", "four")
RELATIONS = ("left of", "right of", "above", "below")


def plural(shape: str) -> str:
    """Returns the plural of a shape's name."""
    return f"{shape}es" if shape == "cross" else f"{shape}s"


def noun_phrase(shape: str, colour: str | None = None, count: int = 1) -> str:
    """Returns for example "a red star", "an orange ring" or "three green triangles"."""
    words = f"{colour} " if colour else ""
    if count != 1:
        return f"{NUMBERS[count]} {words}{plural(shape)}"
    words += shape
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"


def join_phrases(phrases: Sequence[str]) -> str:
    """Returns for example "a star, a ring and two crosses"."""
    return phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} and {phrases[-1]}"


def sentence(text: str) -> str:
    """Adds a capital letter and a full stop."""
    return f"{text[0].upper()}{text[1:]}."


def list_objects(scene: Scene) -> str:
    """Names all objects in reading order, equal ones together."""
    kinds = dict.fromkeys((obj.shape, obj.colour) for obj in scene.objects)
    return join_phrases([noun_phrase(shape, colour, scene.count(shape, colour)) for shape, colour in kinds])


def describe(scene: Scene) -> str:
    """Names all objects and the background."""
    return f"{list_objects(scene)} on a {scene.background} background"


def locate_objects(scene: Scene) -> str:
    """Names each object with its region."""
    named = [(noun_phrase(obj.shape, obj.colour), region_name(obj)) for obj in scene.objects]
    return join_phrases([f"{name} in the {region}" for name, region in named])


def region_name(obj: SceneObject) -> str:
    """Names the part of the picture that an object is in, one of nine."""
    vertical = ("top", "middle", "bottom")[round(obj.top / CELL_SIZE)]
    horizontal = ("left", "middle", "right")[round(obj.left / CELL_SIZE)]
    if vertical == horizontal == "middle":
        return "centre"
    return " ".join(part for part in (vertical, horizontal) if part != "middle")


def object_phrases(obj: SceneObject) -> tuple[str, ...]:
    """Returns short phrases that hold for an object: shape, colour and region, alone and in pairs."""
    shape, where = noun_phrase(obj.shape), f"in the {region_name(obj)}"
    coloured = noun_phrase(obj.shape, obj.colour)
    return shape, obj.colour, where, coloured, f"{shape} {where}", f"{obj.colour} {where}"


def is_related(first: SceneObject, relation: str, second: SceneObject) -> bool:
    """Whether a relation clearly holds; for diagonal neighbours two relations do."""
    right, down = first.left - second.left, first.top - second.top
    distance = {"left of": -right, "right of": right, "above": -down, "below": down}[relation]
    return distance >= CELL_SIZE / 4


def main_relation(first: SceneObject, second: SceneObject) -> str:
    """Returns the relation along the axis in which two objects are farther apart."""
    right, down = first.left - second.left, first.top - second.top
    if abs(right) >= abs(down):
        return "right of" if right > 0 else "left of"
    return "below" if down > 0 else "above"

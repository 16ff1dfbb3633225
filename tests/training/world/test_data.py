"""The world as training data."""

from __future__ import annotations

import random
import re

from janus_nodes.janus_core.training.world.data import TURNS, WorldData
from janus_nodes.janus_core.training.world.scene import COLOURS, SHAPES


def test_no_answer_of_a_conversation_stands_in_an_earlier_turn() -> None:
    where = colour = 0
    for index in range(500):
        turns = WorldData().understanding(random.Random(index)).turns
        assert len(turns) in (1, TURNS)
        assert len(set(turns)) == len(turns)
        for number, (question, answer) in enumerate(turns):
            before = [f"{asked} {said}".lower() for asked, said in turns[:number]]
            if found := re.fullmatch(r"Where is the (\w+)\?", question):
                where += 1
                assert not any(f"the {found[1]} in the {answer[:-1].lower()}" in text for text in before)
                assert not any(f"the {found[1]} is in the {answer[:-1].lower()}" in text for text in before)
            if found := re.match(r"(?:What|Which) colou?r (?:is|does) the (\w+)", question):
                shape, right = found[1], answer[:-1].lower()
                if shape in SHAPES and right in COLOURS:
                    colour += 1
                    assert not any(f"{right} {shape}" in text for text in before)
    assert min(where, colour) > 50

"""What arrives in a demo: each board once, its truth known, and one night of bad labels at the end."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from data.images import decode
from data.sample import box_problems, sha256
from demo.__main__ import real_boards
from demo.scenario import Scenario, synthetic


def boards_of(scenario: Scenario) -> list[str]:
    """The hash of every board of a scenario."""
    nights = (board for night in scenario.nights for board in night.boards)
    return [sha256(board.read()) for board in (*scenario.initial, *nights, *scenario.left)]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Scenario:
    folder = tmp_path_factory.mktemp("boards")
    return synthetic(folder, ("signal", "mixed"), ("flex", "round"), initial=5, night=6, left=3, size=320)


def test_as_many_arrive_as_were_asked_for(drawn: Scenario) -> None:
    assert len(drawn.initial) == 5
    assert [len(night.boards) for night in drawn.nights] == [6, 6, 6]
    assert len(drawn.left) == 3
    assert [night.mood for night in drawn.nights] == ["careful", "careful", "bad"]


def test_every_board_is_another(drawn: Scenario) -> None:
    assert Counter(boards_of(drawn)).most_common(1)[0][1] == 1


def test_the_truth_of_a_night_is_of_exactly_its_boards_and_fits_them(drawn: Scenario) -> None:
    for night in drawn.nights:
        truth = night.truth()
        assert set(truth) == {sha256(board.read()) for board in night.boards}
        for board in night.boards:
            height, width = decode(board.read()).shape
            boxes = truth[sha256(board.read())]
            assert boxes
            assert all(box_problems(box, width, height, [box.label]) == [] for box in boxes)
            assert board.template is not None


def test_each_night_brings_mostly_a_family_never_seen_before(drawn: Scenario) -> None:
    seen = {board.domain for board in drawn.initial}
    for night, family in zip(drawn.nights, ("flex", "round"), strict=False):
        counts = Counter(board.domain for board in night.boards)
        assert family not in seen
        assert counts[family] > len(night.boards) / 2
        assert night.title.startswith(family)
        seen |= set(counts)


def test_it_is_drawn_the_same_again(drawn: Scenario, tmp_path: Path) -> None:
    again = synthetic(tmp_path, ("signal", "mixed"), ("flex", "round"), initial=5, night=6, left=3, size=320)
    assert boards_of(again) == boards_of(drawn)


@pytest.mark.slow
def test_the_real_boards_are_enough_and_each_arrives_once(deeppcb: Path) -> None:
    scenario = real_boards(deeppcb)
    assert len(scenario.initial) == 120
    assert [len(night.boards) for night in scenario.nights] == [150, 150, 90]
    assert len(scenario.left) == 24
    assert Counter(boards_of(scenario)).most_common(1)[0][1] == 1
    known = {board.domain for board in scenario.initial}
    assert all({board.domain for board in night.boards} - known for night in scenario.nights)

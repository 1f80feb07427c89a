"""The streams keep old and new apart; what a method forgets, only a run of the benchmark can say."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.console import Console

from benchmarks.accuracy import SPLITS
from benchmarks.forgetting import BEFORE, FIRST_CLASSES, REFERENCE, Outcome, goals, stream_of, summary, table
from benchmarks.turned_loops import boards_by_share
from data.boards import LABELS
from data.sample import Example

GROUPS = ("group00041", "group13000", "group44000", "group50600", "group77000", "group92000")


@pytest.fixture(scope="module")
def boards() -> list[Example]:
    """Five boards of each group, so that one of each is held out."""
    return [
        replace(board, sample_id=f"{group}-{number}", domain=group)
        for group in GROUPS
        for number, board in enumerate(boards_by_share(5, seed=3))
    ]


def ids(boards: list[Example]) -> set[str]:
    return {board.sample_id for board in boards}


@pytest.mark.parametrize("seed", [0, 1])
def test_the_second_task_labels_the_new_classes_alone_on_boards_that_show_the_old_ones(
    boards: list[Example], seed: int
) -> None:
    stream = stream_of("classes", boards, seed)
    whole = {board.sample_id: board for board in boards}
    for task, classes in ((stream.first, FIRST_CLASSES), (stream.second, frozenset(LABELS) - FIRST_CLASSES)):
        assert {board.classes for board in task} == {classes}
        for board in task:
            assert board.boxes == tuple(box for box in whole[board.sample_id].boxes if box.label in classes)
    assert ids(stream.first) | ids(stream.second) | ids(stream.held_out) == ids(boards)
    assert len(stream.first) + len(stream.second) + len(stream.held_out) == len(boards)
    assert all(board.classes is None for board in stream.held_out)
    assert ids(stream.complete) == ids(stream.first) | ids(stream.second)
    assert all(board == whole[board.sample_id] for board in stream.complete)
    assert set(stream.classes[0]) == FIRST_CLASSES
    parts = stream.parts()
    assert parts["old"] == (stream.held_out, FIRST_CLASSES)
    assert parts["new"] == (stream.held_out, frozenset(LABELS) - FIRST_CLASSES)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_new_families_are_those_of_the_second_task_and_judged_apart(boards: list[Example], seed: int) -> None:
    stream = stream_of("families", boards, seed)
    new = SPLITS[seed].judge
    assert {board.domain for board in stream.second} == new
    assert not {board.domain for board in stream.first} & new
    assert len(stream.first) + len(stream.second) + len(stream.held_out) == len(boards)
    (old_boards, _), (new_boards, _) = stream.parts().values()
    assert {board.domain for board in new_boards} == new
    assert ids(old_boards) | ids(new_boards) == ids(stream.held_out)
    assert stream.input == "image"
    assert not stream.complete


def outcome(seed: int, method: str, old: float, new: float) -> Outcome:
    return Outcome("classes", seed, method, {"old": old, "new": new}, 10.0 * (seed + 1), 40)


def test_each_seed_is_set_beside_its_own_joint() -> None:
    outcomes = [
        outcome(0, BEFORE, 0.9, 0.0), outcome(0, "replay", 0.89, 0.86), outcome(0, "joint", 0.90, 0.88),
        outcome(1, BEFORE, 0.8, 0.0), outcome(1, "replay", 0.80, 0.80), outcome(1, "joint", 0.80, 0.78),
    ]  # fmt: skip
    kept = summary(outcomes)
    assert kept["classes"]["replay"] == {
        "ap": {"old": 0.845, "new": 0.83},
        "points_beside_joint": {"old": -0.5, "new": 0.0},
        "worst_seed": {"old": -1.0, "new": -2.0},
        "cpu_seconds": 15,
        "seeds": 2,
    }
    again = [replace(each, seed=2) for each in outcomes if each.seed == 1]
    old, new = goals({"summary": summary([*outcomes, *again])})
    assert (old.what, old.goal) == (
        "AP of what is old after an update by replay, new classes",
        "at most 1 point below a training on everything",
    )
    assert (old.reached, old.met) == ("-0.33 points (3 of 3 seeds)", True)
    assert (new.goal, new.met) == ("at most 2 points below a training on everything", True)
    assert [goal.met for goal in goals({"summary": kept})] == [None, None]
    worse = [outcome(seed, *rest) for seed in range(3) for rest in (("replay", 0.8, 0.86), ("joint", 0.9, 0.88))]
    assert [goal.met for goal in goals({"summary": summary(worse)})] == [False, True]
    whole = [outcome(seed, REFERENCE, 0.91, 0.88) for seed in range(2)]
    assert summary([*whole, *outcomes])["classes"]["replay"]["points_beside_joint"] == {"old": -6.5, "new": -5.0}
    console = Console(width=140)
    with console.capture() as shown:
        for each in table(kept):
            console.print(each)
    for word in ("classes: mean of 2 seed(s)", "replay", "0.845", "-0.5", "+0.0", "≥ -1.0"):
        assert word in shown.get()

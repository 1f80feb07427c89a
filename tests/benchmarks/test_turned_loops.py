"""Loops are turned on what they say; what one reaches, only a run of it can say."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from benchmarks.turned_loops import (
    SHARES,
    Protocol,
    Size,
    Turn,
    boards_by_share,
    chosen_of,
    first_boards,
    frames_of,
    real_boards,
    shot,
    turn,
    unseen_boards,
)
from data.boards import FAMILIES
from data.frames import same_frame
from data.sample import Example
from pipelines.job import HardExampleMining

RANDOM = HardExampleMining(name="Random", parameters={"random_ratio": 1.0}, random_share=0.0, budget=50)
INFORMATIVE = RANDOM.model_copy(update={"name": "Informative", "parameters": {}})


@pytest.fixture(scope="module")
def boards() -> list[Example]:
    return boards_by_share(20, seed=1)


def test_families_have_their_shares_and_nothing_to_judge_by_is_in_a_pool(boards: list[Example]) -> None:
    assert Counter(board.domain for board in boards_by_share(100, seed=0)) == dict(zip(FAMILIES, SHARES, strict=True))
    test = unseen_boards(2)
    assert Counter(board.domain for board in test) == dict.fromkeys(FAMILIES, 2)
    assert 5 <= sum(bool(board.boxes) for board in boards) <= 10
    assert all(board.boxes for board in test)
    other = boards_by_share(20, seed=2)
    names = [board.sample_id for board in (*boards, *test, *other)]
    assert len(set(names)) == len(names)


def test_the_first_model_learns_flawed_boards_of_the_commonest_family_alone(boards: list[Example]) -> None:
    first, others = first_boards(boards, 2)
    assert len(first) == 2
    assert all(board.boxes and board.domain == "signal" for board in first)
    assert sorted(board.sample_id for board in (*first, *others)) == sorted(board.sample_id for board in boards)


def test_a_frame_shows_its_board_with_its_boxes_in_their_places(boards: list[Example]) -> None:
    random = np.random.default_rng(3)
    flawed = [board for board in boards if board.boxes]
    assert flawed
    for board in flawed:
        frame = shot(board, random)
        assert frame.sample_id != board.sample_id
        assert same_frame(board.image, frame.image)
        assert [box.label for box in frame.boxes] == [box.label for box in board.boxes]
        moves = {(seen.x1 - box.x1, seen.y1 - box.y1) for seen, box in zip(frame.boxes, board.boxes, strict=True)}
        ((across, down),) = moves
        assert max(abs(across), abs(down)) <= 2
        inner = (slice(8, -8), slice(8, -8))
        assert (
            np.abs(
                np.roll(board.image, (int(down), int(across)), (0, 1))[inner].astype(int) - frame.image[inner]
            ).mean()
            < 12
        )


def test_a_board_is_seen_in_one_to_five_frames(boards: list[Example]) -> None:
    shown = frames_of(boards, seed=0)
    assert {len(frames) for frames in shown} == {1, 2, 3, 4, 5}
    assert sorted(frames[0].domain for frames in shown) == sorted(board.domain for board in boards)
    assert [frame.sample_id for frames in frames_of(boards, seed=0) for frame in frames] == [
        frame.sample_id for frames in shown for frame in frames
    ]


def test_before_there_is_a_model_informative_asks_about_each_board_once(boards: list[Example]) -> None:
    shown = frames_of(boards[:6], seed=0)
    waiting = [frame for frames in shown for frame in frames]
    chosen = chosen_of(waiting, [], None, INFORMATIVE)
    # The hashes of a few frames lie too far apart for near-duplicates.
    assert len(shown) <= len(chosen) <= len(shown) + 2 < len(waiting)
    assert all(any(frame.sample_id in chosen for frame in frames) for frames in shown)
    assert len(chosen_of(waiting, [], None, RANDOM)) == len(waiting)


@pytest.mark.slow
def test_real_boards_to_judge_by_are_of_all_groups_alike(deeppcb: Path) -> None:
    pool, test = real_boards(deeppcb, 4)
    assert len(pool) + len(test) == 1000
    assert set(Counter(board.domain for board in test).values()) == {4}
    assert not {board.sample_id for board in pool} & {board.sample_id for board in test}


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["stream", "pool"])
def test_a_loop_is_turned(protocol: Protocol) -> None:
    recipe = {"steps": 2, "crop": 64, "batch_size": 2}
    size = Size(boards=32, test=1, first=2, rounds=2, budget=4, recipe=recipe)
    done = turn(Turn("Random", RANDOM, protocol, 0, size))
    assert [labels for labels, _ in done.curve] == [0, 4, 8]
    assert all(0 <= ap <= 1 for _, ap in done.curve)
    assert 4 <= done.boards <= sum(done.domains.values()) == 8

"""The benchmark measures what it says; what it reaches, only a run of it can say."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.inference import KERAS, Pair, Row, Way, drawn, example, figures, goals, measure, real, table, verdict
from data.boards import FAMILIES
from data.sample import Box


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    return drawn(0, 1)


@pytest.fixture
def rows() -> dict[str, Row]:
    """Keras, and a way that is ten times as fast and finds nearly as much."""
    fast = Row([1.0, 0.5, 2.0], [0.9, 0.8, 1.0], [float(each) for each in range(1, 21)], ap=0.899, f1=0.88)
    return {KERAS: Row([5.0, 9.0], [8.0, 9.0], [100.0, 120.0], ap=0.9, f1=0.9), "by default": fast}


def test_a_pair_is_a_board_as_two_jpegs(pairs: list[Pair]) -> None:
    assert [pair.domain for pair in pairs] == list(FAMILIES)
    assert all(pair.image[:2] == pair.template[:2] == b"\xff\xd8" for pair in pairs)
    decoded = example(pairs[0])
    assert decoded.template is not None
    assert decoded.image.shape == decoded.template.shape == (640, 640)
    assert decoded.boxes


def test_real_pairs_are_read(deeppcb: Path) -> None:
    every = real(deeppcb)
    assert len(every) > 900
    assert example(every[0]).image.shape == (640, 640)


def test_missing_boards_are_said_with_where_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"trainval\.txt does not exist; clone https://github\.com/"):
        real(tmp_path)


def test_every_way_is_timed_and_judged_on_the_same_pairs(pairs: list[Pair]) -> None:
    def perfect(pair: Pair) -> tuple[Box, ...]:
        return tuple(Box(box.x1, box.y1, box.x2, box.y2, box.label, 0.9) for box in pair.boxes)

    found = {
        KERAS: Way(lambda many: [perfect(pair) for pair in many], perfect),
        "by default": Way(lambda many: [() for _ in many], lambda _: ()),
    }
    rows = measure(found, pairs, threshold=0.5)
    assert (rows[KERAS].ap, rows[KERAS].f1, rows["by default"].ap) == (1, 1, 0)
    assert all(
        len(row.wall_seconds) == len(row.cpu_seconds) == 3 and len(row.milliseconds) == 60 for row in rows.values()
    )


def test_the_quickest_round_counts(rows: dict[str, Row]) -> None:
    values = figures(rows, pairs=80)["by default"]
    assert values["pairs_per_second"] == 160
    assert values["cpu_ms_per_pair"] == 10
    assert values["pairs_per_two_cpu_seconds"] == 200
    assert (values["latency_median_ms"], values["latency_p95_ms"]) == (10.5, 19.05)
    assert values["ap_lost"] == 0.001


def test_goal_and_what_was_reached_are_said_and_a_busy_machine_too(rows: dict[str, Row]) -> None:
    reached = figures(rows, pairs=80)
    said = verdict(reached, "OpenVINO in int8", (2.0, 99.0))
    assert "Goal: 120 pairs/s on 2 cores, at most 0.2 points of AP lost." in said
    assert "Reached by OpenVINO in int8: 160 pairs/s by the wall clock, 10 CPU ms a pair" in said
    assert "0.1 points of AP lost" in said
    assert "busy with other things (load 99.0" in said
    speed, loss = goals({"ways": reached, "default": "OpenVINO in int8", "load": [2.0, 99.0]})
    assert (speed.reached, speed.met) == ("160 pairs/s (OpenVINO in int8, load 99)", True)
    assert (loss.goal, loss.reached, loss.met) == ("at most 0.2 points", "0.10 points", True)
    assert "busy" not in verdict(reached, "OpenVINO in int8", (0.1, 0.2))


def test_the_table_shows_every_way(rows: dict[str, Row]) -> None:
    console = Console(width=160)
    with console.capture() as shown:
        console.print(table(figures(rows, pairs=80), (1.0, 2.0)))
    for word in (KERAS, "by default", "160", "0.899", "load 1.0 before and 2.0 after"):
        assert word in shown.get()

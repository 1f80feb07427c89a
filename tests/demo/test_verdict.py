"""The demo's own judgement names every promise that was not kept, and no other."""

from __future__ import annotations

from dataclasses import replace

import pytest

from data.formats import LabelledImage
from data.ledger import Decision
from demo.loop import Watch
from demo.scenario import Night, Scenario
from demo.verdict import shortcomings
from pipelines.history import Round

BOARD = LabelledImage("1_test.png", b"")
PLAN = Scenario([BOARD], [Night("new boards", [BOARD]), Night("bad labels", [BOARD], mood="bad")])


def turned(number: int, verdict: str, served: str | None, serving: str, quarantined: int = 0) -> Round:
    decision = Decision("promote", f"run {number}", verdict, ["because"], "schedule", f"v{number + 1}", served, "d1")
    return Round(number, decision, seen=9, mined=9, labelled=9, quarantined=quarantined, serving=serving)


KEPT = [
    turned(0, "promoted", None, "v1"),
    turned(1, "promoted", "v1", "v2"),
    turned(2, "rejected", "v2", "v2", quarantined=2),
    turned(3, "promoted", "v2", "v4"),
]


def watched(*versions: str) -> Watch:
    return Watch("http://127.0.0.1:9", BOARD, answers=10, versions=list(versions))


SEEN = watched("v1", "v2", "v4")


def test_where_all_are_kept_nothing_is_said() -> None:
    assert shortcomings(KEPT, PLAN, SEEN) == []
    rejected = [*KEPT[:3], turned(3, "rejected", "v2", "v2")]
    assert shortcomings(rejected, PLAN, watched("v1", "v2")) == []


@pytest.mark.parametrize(
    ("number", "changed", "versions", "said"),
    [
        (1, turned(1, "rejected", "v1", "v2"), SEEN, "round 1 should have been promoted and was rejected: because"),
        (1, turned(1, "undecided", "v1", "v2"), SEEN, "round 1 should have been promoted and was undecided: because"),
        (2, turned(2, "promoted", "v2", "v2", 2), SEEN, "round 2 should have been rejected and was promoted: because"),
        (2, turned(2, "rejected", "v2", "v2"), SEEN, "round 2 had broken annotations and none was quarantined"),
        (2, turned(2, "rejected", "v1", "v2", 2), SEEN, "round 2 was compared with v1, which did not serve then"),
        (
            0,
            KEPT[0],
            watched("v1", "v4"),
            "the inference server answered with ['v1', 'v4']; it should have been ['v1', 'v2', 'v4']",
        ),
        (0, KEPT[0], watched(), "the inference server answered with []; it should have been ['v1', 'v2', 'v4']"),
        (
            0,
            KEPT[0],
            replace(SEEN, failures=["12:00:00 refused", "12:00:01 refused"]),
            "2 of 12 requests failed, the first: 12:00:00 refused",
        ),
    ],
)
def test_each_promise_that_was_not_kept_is_named(number: int, changed: Round, versions: Watch, said: str) -> None:
    rounds = [changed if turn.number == number else turn for turn in KEPT]
    assert shortcomings(rounds, PLAN, versions) == [said]


def test_too_few_and_too_many_rounds_are_named() -> None:
    assert shortcomings(KEPT[:3], PLAN, watched("v1", "v2")) == ["3 rounds were decided; the plan has 4"]
    more = [*KEPT, turned(4, "promoted", "v4", "v5")]
    assert shortcomings(more, PLAN, watched("v1", "v2", "v4", "v5")) == ["5 rounds were decided; the plan has 4"]
    assert "0 rounds were decided; the plan has 4" in shortcomings([], PLAN, watched())


def test_everything_at_once() -> None:
    rounds = [turned(0, "promoted", None, "v1"), turned(1, "rejected", "v9", "v1"), turned(2, "promoted", "v1", "v3")]
    assert len(shortcomings(rounds, PLAN, watched("v1"))) == 6

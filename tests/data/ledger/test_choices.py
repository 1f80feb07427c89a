"""What people are asked about: the lots first, then the hardest, each with whose prediction chose it."""

from __future__ import annotations

from data.ledger import Chosen, Drawn, Ledger, Look, Selected
from data.sample import Annotation, Box, Prediction, Sample, Split

OPEN = Box(1, 2, 30, 40, "open")
FOUND = (Box(2, 2, 31, 40, "open", 0.8),)


def sample(name: str, split: Split = "train") -> Sample:
    return Sample(name, 640, 480, "line", f"inbox/{name}.png", split)


def arrived(ledger: Ledger, job: str, *names: str) -> None:
    for number, name in enumerate(names):
        assert ledger.add_sample(job, sample(name), number << 32)


def predicted(ledger: Ledger, job: str, name: str, miner: str, version: str = "v1", probability: float = 0.5) -> None:
    ledger.add_prediction(job, Prediction(name, version, FOUND), 0.4)
    assert ledger.select(job, name, miner, probability, 0.4, version)


def said(ledger: Ledger, job: str, name: str, *boxes: Box, problems: tuple[str, ...] = ()) -> Annotation:
    annotation = Annotation(name, boxes, "ann", "2026-01-01T00:00:00.000000+00:00", "1")
    ledger.record_annotation(job, annotation, problems)
    return annotation


def test_the_lots_are_pushed_first_in_the_order_of_arrival_then_the_hardest(ledger: Ledger, job: str) -> None:
    arrived(ledger, job, "a", "b", "c", "d", "e", "f")
    for name, hardness in (("a", 0.2), ("b", 0.9), ("c", 0.2)):
        assert ledger.select(job, name, "IBT", 0.5, hardness) is True
    assert ledger.select(job, "f", "random", 0.1, 1.0) is True
    assert ledger.select(job, "e", "random", 0.1, 0.0) is True
    assert ledger.pass_over(job, "d", 0.1) is True
    assert [waiting.sample.id for waiting in ledger.selected(job)] == ["e", "f", "b", "a", "c"]
    assert ledger.selected(job, limit=1) == [Selected(sample("e"), "random", 0.1, 0.0)]
    assert ledger.record_push(job, "e", 7) is True
    assert ledger.record_push(job, "b", 8) is True
    assert [waiting.sample.id for waiting in ledger.selected(job)] == ["f", "a", "c"]
    assert ledger.counts(job) == {"passed": 1, "pushed": 2, "selected": 3}


def test_a_sample_never_goes_back_and_is_counted_as_mined_once(ledger: Ledger, job: str) -> None:
    arrived(ledger, job, "a", "b")
    ledger.pass_over(job, "a", 0.1)
    assert ledger.mined(job) == 0
    assert ledger.select(job, "a", "random", 0.1, 0.1) is True
    assert ledger.pass_over(job, "a", 0.1) is False
    assert ledger.record_push(job, "a", 7) is True
    assert ledger.record_push(job, "a", 7) is False
    assert ledger.select(job, "a", "IBT", 1.0, 1.0) is False
    assert ledger.state(job, "a") == "pushed"
    assert ledger.select(job, "b", "IBT", 1.0, 1.0) is True
    assert (ledger.mined(job), ledger.mined("another")) == (2, 0)


def test_the_drawn_of_a_version_are_those_with_a_valid_annotation_latest_first(ledger: Ledger, job: str) -> None:
    arrived(ledger, job, *"abcdefg")
    for name in "cabd":
        predicted(ledger, job, name, "random", probability=0.25)
    predicted(ledger, job, "e", "IBT")
    predicted(ledger, job, "f", "random", version="v2")
    ledger.add_prediction(job, Prediction("a", "v2", ()), 0.9)
    annotations = {name: said(ledger, job, name, OPEN) for name in "abef"}
    said(ledger, job, "d", OPEN, problems=("spoilt",))
    said(ledger, job, "g", OPEN)
    expected = [Drawn(sample(name), annotations[name], Prediction(name, "v1", FOUND), 0.25) for name in "ba"]
    assert ledger.drawn(job, "v1") == expected
    assert ledger.drawn(job, "v1", limit=1) == expected[:1]
    assert [drawn.sample.id for drawn in ledger.drawn(job, "v2")] == ["f"]
    assert ledger.drawn(job, "v3") == []
    ledger.record_skip(job, "b", "2026-01-02T00:00:00Z", "1")
    assert ledger.drawn(job, "v1") == expected[1:]


def test_the_mined_come_latest_first_a_page_at_a_time_with_what_became_of_them(ledger: Ledger, job: str) -> None:
    arrived(ledger, job, *"abcd")
    for name in "cab":
        predicted(ledger, job, name, "IBT" if name != "a" else "nothing found")
    predicted(ledger, job, "d", "random")
    annotation = said(ledger, job, "a", OPEN)
    said(ledger, job, "c", OPEN, problems=("spoilt",))
    first = ledger.chosen(job, limit=2)
    assert [(each.sample.id, each.state, each.miner) for each in first] == [
        ("b", "selected", "IBT"),
        ("a", "labelled", "nothing found"),
    ]
    assert first[1] == Chosen(
        first[1].number, sample("a"), "labelled", "nothing found", 0.5, 0.4, Prediction("a", "v1", FOUND), annotation
    )
    (last,) = ledger.chosen(job, limit=2, before=first[1].number)
    assert (last.sample.id, last.state, last.annotation) == ("c", "quarantined", None)
    assert ledger.chosen(job, limit=2, before=last.number) == []


def test_what_was_chosen_before_anything_served_has_no_prediction(ledger: Ledger, job: str) -> None:
    arrived(ledger, job, "a")
    ledger.select(job, "a", "nothing found", 1.0, 1.0)
    (chosen,) = ledger.chosen(job, limit=9)
    assert (chosen.prediction, chosen.annotation, chosen.state) == (None, None, "selected")


def test_the_looks_of_a_state_come_latest_first(ledger: Ledger, job: str) -> None:
    for name, difference_hash in (("a", 0), ("b", (1 << 64) - 1), ("c", 1 << 63), ("d", 5)):
        ledger.add_sample(job, sample(name), difference_hash)
    for name in "ab":
        ledger.select(job, name, "Informative", 1.0, 0.5)
    assert ledger.looks(job, "arrived") == [Look("d", "line", 5), Look("c", "line", 1 << 63)]
    assert ledger.looks(job, "selected") == [Look("b", "line", (1 << 64) - 1), Look("a", "line", 0)]
    assert ledger.looks(job, "selected", limit=1) == [Look("b", "line", (1 << 64) - 1)]
    assert ledger.looks(job, "labelled") == []
    assert ledger.looks("another", "arrived") == []

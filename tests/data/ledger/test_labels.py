"""What people said: the newest word stands, whatever the order in which the words arrive."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.ledger import Ledger, LedgerRefused, Quarantined, SampleUnknown
from data.sample import Annotation, Box, Sample, Split

OPEN = Box(1, 2, 30, 40, "open")
SHORT = Box(5, 6, 70, 80, "short")


def sample(name: str = "a", split: Split = "train") -> Sample:
    return Sample(name, 640, 480, "line", f"inbox/{name}.png", split)


def said(*boxes: Box, at: int = 0, reference: str = "1", by: str = "ann", about: str = "a") -> Annotation:
    return Annotation(about, boxes, by, f"2026-01-01T00:00:{at:02d}.000000+00:00", reference)


@pytest.fixture
def pushed(ledger: Ledger, job: str) -> str:
    """A job whose sample `a` waits for a person."""
    ledger.add_sample(job, sample(), 0)
    ledger.record_push(job, "a", 7)
    return job


def test_an_annotation_makes_a_sample_learnable_once(ledger: Ledger, pushed: str) -> None:
    assert ledger.record_annotation(pushed, said(OPEN, SHORT)) is True
    assert ledger.record_annotation(pushed, said(OPEN, SHORT)) is False
    assert ledger.annotation(pushed, "a") == said(OPEN, SHORT)
    assert list(ledger.labelled(pushed)) == [(sample(), said(OPEN, SHORT))]
    assert list(ledger.labelled(pushed, "holdout")) == []
    assert ledger.counts(pushed) == {"labelled": 1}
    assert ledger.support(pushed, "train") == {"open": 1, "short": 1}
    assert ledger.pending(pushed) == 1


def test_scores_are_not_part_of_what_a_person_said(ledger: Ledger, pushed: str) -> None:
    ledger.record_annotation(pushed, said(Box(1, 2, 30, 40, "open", score=0.5)))
    assert ledger.annotation(pushed, "a") == said(OPEN)


def test_predecessor_defect_a_relabelled_sample_counts_again(ledger: Ledger, pushed: str) -> None:
    ledger.record_annotation(pushed, said(OPEN))
    ledger.claim_training(pushed, "run")
    ledger.finish_training(pushed, "run", dataset_version="d1", candidate="v1")
    assert ledger.pending(pushed) == 0
    ledger.record_annotation(pushed, said(SHORT, at=1))
    assert ledger.pending(pushed) == 1
    assert ledger.support(pushed, "train") == {"short": 1}
    ledger.record_annotation(pushed, said(OPEN, at=2))
    assert ledger.pending(pushed) == 0, "exactly this was learnt from already"


def test_an_older_word_that_comes_late_changes_nothing(ledger: Ledger, pushed: str) -> None:
    ledger.record_annotation(pushed, said(SHORT, at=5))
    assert ledger.record_annotation(pushed, said(OPEN, at=4)) is False
    assert ledger.annotation(pushed, "a") == said(SHORT, at=5)


def test_it_is_known_what_was_said_where_until_it_is_withdrawn(ledger: Ledger, pushed: str) -> None:
    assert ledger.said(pushed, "a", "1") is None
    ledger.record_annotation(pushed, said(OPEN, at=3), ["too small"])
    ledger.record_annotation(pushed, said(OPEN, at=5, reference="2"), ["too small"])
    ledger.record_skip(pushed, "a", "2026-01-01T00:00:09Z", "3")
    assert ledger.said(pushed, "a", "1") == said(OPEN, at=3)
    assert ledger.said(pushed, "a", "2") == said(OPEN, at=5, reference="2")
    assert ledger.said(pushed, "a", "3") is None
    ledger.withdraw_annotation(pushed, "a", "1")
    assert ledger.said(pushed, "a", "1") is None


def test_what_people_were_asked_about_stays_with_what_they_said(ledger: Ledger, pushed: str) -> None:
    of_two = replace(said(OPEN), classes=("open", "short"))
    assert ledger.record_annotation(pushed, of_two) is True
    assert ledger.annotation(pushed, "a") == ledger.said(pushed, "a", "1") == of_two
    assert list(ledger.labelled(pushed)) == list(ledger.pending_samples(pushed)) == [(sample(), of_two)]
    assert ledger.claim_training(pushed, "run").samples == 1
    assert ledger.claimed(pushed, "run") == [(sample(), of_two)]
    assert ledger.unversioned(pushed, "run") == ([(sample(), of_two)], [])
    of_three = replace(said(OPEN, at=1), classes=("open", "short", "spur"))
    assert ledger.record_annotation(pushed, of_three) is True, "the same boxes, but no spur was seen either"
    assert ledger.annotation(pushed, "a") == of_three
    assert ledger.pending(pushed) == 1


def test_a_bad_annotation_is_quarantined_with_its_reasons_and_hides_the_good_one(ledger: Ledger, pushed: str) -> None:
    ledger.record_annotation(pushed, said(OPEN))
    assert ledger.record_annotation(pushed, said(SHORT, at=1), ["too small", "outside"]) is True
    assert ledger.counts(pushed) == {"quarantined": 1}
    assert list(ledger.quarantined(pushed)) == [Quarantined(sample(), said(SHORT, at=1), ("too small", "outside"))]
    assert list(ledger.labelled(pushed)) == []
    assert ledger.annotation(pushed, "a") is None
    assert (ledger.pending(pushed), ledger.support(pushed, "train")) == (0, {})
    assert ledger.record_annotation(pushed, said(SHORT, at=1), ["too small", "outside"]) is False
    assert ledger.record_annotation(pushed, said(SHORT, at=1)) is True, "judged anew, it is good"
    assert (ledger.pending(pushed), ledger.support(pushed, "train")) == (1, {"short": 1})


def test_a_withdrawn_annotation_is_gone_for_good(ledger: Ledger, pushed: str) -> None:
    ledger.record_annotation(pushed, said(OPEN))
    assert ledger.withdraw_annotation(pushed, "a", "1") is True
    assert ledger.counts(pushed) == {"pushed": 1}
    assert (ledger.pending(pushed), ledger.support(pushed, "train")) == (0, {})
    assert ledger.withdraw_annotation(pushed, "a", "1") is False
    assert ledger.record_annotation(pushed, said(OPEN)) is False
    assert ledger.record_annotation(pushed, said(OPEN, at=1, reference="2")) is True
    assert ledger.withdraw_annotation(pushed, "a", "1") is False
    assert ledger.pending(pushed) == 1


def test_when_one_person_withdraws_the_other_stands_again(ledger: Ledger, pushed: str) -> None:
    ledger.record_annotation(pushed, said(OPEN, at=1, reference="1", by="ann"))
    ledger.record_annotation(pushed, said(SHORT, at=2, reference="2", by="bob"))
    assert ledger.references(pushed, "a") == ["2", "1"]
    ledger.withdraw_annotation(pushed, "a", "2")
    assert ledger.annotation(pushed, "a") == said(OPEN, at=1, reference="1", by="ann")
    assert ledger.references(pushed, "a") == ["1"]


def test_a_skip_is_a_word_like_any_other(ledger: Ledger, pushed: str) -> None:
    assert ledger.record_skip(pushed, "a", "2026-01-01T00:00:05Z", "1") is True
    assert ledger.record_skip(pushed, "a", "2026-01-01T00:00:05Z", "1") is False
    assert ledger.counts(pushed) == {"skipped": 1}
    assert ledger.record_annotation(pushed, said(OPEN, at=4)) is False
    assert ledger.record_annotation(pushed, said(OPEN, at=6)) is True
    assert ledger.counts(pushed) == {"labelled": 1}


def test_labels_that_come_without_a_task_are_labels_too(ledger: Ledger, job: str) -> None:
    ledger.add_sample(job, sample(split="holdout"), 0)
    ledger.record_annotation(job, said(OPEN, reference=""))
    assert ledger.pending(job) == 0, "what is held out is never learnt from"
    assert ledger.support(job, "holdout") == {"open": 1}
    ledger.select(job, "a", "random", 1.0, 0.5)
    assert ledger.selected(job) == [], "nobody needs to be asked about it"
    ledger.withdraw_annotation(job, "a", "")
    assert [waiting.sample.id for waiting in ledger.selected(job)] == ["a"]


def test_times_are_compared_as_instants(ledger: Ledger, pushed: str) -> None:
    later = Annotation("a", (SHORT,), "ann", "2026-01-01T01:00:00Z", "1")
    earlier = Annotation("a", (OPEN,), "ann", "2026-01-01T02:30:00+02:00", "1")
    ledger.record_annotation(pushed, later)
    assert ledger.record_annotation(pushed, earlier) is False


@pytest.mark.parametrize("time", ["", "yesterday", "2026-01-01T00:00:00"])
def test_a_time_that_is_no_instant_is_refused_and_nothing_is_stored(ledger: Ledger, pushed: str, time: str) -> None:
    with pytest.raises(LedgerRefused, match="is not a time with its offset"):
        ledger.record_annotation(pushed, Annotation("a", (OPEN,), "ann", time))
    with pytest.raises(LedgerRefused, match="is not a time with its offset"):
        ledger.record_skip(pushed, "a", time)
    assert ledger.counts(pushed) == {"pushed": 1}
    assert ledger.references(pushed, "a") == []


def test_words_about_a_sample_that_never_arrived_are_refused(ledger: Ledger, job: str) -> None:
    with pytest.raises(SampleUnknown):
        ledger.record_annotation(job, said(OPEN))
    with pytest.raises(SampleUnknown):
        ledger.record_skip(job, "a", "2026-01-01T00:00:05Z")
    with pytest.raises(SampleUnknown):
        ledger.withdraw_annotation(job, "a", "1")


times = st.integers(0, 3)
references = st.sampled_from(["1", "2", "3"])
spoken = st.one_of(
    st.tuples(st.just("annotate"), times, references, st.sampled_from(["ann", "bob"]), st.sampled_from("abc")),
    st.tuples(st.just("skip"), times, references),
    st.tuples(st.just("withdraw"), references),
)


def speak(ledger: Ledger, job: str, word: tuple[Any, ...]) -> None:
    match word:
        case ("annotate", at, reference, person, label):
            annotation = said(Box(1, 2, 30, 40, label), at=at, reference=reference, by=person)
            ledger.record_annotation(job, annotation, ["unknown class c"] if label == "c" else [])
        case ("skip", at, reference):
            ledger.record_skip(job, "a", f"2026-01-01T00:00:{at:02d}Z", reference)
        case ("withdraw", reference):
            ledger.withdraw_annotation(job, "a", reference)


@given(st.lists(spoken, max_size=8).flatmap(lambda heard: st.tuples(st.just(heard), st.permutations(heard * 2))))
@settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=25)
def test_neither_order_nor_repetition_of_words_matters(ledger: Ledger, words: tuple[list[Any], list[Any]]) -> None:
    standing = []
    for heard in words:
        job = uuid.uuid4().hex
        ledger.add_sample(job, sample(), 0)
        for word in heard:
            speak(ledger, job, word)
        quarantined = [(found.annotation.id, found.problems) for found in ledger.quarantined(job)]
        labelled = [(found.id, annotation.id) for found, annotation in ledger.labelled(job)]
        standing.append((ledger.counts(job), labelled, quarantined, ledger.support(job, "train"), ledger.pending(job)))
    assert standing[0] == standing[1]

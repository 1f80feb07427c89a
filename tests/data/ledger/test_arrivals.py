"""Arrival, near-duplicates, predictions and pushing."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.ledger import Ledger, LedgerRefused, Refusal, SampleUnknown
from data.sample import Box, Prediction, Sample, Split

SHARED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)


def sample(name: str, split: Split = "train", domain: str = "line") -> Sample:
    return Sample(name, 640, 480, domain, f"inbox/{name}.png", split)


def arrived(ledger: Ledger, job: str, *names: str) -> None:
    for number, name in enumerate(names):
        assert ledger.add_sample(job, sample(name), number << 32)


def test_a_sample_arrives_once_and_as_it_was_first_seen(ledger: Ledger, job: str) -> None:
    first = Sample("a", 640, 480, "line", "inbox/a.png", "holdout", "template")
    assert ledger.add_sample(job, first, 2**64 - 1) is True
    assert ledger.add_sample(job, sample("a", split="train"), 1) is False
    assert ledger.sample(job, "a") == first
    assert ledger.sample(job, "b") is None
    assert ledger.sample("another", "a") is None
    assert ledger.has(job, ["a", "b"]) == {"a"}
    assert ledger.state(job, "a") == "arrived"


def test_samples_come_in_the_order_of_arrival_and_by_state(
    ledger: Ledger, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data.ledger.rows.PAGE", 2)
    arrived(ledger, job, "c", "a", "b", "e", "d")
    ledger.pass_over(job, "a", 0.1)
    assert [found.id for found in ledger.samples(job)] == ["c", "a", "b", "e", "d"]
    assert [found.id for found in ledger.samples(job, state="arrived")] == ["c", "b", "e", "d"]
    assert ledger.counts(job) == {"arrived": 4, "passed": 1}


def test_strata_are_counted_by_domain_and_split(ledger: Ledger, job: str) -> None:
    ledger.add_sample(job, sample("a", "train", "one"), 1)
    ledger.add_sample(job, sample("b", "train", "one"), 2)
    ledger.add_sample(job, sample("c", "holdout", "one"), 3)
    ledger.add_sample(job, sample("d", "holdout", "two"), 4)
    assert ledger.stratum_counts(job, "one") == (2, 1)
    assert ledger.stratum_counts(job, "two") == (0, 1)
    assert ledger.stratum_counts(job, "three") == (0, 0)


@given(known=st.integers(0, 2**64 - 1), flipped=st.sets(st.integers(0, 63), max_size=7), limit=st.integers(0, 5))
@SHARED
def test_a_near_duplicate_is_found_within_the_distance_and_not_beyond(
    ledger: Ledger, known: int, flipped: set[int], limit: int
) -> None:
    job = f"near_{known}_{sorted(flipped)}"
    ledger.add_sample(job, sample("a"), known)
    found = ledger.near_duplicates(job, known ^ sum(1 << bit for bit in flipped), limit)
    assert bool(found) == (len(flipped) <= limit)


def test_the_nearest_come_first_then_the_latest_and_never_too_many(ledger: Ledger, job: str) -> None:
    for name, difference_hash in (("older", 0b0), ("near", 0b1), ("same", 0b0), ("far", 0b111)):
        ledger.add_sample(job, sample(name), difference_hash)
    assert ledger.near_duplicates(job, 0b0) == [sample("same"), sample("older"), sample("near")]
    assert ledger.near_duplicates(job, 0b0, limit=2) == [sample("same"), sample("older")]
    with pytest.raises(ValueError, match="max_distance is 6"):
        ledger.near_duplicates(job, 0, 6)


def test_refusals_are_kept_once_with_all_reasons(ledger: Ledger, job: str) -> None:
    assert ledger.add_refusal(job, "inbox/a.png", "00", ["empty", "not an image"]) is True
    assert ledger.add_refusal(job, "inbox/a.png", "00", ["empty"]) is False
    assert ledger.add_refusal(job, "inbox/b.png", "00", ["empty"]) is True
    assert list(ledger.refusals(job)) == [
        Refusal("inbox/a.png", "00", ("empty", "not an image")),
        Refusal("inbox/b.png", "00", ("empty",)),
    ]


def test_the_newest_prediction_is_kept_with_its_boxes(ledger: Ledger, job: str) -> None:
    arrived(ledger, job, "a")
    first = Prediction("a", "v1", (Box(1, 2, 3, 4, "open", 0.5),))
    assert ledger.prediction(job, "a") is None
    assert ledger.add_prediction(job, first, 0.3) is True
    assert ledger.add_prediction(job, Prediction("a", "v1", ()), 0.9) is False
    assert ledger.prediction(job, "a") == first
    ledger.add_prediction(job, Prediction("a", "v2", ()), 0.9)
    assert ledger.prediction(job, "a") == Prediction("a", "v2", ())


def test_a_sample_has_one_task_and_a_task_one_sample(ledger: Ledger, job: str) -> None:
    arrived(ledger, job, "a", "b")
    ledger.record_push(job, "a", 7)
    with pytest.raises(LedgerRefused, match="has task 7 already; delete task 8"):
        ledger.record_push(job, "a", 8)
    with pytest.raises(LedgerRefused, match="task 7 is about sample a"):
        ledger.record_push(job, "b", 7)
    assert ledger.task_of(job, "a") == 7
    assert ledger.task_of(job, "b") is None
    assert ledger.sample_of_task(job, 7) == sample("a")
    assert ledger.sample_of_task(job, 8) is None


def test_a_step_for_a_sample_that_never_arrived_is_refused(ledger: Ledger, job: str) -> None:
    with pytest.raises(SampleUnknown, match="has no sample 'x'; add it"):
        ledger.record_push(job, "x", 7)
    with pytest.raises(SampleUnknown):
        ledger.add_prediction(job, Prediction("x", "v1", ()), 0.1)
    assert ledger.counts(job) == {}

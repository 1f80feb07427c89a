"""Claims: what a training holds, uses or gives back, and what a dataset version must add for it."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from data.ledger import Ledger, LedgerRefused, TrainingActive, TrainingLost
from data.ledger.tables import trainings
from data.sample import Annotation, Box, Sample, Split


def labelled(ledger: Ledger, job: str, *names: str, label: str = "open", at: int = 0, split: Split = "train") -> None:
    for name in names:
        ledger.add_sample(job, Sample(name, 640, 480, "line", f"inbox/{name}.png", split), hash(name) % 2**64)
        boxes = (Box(1, 2, 30, 40, label),)
        ledger.record_annotation(job, Annotation(name, boxes, "ann", f"2026-01-01T00:00:{at:02d}Z", "1"))


def fall_silent(ledger: Ledger, job: str, run_id: str) -> None:
    """Let the last sign of life of a run be an hour older."""
    with ledger._writing(job) as connection:
        here = (trainings.c.job == job, trainings.c.run_id == run_id)
        connection.execute(sa.update(trainings).where(*here).values(heartbeat=trainings.c.heartbeat - 3600))


def names(pairs: list[tuple[Sample, Annotation]]) -> dict[str, str]:
    """Each sample with the class of its box."""
    return {sample.id: annotation.boxes[0].label for sample, annotation in pairs}


def test_predecessor_defect_samples_that_come_one_by_one_count(ledger: Ledger, job: str) -> None:
    for count in range(1, 6):
        labelled(ledger, job, f"sample_{count}")
        assert ledger.pending(job) == count


def test_predecessor_defect_held_out_samples_are_counted_once_and_never_pending(ledger: Ledger, job: str) -> None:
    labelled(ledger, job, "a", "b", split="holdout")
    ledger.claim_training(job, "run")
    ledger.finish_training(job, "run", dataset_version="d1", candidate="v1")
    labelled(ledger, job, "c", split="holdout")
    assert ledger.pending(job) == 0
    assert ledger.support(job, "holdout") == {"open": 3}


def test_predecessor_defect_a_failed_training_keeps_its_samples(ledger: Ledger, job: str) -> None:
    labelled(ledger, job, "a", "b")
    assert ledger.claim_training(job, "run").samples == 2
    assert ledger.pending(job) == 0
    assert ledger.fail_training(job, "run", "out of memory") is True
    assert ledger.fail_training(job, "run") is False
    assert ledger.pending(job) == 2
    assert [(attempt.state, attempt.reason) for attempt in ledger.trainings(job)] == [("failed", "out of memory")]


def test_predecessor_defect_samples_that_arrive_during_a_training_are_not_lost(ledger: Ledger, job: str) -> None:
    labelled(ledger, job, "a")
    ledger.claim_training(job, "run")
    labelled(ledger, job, "b")
    ledger.finish_training(job, "run", dataset_version="d1", candidate="v1")
    assert names(list(ledger.pending_samples(job))) == {"b": "open"}


def test_predecessor_defect_what_is_pending_outlives_the_process(ledger: Ledger, job: str) -> None:
    labelled(ledger, job, "a", "b")
    assert Ledger(ledger.url.render_as_string(hide_password=False)).pending(job) == 2


def test_one_run_trains_at_a_time_and_the_same_run_gets_its_own_claim(ledger: Ledger, job: str) -> None:
    labelled(ledger, job, "a")
    claim = ledger.claim_training(job, "run")
    labelled(ledger, job, "b")
    assert ledger.claim_training(job, "run") == claim
    assert ledger.active_training(job) == claim
    with pytest.raises(TrainingActive, match="run 'run' is training job") as caught:
        ledger.claim_training(job, "other")
    assert caught.value.other == claim
    assert ledger.claim_training(f"{job}_b", "other").samples == 0
    ledger.finish_training(job, "run", dataset_version="d1", candidate="v1")
    assert ledger.active_training(job) is None
    assert ledger.claim_training(job, "other").samples == 1


def test_a_finished_run_is_finished(ledger: Ledger, job: str) -> None:
    labelled(ledger, job, "a")
    ledger.claim_training(job, "run")
    assert ledger.finish_training(job, "run", dataset_version="d1", candidate="v1") is True
    assert ledger.finish_training(job, "run", dataset_version="d2", candidate="v2") is False
    assert ledger.fail_training(job, "run") is False
    finished = ledger.claim_training(job, "run")
    assert (finished.state, finished.dataset_version, finished.candidate) == ("finished", "d1", "v1")
    assert ledger.training(job, "run") == finished
    assert names(ledger.claimed(job, "run")) == {"a": "open"}
    assert ledger.pending(job) == 0


def test_a_silent_training_fails_and_its_samples_are_given_back(ledger: Ledger, job: str) -> None:
    labelled(ledger, job, "a", "b")
    ledger.claim_training(job, "run", silence_seconds=60)
    fall_silent(ledger, job, "run")
    assert ledger.pending(job) == 2
    assert ledger.training(job, "run") is None
    assert ledger.claim_training(job, "other").samples == 2
    with pytest.raises(TrainingLost, match="silent for more than 60 s"):
        ledger.heartbeat(job, "run")
    with pytest.raises(TrainingLost):
        ledger.finish_training(job, "run", dataset_version="d1", candidate="v1")
    with pytest.raises(TrainingLost):
        ledger.record_dataset(job, "run", "d1", [])
    assert ledger.pending(job) == 0


def test_a_heartbeat_keeps_a_claim(ledger: Ledger, job: str) -> None:
    labelled(ledger, job, "a")
    ledger.claim_training(job, "run")
    fall_silent(ledger, job, "run")
    ledger.heartbeat(job, "run")
    with pytest.raises(TrainingActive):
        ledger.claim_training(job, "other")


def test_a_run_that_failed_claims_anew(ledger: Ledger, job: str) -> None:
    labelled(ledger, job, "a")
    ledger.claim_training(job, "run")
    ledger.fail_training(job, "run")
    labelled(ledger, job, "b")
    again = ledger.claim_training(job, "run")
    assert (again.id, again.state, again.samples) == (2, "active", 2)


def test_a_label_that_changes_under_a_training_stays_pending_whatever_becomes_of_it(ledger: Ledger, job: str) -> None:
    labelled(ledger, job, "a", "b")
    ledger.claim_training(job, "run")
    labelled(ledger, job, "a", label="short", at=1)
    assert names(list(ledger.pending_samples(job))) == {"a": "short"}
    ledger.fail_training(job, "run")
    assert names(list(ledger.pending_samples(job))) == {"a": "short", "b": "open"}
    assert ledger.pending_by_class(job) == {"open": 1, "short": 1}


def test_what_is_pending_of_a_class_is_the_samples_that_show_it(ledger: Ledger, job: str) -> None:
    def said(name: str, *classes: str, at: int = 0) -> None:
        boxes = tuple(Box(10.0 * place, 2, 10.0 * place + 5, 9, label) for place, label in enumerate(classes))
        ledger.add_sample(job, Sample(name, 640, 480, "line", name, "train"), hash(name) % 2**64)
        ledger.record_annotation(job, Annotation(name, boxes, "ann", f"2026-01-01T00:00:{at:02d}Z", "1"))

    said("a", "open", "open", "short")
    said("b", "open")
    said("c")
    assert (ledger.pending(job), ledger.pending_by_class(job)) == (3, {"open": 2, "short": 1})
    said("b", "short", at=1)
    assert ledger.pending_by_class(job) == {"open": 1, "short": 2}
    ledger.withdraw_annotation(job, "a", "1")
    assert (ledger.pending(job), ledger.pending_by_class(job)) == (2, {"short": 1})
    ledger.claim_training(job, "run")
    assert (ledger.pending(job), ledger.pending_by_class(job)) == (0, {})
    ledger.withdraw_annotation(job, "c", "1")
    ledger.fail_training(job, "run")
    assert (ledger.pending(job), ledger.pending_by_class(job)) == (1, {"short": 1})


def test_the_last_training_is_the_newest_that_finished(ledger: Ledger, job: str) -> None:
    assert ledger.last_training(job) is None
    for number, ends in enumerate((ledger.finish_training, None, ledger.finish_training, None)):
        run_id = f"run {number}"
        ledger.claim_training(job, run_id)
        if ends is None:
            ledger.fail_training(job, run_id, "killed")
        else:
            ends(job, run_id, dataset_version="d1", candidate=f"v{number}")
    ledger.claim_training(job, "active")
    last = ledger.last_training(job)
    assert last is not None
    assert (last.run_id, last.candidate, last.ended_at is not None) == ("run 2", "v2", True)


def test_what_was_used_before_is_not_pending_again_when_a_later_training_fails(ledger: Ledger, job: str) -> None:
    labelled(ledger, job, "a", at=0)
    ledger.claim_training(job, "one")
    ledger.finish_training(job, "one", dataset_version="d1", candidate="v1")
    labelled(ledger, job, "a", label="short", at=1)
    assert ledger.claim_training(job, "two").samples == 1
    labelled(ledger, job, "a", at=2)
    ledger.fail_training(job, "two")
    assert ledger.pending(job) == 0


def test_a_claim_without_samples_leaves_them_pending(ledger: Ledger, job: str) -> None:
    labelled(ledger, job, "a")
    assert ledger.claim_training(job, "run", with_samples=False).samples == 0
    ledger.finish_training(job, "run", dataset_version="d0", candidate="v1")
    assert ledger.pending(job) == 1


def test_a_run_without_a_claim_is_told_to_make_one(ledger: Ledger, job: str) -> None:
    assert ledger.training(job, "run") is None
    assert ledger.claimed(job, "run") == []
    with pytest.raises(LedgerRefused, match="begin with claim_training"):
        ledger.heartbeat(job, "run")
    with pytest.raises(LedgerRefused, match="begin with claim_training"):
        ledger.fail_training(job, "run")


def test_a_dataset_version_takes_what_was_claimed_and_what_is_held_out(ledger: Ledger, job: str) -> None:
    labelled(ledger, job, "a", "b")
    labelled(ledger, job, "c", split="holdout")
    ledger.claim_training(job, "one")
    labelled(ledger, job, "late")
    labelled(ledger, job, "b", label="short", at=1)
    added, removed = ledger.unversioned(job, "one")
    assert (names(added), removed) == ({"a": "open", "b": "open", "c": "open"}, [])
    assert ledger.record_dataset(job, "one", "d1", added, removed) is True
    assert ledger.record_dataset(job, "one", "d9", [], ["a"]) is False
    assert ledger.unversioned(job, "one") == ([], [])
    ledger.finish_training(job, "one", dataset_version="d1", candidate="v1")

    ledger.withdraw_annotation(job, "a", "1")
    ledger.claim_training(job, "two")
    added, removed = ledger.unversioned(job, "two")
    assert (names(added), removed) == ({"b": "short", "late": "open"}, ["a"])
    ledger.record_dataset(job, "two", "d2", added, removed)
    assert ledger.unversioned(job, "two") == ([], [])


def test_a_dataset_version_of_a_failed_training_is_not_written_again(ledger: Ledger, job: str) -> None:
    labelled(ledger, job, "a")
    ledger.claim_training(job, "one")
    ledger.record_dataset(job, "one", "d1", *ledger.unversioned(job, "one"))
    ledger.fail_training(job, "one")
    assert ledger.claim_training(job, "two").samples == 1
    assert ledger.unversioned(job, "two") == ([], [])


def test_what_was_quarantined_under_a_training_is_not_given_back(ledger: Ledger, job: str) -> None:
    labelled(ledger, job, "a", "b")
    ledger.claim_training(job, "run")
    (_, spoilt), _ = ledger.claimed(job, "run")
    ledger.record_annotation(job, spoilt, ["no such class any more"])
    ledger.fail_training(job, "run")
    assert (ledger.pending(job), ledger.pending_by_class(job)) == (1, {"open": 1})
    ledger.record_annotation(job, spoilt, [])
    assert (ledger.pending(job), ledger.pending_by_class(job)) == (2, {"open": 2})

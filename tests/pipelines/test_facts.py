"""Facts: what a rule asks for is read from the ledger as it stands, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.ledger import Ledger
from data.sample import Annotation, Box, Sample, sha256
from models.metrics import evaluate as measure
from pipelines.evaluate import Comparison
from pipelines.facts import gather, live_metrics
from pipelines.gates.gate import check
from pipelines.gates.rule import Condition, Rule, Timer
from pipelines.job import Job
from pipelines.workspace import Workspace
from tests.pipelines.tiny import without_servers

NOW = datetime.now(UTC)
COUNT = "num_of_samples"


def rule(*texts: str) -> Rule:
    """The rule of several conditions."""
    return Rule(all=[Rule(condition=condition(*text.split())) for text in texts])


def condition(metric: str, sign: str, threshold: str) -> Condition:
    return Condition(metric=metric, operator=sign, threshold=float(threshold))  # type: ignore[arg-type]


def label(ledger: Ledger, numbers: Iterable[int], classes: Sequence[str] = ("open",)) -> None:
    """Enter labelled samples to train on, each with two boxes of every class named."""
    for number in numbers:
        sample = Sample(sha256(str(number).encode()), 640, 640, "default", f"{number}.png", "train")
        ledger.add_sample("boards", sample, number)
        boxes = tuple(Box(at, at, at + 9, at + 9, name) for name in classes for at in (1, 20))
        ledger.record_annotation("boards", Annotation(sample.id, boxes, "ada", "2026-01-01T00:00:00+00:00"))


def train(ledger: Ledger, run_id: str) -> datetime:
    """Finish a training; when it ended."""
    ledger.claim_training("boards", run_id)
    ledger.finish_training("boards", run_id, dataset_version="d1", candidate="v1")
    last = ledger.last_training("boards")
    assert last is not None
    assert last.ended_at is not None
    return datetime.fromisoformat(last.ended_at)


def test_what_is_not_asked_for_is_not_read(offline: Workspace, job: Job, tmp_path: Path) -> None:
    window = Rule(timer=Timer(start="02:00", end="04:00"))
    assert gather(offline, job, window, NOW).metrics == {}
    assert not (tmp_path / "ledger.db").exists()
    assert gather(offline, job, rule("num_of_samples >= 8"), NOW).metrics == {COUNT: 0}


def test_labels_are_counted_for_the_job_and_for_each_class_that_they_show(offline: Workspace, job: Job) -> None:
    label(offline.ledger, range(3), ["open", "short"])
    label(offline.ledger, range(3, 5), ["open"])
    of_class = {f"{COUNT}[{name}]": {"open": 5, "short": 3}.get(name, 0) for name in job.classes}
    assert gather(offline, job, rule("num_of_samples[open] >= 8"), NOW).metrics == of_class
    known = gather(offline, job, rule("num_of_samples >= 8", "num_of_samples[*] >= 1"), NOW)
    assert known.metrics == {COUNT: 5, **of_class}
    verdict = check(rule("num_of_samples[*] >= 3"), known, NOW)
    assert verdict.sentence == " and ".join(f"0 of 3 labels with {name}" for name in job.classes[2:])


def test_time_runs_from_the_end_of_the_last_finished_training(offline: Workspace, job: Job) -> None:
    asked = rule("days_since_training >= 14", "hours_since_training >= 12")
    assert gather(offline, job, asked, NOW).metrics == {
        "days_since_training": float("inf"),
        "hours_since_training": float("inf"),
    }
    ended = train(offline.ledger, "first")
    offline.ledger.claim_training("boards", "failed")
    offline.ledger.fail_training("boards", "failed", "no disk")
    offline.ledger.claim_training("boards", "active")
    later = gather(offline, job, asked, ended + timedelta(days=9)).metrics
    assert later == {"days_since_training": 9.0, "hours_since_training": 216.0}
    before = gather(offline, job, asked, ended - timedelta(minutes=1)).metrics
    assert before == {"days_since_training": 0.0, "hours_since_training": 0.0}


def test_a_claim_is_counted_instead_of_what_waits(offline: Workspace, job: Job) -> None:
    label(offline.ledger, range(4), ["open", "short"])
    claim = offline.ledger.claim_training("boards", "run")
    label(offline.ledger, range(4, 6), ["spur"])
    asked = rule("num_of_samples >= 8", "num_of_samples[*] >= 1")
    claimed = live_metrics(offline, job, asked, NOW, claim)
    assert [claimed[name] for name in (COUNT, f"{COUNT}[open]", f"{COUNT}[short]", f"{COUNT}[spur]")] == [4, 4, 4, 0]
    waiting = live_metrics(offline, job, asked, NOW)
    assert [waiting[name] for name in (COUNT, f"{COUNT}[open]", f"{COUNT}[spur]")] == [2, 0, 2]


def test_before_promote_the_evaluation_is_asked_and_the_labels_of_now(offline: Workspace, job: Job) -> None:
    label(offline.ledger, range(3))
    truth = {"board": [Box(1, 1, 9, 9, "open")]}
    found = {"board": [Box(1, 1, 9, 9, "open", 0.9), Box(20, 20, 29, 29, "open", 0.8)]}
    worse, better = (measure(truth, boxes, {"board": "line"}, job.classes, 0.5) for boxes in (found, truth))
    asked = rule("precision_delta > 0", "num_of_samples >= 8")
    first = Comparison("v1", None, None, "d1", candidate=better, served=None)
    second = Comparison("v2", "v1", "v1", "d2", candidate=better, served=worse)

    known = gather(offline, job, asked, NOW, second)

    assert (known.metrics["precision"], known.metrics[COUNT], known.frozen) == (1.0, 3, True)
    assert known.served is not None
    assert (known.served["precision"], known.served["precision[open]"]) == (0.5, 0.5)
    assert check(asked, known, NOW).sentence == "precision_delta is 0.5, 1 against 0.5 (> 0); 3 of 8 labels"
    assert gather(offline, job, asked, NOW, first).served is None


@pytest.mark.slow
@given(
    batches=st.lists(st.integers(0, 4), min_size=1, max_size=6),
    threshold=st.integers(0, 12),
    sign=st.sampled_from([">", ">=", "<", "<=", "==", "!="]),
)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_labels_one_by_one_open_the_gate_as_all_at_once(
    tmp_path_factory: pytest.TempPathFactory, job: Job, batches: list[int], threshold: int, sign: str
) -> None:
    asked = rule(f"num_of_samples {sign} {threshold}", f"num_of_samples[open] {sign} {threshold}")
    exact = {">": int.__gt__, ">=": int.__ge__, "<": int.__lt__, "<=": int.__le__, "==": int.__eq__, "!=": int.__ne__}
    ledgers = []
    for _ in range(2):
        folder = tmp_path_factory.mktemp("ledger")
        ledgers.append(Workspace(without_servers(folder)))
    one_by_one, in_batches = ledgers
    count = 0
    for size in batches:
        for number in range(count, count + size):
            label(one_by_one.ledger, [number])
            met = check(asked, gather(one_by_one, job, asked, NOW), NOW).met
            assert met is exact[sign](number + 1, threshold)
        label(in_batches.ledger, range(count, count + size))
        count += size
        known = [gather(workspace, job, asked, NOW) for workspace in ledgers]
        assert known[0] == known[1]
        assert check(asked, known[1], NOW).met is exact[sign](count, threshold)


def test_predecessor_defect_relabelled_and_repeated_samples_are_invisible_or_counted_twice(
    offline: Workspace, job: Job
) -> None:
    asked = rule("num_of_samples >= 3")
    label(offline.ledger, range(3))
    label(offline.ledger, range(3))
    assert gather(offline, job, asked, NOW).metrics == {COUNT: 3}
    train(offline.ledger, "run")
    assert gather(offline, job, asked, NOW).metrics == {COUNT: 0}
    corrected = Annotation(sha256(b"1"), (Box(5, 5, 9, 9, "short"),), "bea", "2026-01-02T00:00:00+00:00")
    offline.ledger.record_annotation("boards", corrected)
    assert gather(offline, job, asked, NOW).metrics == {COUNT: 1}


def test_predecessor_defect_samples_that_arrive_while_others_are_taken_are_lost(offline: Workspace, job: Job) -> None:
    label(offline.ledger, range(3))
    claim = offline.ledger.claim_training("boards", "run")
    label(offline.ledger, range(3, 5))
    offline.ledger.finish_training("boards", "run", dataset_version="d1", candidate="v1")
    assert (claim.samples, gather(offline, job, rule("num_of_samples >= 3"), NOW).metrics) == (3, {COUNT: 2})


def test_predecessor_defect_a_line_of_more_than_64_kb_ends_the_list(offline: Workspace, job: Job) -> None:
    label(offline.ledger, range(1))
    boxes = tuple(Box(at, at, at + 9.123456789, at + 9.123456789, "short") for at in range(1500))
    assert len(json.dumps([box.to_json() for box in boxes])) > 65_536
    long = Annotation(sha256(b"0"), boxes, "ada", "2026-01-02T00:00:00+00:00")
    offline.ledger.record_annotation("boards", long)
    label(offline.ledger, range(1, 3))
    asked = rule("num_of_samples >= 3", "num_of_samples[short] >= 1")
    known = gather(offline, job, asked, NOW)
    assert (known.metrics[COUNT], known.metrics[f"{COUNT}[short]"]) == (3, 1)
    offline.ledger.claim_training("boards", "run")
    assert max(len(annotation.boxes) for _, annotation in offline.ledger.claimed("boards", "run")) == 1500


def test_predecessor_defect_pending_samples_are_lost_with_the_process(offline: Workspace, job: Job) -> None:
    label(offline.ledger, range(3))
    reopened = Workspace(offline.settings)
    assert gather(reopened, job, rule("num_of_samples >= 3"), NOW).metrics == {COUNT: 3}


def test_predecessor_defect_a_failed_training_loses_its_samples(offline: Workspace, job: Job) -> None:
    label(offline.ledger, range(3))
    offline.ledger.claim_training("boards", "run")
    assert gather(offline, job, rule("num_of_samples >= 3"), NOW).metrics == {COUNT: 0}
    offline.ledger.fail_training("boards", "run", "no disk")
    assert gather(offline, job, rule("num_of_samples >= 3"), NOW).metrics == {COUNT: 3}

"""Steps by name: what a run is about, what its gates say, and the whole way with an estimator that needs no time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from data.registry import Overtaken
from data.sample import Annotation, Box, Prediction, Sample, sha256
from pipelines import facts, steps
from pipelines.gates.conditions import Verdict
from pipelines.gates.gate import Facts
from pipelines.gates.rule import Condition, Rule, Timer, Trigger
from pipelines.importing import import_labelled
from pipelines.job import Job
from pipelines.promote import PromotionRefused
from pipelines.request import NothingToDo
from pipelines.settings import ROOT
from pipelines.steps import Call, Gate
from pipelines.workspace import Workspace
from tests.pipelines.tiny import environment, labelled, tiny_job

pytestmark = pytest.mark.slow
ALWAYS = Timer(start="00:00", end="00:00")
LABELS = Rule(condition=Condition(metric="num_of_samples", operator=">=", threshold=3))
DAYS = Condition(metric="days_since_training", operator=">=", threshold=1)


def never() -> Timer:
    """A window that opened and closed some hours ago."""
    ago = datetime.now(UTC) - timedelta(hours=5)
    return Timer(start=f"{ago:%H}:00", end=f"{ago:%H}:01")


@pytest.fixture
def tiny(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Job:
    """The job `tiny` of the deployment that this process works with."""
    monkeypatch.setattr(steps, "deployment", lambda: workspace)
    return tiny_job(workspace)


def teach(workspace: Workspace, job: Job, numbers: range) -> None:
    assert import_labelled(workspace, job, labelled(numbers), "import").labelled == len(numbers)


def learn(run_id: str, **params: Any) -> Verdict:
    """Curate, train and evaluate; what the gate before promote says then."""
    for step in ("curate", "train", "evaluate"):
        steps.run(step, "tiny", run_id, params)
    return steps.check_gate("promote", "tiny", run_id, params)


def served(workspace: Workspace, run_id: str = "first", skill: float = 0.5) -> str:
    """Teach and promote a model; its version."""
    learn(run_id, parameters={"skill": skill})
    return str(steps.run("promote", "tiny", run_id)["model_version"])


def said(verdict: Verdict) -> tuple[bool | None, str]:
    return verdict.met, verdict.sentence


def with_trigger(job: Job, monkeypatch: pytest.MonkeyPatch, part: str, **changes: Any) -> None:
    """Give the job another trigger in one of its parts, as if its file had been changed."""
    specification = getattr(job, part)
    changed = specification.model_copy(update={"trigger": specification.trigger.model_copy(update=changes)})
    monkeypatch.setattr(Workspace, "job", lambda *_: job.model_copy(update={part: changed}))


def test_before_anything_is_there_each_step_says_what_must_happen_first(tiny: Job) -> None:
    with pytest.raises(NothingToDo, match="tiny has no dataset version yet; label some images and train first"):
        steps.check_gate("evaluate", "tiny", "run")
    with pytest.raises(NothingToDo, match="tiny has no model version yet; train one first"):
        steps.run("evaluate", "tiny", "run")
    assert steps.check_gate("train", "tiny", "run") == Verdict(False, "0 of 3 labels", progress=0.0)
    assert steps.labels_waiting("tiny") == 0


def test_the_gate_before_train_counts_labels_and_knows_who_trains(workspace: Workspace, tiny: Job) -> None:
    teach(workspace, tiny, range(12))
    waiting = workspace.ledger.pending("tiny")
    assert 3 <= waiting < 12
    assert steps.labels_waiting("tiny") == waiting
    assert said(steps.check_gate("train", "tiny", "run")) == (True, f"{waiting} of 3 labels")
    assert steps.labels_waiting("tiny") == 0

    assert said(steps.check_gate("train", "tiny", "run")) == (True, f"this run has claimed {waiting} labels")
    other = steps.check_gate("train", "tiny", "another run")
    assert other == Verdict(False, "run run is training now; the next one starts when it has finished")
    assert "run 'run' is training" in steps.run("curate", "tiny", "another run")["skip"]
    assert steps.run("curate", "tiny", "run") == {"dataset_version": "d1"}

    steps.give_up("tiny", "run", "given up by ada")
    steps.give_up("tiny", "never began", "given up by ada")
    assert steps.labels_waiting("tiny") == waiting
    assert workspace.ledger.trainings("tiny")[0].reason == "given up by ada"


def test_a_gate_opens_for_one_of_many_runs_that_ask_at_once(workspace: Workspace, tiny: Job) -> None:
    teach(workspace, tiny, range(12))
    waiting = workspace.ledger.pending("tiny")

    with ThreadPoolExecutor(8) as runs:
        verdicts = list(runs.map(lambda run: steps.check_gate("train", "tiny", f"run {run}"), range(8)))

    assert sum(bool(verdict) for verdict in verdicts) == 1
    assert [training.samples for training in workspace.ledger.trainings("tiny") if training.state == "active"] == [
        waiting
    ]


def test_predecessor_defect_int_per_batch_gives_no_train_samples_one_at_a_time(
    workspace: Workspace, tiny: Job, tmp_path: Path
) -> None:
    elsewhere = replace(workspace.settings, home=tmp_path / "b", ledger_url=f"sqlite:///{tmp_path / 'b.db'}")
    at_once = Workspace(elsewhere)
    teach(at_once, tiny, range(8))
    for number in range(8):
        teach(workspace, tiny, range(number, number + 1))
    assert workspace.ledger.pending("tiny") == at_once.ledger.pending("tiny")
    assert steps.labels_waiting("tiny") >= 3


def lots(workspace: Workspace, numbers: range, label: str) -> None:
    """Labelled samples to train on in the ledger alone, with one box each."""
    for number in numbers:
        sample = Sample(sha256(str(number).encode()), 64, 64, "line", f"{number}.png", "train")
        workspace.ledger.add_sample("tiny", sample, number)
        annotation = Annotation(sample.id, (Box(1, 1, 9, 9, label),), "ada", datetime.now(UTC).isoformat())
        workspace.ledger.record_annotation("tiny", annotation)


def test_the_gate_before_train_asks_for_each_class_and_counts_what_it_claimed(
    workspace: Workspace, tiny: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    each = Condition(metric="num_of_samples[*]", operator=">=", threshold=2)
    with_trigger(tiny, monkeypatch, "train_spec", condition=each)
    lots(workspace, range(3), "open")
    assert said(steps.check_gate("train", "tiny", "run")) == (False, "0 of 2 labels with short")
    lots(workspace, range(3, 5), "short")
    assert steps.labels_waiting("tiny") == 5
    assert said(steps.check_gate("train", "tiny", "run")) == (True, "num_of_samples >= 2 in every class")
    assert workspace.ledger.pending("tiny") == 0


def test_the_gate_before_train_keeps_its_pause_and_its_longest_wait(
    workspace: Workspace, tiny: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = Rule(condition=Condition(metric="num_of_samples", operator=">=", threshold=1))
    longest = [LABELS, Rule(all=[few, Rule(condition=DAYS)])]
    with_trigger(tiny, monkeypatch, "train_spec", condition=None, any=longest)
    assert said(steps.check_gate("train", "tiny", "")) == (
        False,
        "0 of 3 labels, or (0 of 1 labels and no training has finished yet)",
    )
    lots(workspace, range(1), "open")
    assert said(steps.check_gate("train", "tiny", "first")) == (True, "1 of 1 labels and no training has finished yet")
    workspace.ledger.finish_training("tiny", "first", dataset_version="d1", candidate="v1")
    lots(workspace, range(1, 2), "open")
    waiting = steps.check_gate("train", "tiny", "second")
    assert said(waiting) == (False, "1 of 3 labels, or (1 of 1 labels and 0 of 1 days since the last training)")
    assert (waiting.progress, waiting.final) == (1 / 3, False)
    lots(workspace, range(2, 4), "open")
    with_trigger(tiny, monkeypatch, "train_spec", condition=None, any=longest, all=[Rule(condition=DAYS)])
    paused = steps.check_gate("train", "tiny", "second")
    assert said(paused) == (False, "0 of 1 days since the last training; 3 of 3 labels")
    assert steps.labels_waiting("tiny") == 0


@pytest.mark.parametrize("others", ["claims", "trains"])
def test_a_run_that_comes_second_claims_nothing(
    workspace: Workspace, tiny: Job, monkeypatch: pytest.MonkeyPatch, others: str
) -> None:
    with_trigger(tiny, monkeypatch, "train_spec", condition=None, all=[LABELS, Rule(condition=DAYS)])
    lots(workspace, range(3), "open")
    gather = facts.gather

    def overtaken(*asked: Any) -> Facts:
        known = gather(*asked)
        workspace.ledger.claim_training("tiny", "first")
        if others == "trains":
            workspace.ledger.finish_training("tiny", "first", dataset_version="d1", candidate="v1")
            lots(workspace, range(3, 6), "open")
        return known

    monkeypatch.setattr(facts, "gather", overtaken)
    late = steps.check_gate("train", "tiny", "second")
    assert late.met is False
    assert late.sentence.startswith(
        "3 of 3 labels; 0 of 1 days since the last" if others == "trains" else "run 'first' is training job 'tiny'"
    )
    assert workspace.ledger.training("tiny", "second") is None
    assert workspace.ledger.pending("tiny") == (3 if others == "trains" else 0)


@pytest.mark.parametrize(("gate", "part"), [("train", "train_spec"), ("evaluate", "eval_spec")])
def test_gates_can_ask_how_well_production_goes(
    workspace: Workspace, tiny: Job, monkeypatch: pytest.MonkeyPatch, gate: Gate, part: str
) -> None:
    teach(workspace, tiny, range(12))

    def asked(text: str) -> Verdict:
        metric, sign, threshold = text.split()
        condition = Condition(metric=metric, operator=sign, threshold=float(threshold))  # type: ignore[arg-type]
        with_trigger(tiny, monkeypatch, part, condition=condition)
        return steps.check_gate(gate, "tiny", "" if gate == "train" else "first")

    version = served(workspace)
    nothing = asked("precision < 0.8")
    assert (nothing.met, nothing.final) == (None, False)
    assert "precision < 0.8 cannot be decided: production has no such number yet" in nothing.sentence

    ledger, truth = workspace.ledger, Box(1, 1, 9, 9, "open", 0.9)
    for number in range(100, 130):
        sample = Sample(sha256(str(number).encode()), 64, 64, "line", f"{number}.png", "train")
        ledger.add_sample("tiny", sample, number)
        wrong = [Box(40, 1, 60, 9, "open", 0.8)] if number % 2 else []
        ledger.add_prediction("tiny", Prediction(sample.id, version, (truth, *wrong)), 0.5)
        ledger.select("tiny", sample.id, "random", 0.1, 0.0, version)
        annotation = Annotation(sample.id, (replace(truth, score=None),), "ada", datetime.now(UTC).isoformat())
        ledger.record_annotation("tiny", annotation)
    worse = asked("precision < 0.8")
    assert worse.met is True
    assert "precision is 0.6667, 95 % interval 0." in worse.sentence
    assert " from 30 images (< 0.8)" in worse.sentence
    assert asked("precision < 0.5").met is False
    unclear = asked("precision < 0.67")
    assert (unclear.met, unclear.final) == (None, False)
    assert unclear.sentence.endswith("which does not tell whether it is < 0.67")
    assert asked("precision[open]_delta < -0.1").met is True
    assert "precision_delta is -0.3333, 0.6667 against 1, 95 % interval -0." in asked("precision_delta < -0.1").sentence
    assert "for short: production has no such number yet" in asked("precision[*] >= 0.1").sentence


def test_a_bypassed_gate_is_open_and_says_who_did_it_and_why(tiny: Job) -> None:
    params = {"bypass": ["train", "promote"], "actor": "ada", "reason": "the fair is tomorrow"}
    for gate in ("train", "promote"):
        assert steps.check_gate(gate, "tiny", "run", params) == Verdict(True, "bypassed by ada: the fair is tomorrow")  # type: ignore[arg-type]
    assert steps.check_gate("train", "tiny", "run", {"bypass": ["train"]}).sentence == (
        "bypassed by schedule: no reason given"
    )
    assert steps.check_gate("train", "tiny", "run", {"bypass": ["promote"]}).met is False
    assert steps.check_gate("train", "tiny", "run", {"bypass": None}).met is False


def test_the_gate_before_evaluate_wants_enough_of_every_class_in_the_holdout(
    workspace: Workspace, tiny: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    teach(workspace, tiny, range(12))
    dataset = steps.run("curate", "tiny", "run")["dataset_version"]
    holdout = workspace.registry.dataset_version("tiny", dataset).holdout_count
    enough = steps.check_gate("evaluate", "tiny", "run")
    assert said(enough) == (True, "the holdout has at least 2 boxes of every class")

    with_trigger(tiny, monkeypatch, "eval_spec", timer=ALWAYS)
    assert said(steps.check_gate("evaluate", "tiny", "run")) == (True, f"{enough.sentence}; window is open")
    with_trigger(tiny, monkeypatch, "eval_spec", timer=never())
    waiting = steps.check_gate("evaluate", "tiny", "run")
    assert (waiting.met, waiting.final) == (False, False)
    assert "; window opens" in waiting.sentence
    with_trigger(tiny, monkeypatch, "eval_spec", any=[LABELS, Rule(condition=DAYS)])
    waiting = steps.check_gate("evaluate", "tiny", "run")
    assert (waiting.met, waiting.final) == (True, False)
    assert waiting.sentence == f"{enough.sentence}; no training has finished yet"

    strict = tiny.model_copy(update={"eval_spec": tiny.eval_spec.model_copy(update={"min_support": holdout + 1})})
    monkeypatch.setattr(Workspace, "job", lambda *_: strict)
    lacking = steps.check_gate("evaluate", "tiny", "run")
    assert (lacking.met, lacking.final, lacking.progress) == (False, True, holdout / (holdout + 1))
    assert lacking.sentence == (
        f"the holdout has {holdout} of {holdout + 1} boxes of open, {holdout} of {holdout + 1} boxes of short"
    )


def test_the_gate_before_promote_is_open_waits_for_its_window_or_is_closed_for_good(
    workspace: Workspace, tiny: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    teach(workspace, tiny, range(12))
    first = learn("first")
    assert said(first) == (True, "nothing serves yet, so there is nothing to be better than")
    with_trigger(tiny, monkeypatch, "deploy_spec", timer=never())
    waiting = steps.check_gate("promote", "tiny", "first")
    assert (waiting.met, waiting.final) == (False, False)
    assert waiting.sentence.startswith(f"{first.sentence}; window opens")
    with_trigger(tiny, monkeypatch, "deploy_spec", all=[Rule(condition=DAYS)])
    waiting = steps.check_gate("promote", "tiny", "first")
    assert waiting == Verdict(
        False, f"{first.sentence}; 0 of 1 days since the last training", progress=waiting.progress
    )
    with_trigger(tiny, monkeypatch, "deploy_spec", any=[LABELS, Rule(condition=DAYS)])
    waiting = steps.check_gate("promote", "tiny", "first")
    assert (waiting.met, waiting.final) == (False, False)
    assert waiting.sentence.startswith(f"{first.sentence}; 0 of 3 labels, or 0 of 1 days since")
    assert workspace.ledger.decisions("tiny") == []
    steps.run("promote", "tiny", "first")
    assert said(steps.check_gate("promote", "tiny", "first")) == said(first)

    teach(workspace, tiny, range(12, 18))
    no_better = learn("second")
    assert (no_better.met, no_better.final) == (False, True)
    assert no_better.sentence.startswith("rejected: ap_delta is 0, ")
    unmeasured = Condition(metric="mean_iou", operator=">", threshold=0.5)
    with_trigger(tiny, monkeypatch, "deploy_spec", condition=unmeasured)
    undecided = steps.check_gate("promote", "tiny", "third", {"model_version": "v2"})
    assert (undecided.met, undecided.final) == (False, True)
    assert undecided.sentence.startswith("undecided: mean_iou > 0.5 cannot be decided")
    assert [decision.verdict for decision in workspace.ledger.decisions("tiny")] == [
        "promoted",
        "rejected",
        "undecided",
    ]
    assert "v2 is undecided" in steps.run("promote", "tiny", "third", {"model_version": "v2"})["skip"]


def test_a_run_is_about_what_was_asked_for_or_made_by_it_or_the_newest(workspace: Workspace, tiny: Job) -> None:
    teach(workspace, tiny, range(12))
    served(workspace, "first")
    teach(workspace, tiny, range(12, 18))
    learn("second", parameters={"skill": 0.9})

    def about(run_id: str, **params: Any) -> tuple[str, str]:
        call = Call(workspace, tiny, run_id, params)
        return call.candidate, call.dataset_version

    assert about("first") == ("v1", "d1")
    assert about("second") == about("elsewhere") == ("v2", "d2")
    assert about("second", model_version="v1", dataset_version="d1") == ("v1", "d1")
    assert about("first", model_version=None, dataset_version="") == ("v1", "d1")


def test_training_again_on_a_version_claims_no_labels(workspace: Workspace, tiny: Job) -> None:
    teach(workspace, tiny, range(12))
    served(workspace, "first")
    teach(workspace, tiny, range(12, 24))
    waiting = workspace.ledger.pending("tiny")
    params = {"dataset_version": "d1", "parameters": {"skill": 0.8}}
    assert said(steps.check_gate("train", "tiny", "again", params)) == (True, f"{waiting} of 3 labels")
    assert steps.run("curate", "tiny", "again", params) == {"dataset_version": "d1"}
    assert steps.run("train", "tiny", "again", params) == {"model_version": "v2"}
    assert workspace.ledger.pending("tiny") == waiting
    assert workspace.registry.model("tiny", "v2").metadata["parent"] == "v1"


def test_the_whole_way_twice_is_the_same_as_once(workspace: Workspace, tiny: Job) -> None:
    teach(workspace, tiny, range(12))
    first = served(workspace, "first", 0.5)
    teach(workspace, tiny, range(12, 18))
    second = served(workspace, "second", 0.9)
    before = sorted(stored.key for stored in workspace.store.list(""))
    decisions = workspace.ledger.decisions("tiny")

    assert served(workspace, "second", 0.9) == second
    assert (first, second) == ("v1", "v2")
    assert sorted(stored.key for stored in workspace.store.list("")) == before
    assert workspace.ledger.decisions("tiny") == decisions

    back = {"version": "v1", "actor": "ada", "reason": "it drifts"}
    assert steps.run("rollback", "tiny", "back", back) == {"model_version": "v1", "promotion": 3}
    assert steps.run("rollback", "tiny", "back", back) == {"model_version": "v1", "promotion": 3}


def test_a_correction_after_the_training_is_pending_again(workspace: Workspace, tiny: Job) -> None:
    teach(workspace, tiny, range(12))
    served(workspace)
    assert workspace.ledger.pending("tiny") == 0
    sample = next(sample for sample, _ in workspace.ledger.labelled("tiny", "train"))
    now = datetime.now(UTC).isoformat()
    workspace.ledger.record_annotation("tiny", Annotation(sample.id, (Box(1, 1, 9, 9, "open"),), "ada", now, "1"))
    assert said(steps.check_gate("train", "tiny", "next")) == (False, "1 of 3 labels")


def test_a_trigger_that_asks_nothing_is_open(tiny: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    anything = tiny.train_spec.model_copy(update={"trigger": Trigger()})
    monkeypatch.setattr(Workspace, "job", lambda *_: tiny.model_copy(update={"train_spec": anything}))
    assert said(steps.check_gate("train", "tiny", "run")) == (True, "nothing to wait for")


AT_ONCE = """
import json, sys, time
from pathlib import Path
from pipelines import steps
from tests.pipelines import tiny
names, run_id, params, start = json.loads(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]), Path(sys.argv[4])
steps.deployment().registry.models("tiny")
print("ready", flush=True)
while not start.exists():
    time.sleep(0.001)
for name in names:
    said = steps.run(name, "tiny", run_id, params)
    if "skip" in said:
        break
print(json.dumps(said))
"""


def at_once(workspace: Workspace, folder: Path, *runs: tuple[list[str], str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Run steps in processes that all start in the same moment; what each said last."""
    variables = {**os.environ, **environment(workspace.settings), "PYTHONPATH": str(ROOT)}
    started = []
    for names, run_id, params in runs:
        variables["AIRFLOW__RATCHET__HOME"] = str(folder / run_id)
        command = [sys.executable, "-c", AT_ONCE, json.dumps(names), run_id, json.dumps(params), str(folder / "start")]
        started.append(subprocess.Popen(command, env=dict(variables), stdout=subprocess.PIPE, text=True))
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    (folder / "start").touch()
    return [json.loads(process.communicate(timeout=120)[0]) for process in started]


def test_of_two_processes_that_promote_at_once_one_does_and_the_other_says_why_not(
    workspace: Workspace, tiny: Job, tmp_path: Path
) -> None:
    teach(workspace, tiny, range(12))
    served(workspace, "first", 0.2)
    for number, skill in enumerate((0.6, 0.9)):
        teach(workspace, tiny, range(12 + 6 * number, 18 + 6 * number))
        learn(f"run-{number}", parameters={"skill": skill})

    said = at_once(workspace, tmp_path, (["promote"], "run-0", {}), (["promote"], "run-1", {}))

    assert sorted(answer.get("promotion", 0) for answer in said) == [0, 2]
    winner = next(number for number, answer in enumerate(said) if "promotion" in answer)
    loser = 1 - winner
    assert f"v{winner + 2} serves now" in said[loser]["skip"]
    assert [promotion.version for promotion in workspace.registry.promotions("tiny")] == ["v1", f"v{winner + 2}"]
    verdicts = {decision.run_id: decision.verdict for decision in workspace.ledger.decisions("tiny")}
    assert verdicts == {"first": "promoted", f"run-{winner}": "promoted", f"run-{loser}": "rejected"}


def test_of_two_processes_that_train_at_once_one_does_and_the_other_says_who_trains(
    workspace: Workspace, tiny: Job, tmp_path: Path
) -> None:
    teach(workspace, tiny, range(12))
    by_hand = {"actor": "ada", "bypass": ["train"], "reason": "now", "parameters": {"skill": 0.9}}
    said = at_once(
        workspace, tmp_path, (["curate", "train"], "nightly", {}), (["start", "curate", "train"], "by-hand", by_hand)
    )
    trained = [training for training in workspace.ledger.trainings("tiny") if training.state == "finished"]
    assert len(trained) == 1
    assert {"model_version": "v1"} in said
    other = said[1 - said.index({"model_version": "v1"})]
    assert f"run '{trained[0].run_id}' is training" in other["skip"]
    assert len(workspace.registry.models("tiny")) == len(workspace.registry.datasets("tiny")) == 1


def test_a_training_on_an_old_version_waits_for_no_other(workspace: Workspace, tiny: Job) -> None:
    teach(workspace, tiny, range(12))
    served(workspace, "first")
    teach(workspace, tiny, range(12, 24))
    workspace.ledger.claim_training("tiny", "nightly")
    again = {"dataset_version": "d1", "parameters": {"skill": 0.8}}
    assert "run 'nightly' is training" in steps.run("train", "tiny", "again", again)["skip"]


def test_a_promotion_that_was_overtaken_is_rejected_in_words(
    workspace: Workspace, tiny: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    teach(workspace, tiny, range(12))
    served(workspace, "first", 0.2)
    teach(workspace, tiny, range(12, 18))
    learn("second", parameters={"skill": 0.9})

    def overtaken(*_: Any, **__: Any) -> None:
        raise Overtaken("v2 of tiny was to serve instead of v1, but v3 serves now; compare it with that first")

    monkeypatch.setattr(workspace.registry, "promote", overtaken)
    by_hand = {"bypass": ["promote"], "reason": "now", "actor": "ada"}
    assert "but v3 serves now" in steps.run("promote", "tiny", "second", by_hand)["skip"]
    decision = workspace.ledger.decision("tiny", "second")
    assert decision is not None
    assert (decision.verdict, decision.actor) == ("rejected", "ada")


def test_a_run_by_hand_is_about_what_was_the_newest_when_it_was_asked_for(workspace: Workspace, tiny: Job) -> None:
    teach(workspace, tiny, range(12))
    served(workspace, "first", 0.2)
    asked = steps.run("start", "tiny", "by hand", {"start_at": "evaluate", "actor": "ada"})
    assert asked == {"start_at": "evaluate", "model_version": "v1", "dataset_version": "d1"}
    teach(workspace, tiny, range(12, 18))
    learn("second", parameters={"skill": 0.9})
    about = Call(workspace, tiny, "by hand", {})
    assert (about.candidate, about.dataset_version) == ("v1", "d1")
    assert steps.run("start", "tiny", "second", {}) == {"start_at": "train"}


def test_a_rollback_that_a_person_asked_for_is_kept_also_where_it_is_refused(workspace: Workspace, tiny: Job) -> None:
    teach(workspace, tiny, range(12))
    served(workspace, "first")
    with pytest.raises(PromotionRefused, match="tiny cannot go back to v1, which serves now; nothing served before"):
        steps.run("rollback", "tiny", "back", {"version": "v1", "actor": "ada", "reason": "it drifts"})
    (asked,) = workspace.ledger.requests("tiny")
    assert (asked.actor, asked.verb, asked.reason, asked.parameters) == (
        "ada",
        "rollback",
        "it drifts",
        {"version": "v1"},
    )

"""Steps by name: what a run is about, what its gates say, and the whole way with an estimator that needs no time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from data.sample import Annotation, Box, Prediction
from pipelines import steps
from pipelines.gates.conditions import Verdict
from pipelines.importing import import_labelled
from pipelines.job import Condition, Job, Timer, Trigger
from pipelines.promote import PromotionRefused
from pipelines.steps import Call, NothingToDo
from pipelines.workspace import Workspace
from tests.pipelines.tiny import labelled, tiny_job

pytestmark = pytest.mark.slow
ALWAYS = Timer(start="00:00", end="00:00")


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
    assert steps.check_gate("train", "tiny", "run") == Verdict(False, "0 of 3 labels")
    assert steps.labels_waiting("tiny") == 0


def test_the_gate_before_train_counts_labels_and_knows_who_trains(workspace: Workspace, tiny: Job) -> None:
    teach(workspace, tiny, range(12))
    waiting = workspace.ledger.pending("tiny")
    assert 3 <= waiting < 12
    assert steps.labels_waiting("tiny") == waiting
    assert steps.check_gate("train", "tiny", "run") == Verdict(True, f"{waiting} of 3 labels")
    assert steps.labels_waiting("tiny") == 0

    assert steps.check_gate("train", "tiny", "run") == Verdict(True, f"this run has claimed {waiting} labels")
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


def test_the_gate_before_train_can_ask_how_well_production_goes(
    workspace: Workspace, tiny: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    teach(workspace, tiny, range(12))
    version = served(workspace)
    condition = Condition(metric="precision", operator="<", threshold=0.8)
    with_trigger(tiny, monkeypatch, "train_spec", condition=condition)
    assert steps.check_gate("train", "tiny", "run").met is None

    teach(workspace, tiny, range(12, 24))
    new = [sample for sample, _ in workspace.ledger.pending_samples("tiny")]
    truth = Box(4, 4, 20, 20, "open", 0.9)
    for number, sample in enumerate(new):
        boxes = (truth, Box(40, 1, 60, 9, "open", 0.8)) if number % 2 else (truth,)
        workspace.ledger.add_prediction("tiny", Prediction(sample.id, version, boxes), 0.5)
    found, wrong = len(new), len(new) // 2
    verdict = steps.check_gate("train", "tiny", "run")
    assert verdict.met is (found / (found + wrong) < 0.8)
    assert f"precision is {found / (found + wrong):.6g}" in verdict.sentence


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
    assert enough == Verdict(True, "the holdout has at least 2 boxes of every class")

    with_trigger(tiny, monkeypatch, "eval_spec", timer=ALWAYS)
    assert steps.check_gate("evaluate", "tiny", "run") == Verdict(True, f"{enough.sentence}; window is open")
    with_trigger(tiny, monkeypatch, "eval_spec", timer=never())
    waiting = steps.check_gate("evaluate", "tiny", "run")
    assert waiting.met is None
    assert "; window opens" in waiting.sentence

    strict = tiny.model_copy(update={"eval_spec": tiny.eval_spec.model_copy(update={"min_support": holdout + 1})})
    monkeypatch.setattr(Workspace, "job", lambda *_: strict)
    assert steps.check_gate("evaluate", "tiny", "run") == Verdict(
        False, f"the holdout has {holdout} of {holdout + 1} boxes of open, {holdout} of {holdout + 1} boxes of short"
    )


def test_the_gate_before_promote_is_open_waits_for_its_window_or_is_closed_for_good(
    workspace: Workspace, tiny: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    teach(workspace, tiny, range(12))
    first = learn("first")
    assert first == Verdict(True, "nothing serves yet, so there is nothing to be better than")
    with_trigger(tiny, monkeypatch, "deploy_spec", timer=never())
    waiting = steps.check_gate("promote", "tiny", "first")
    assert waiting.met is None
    assert waiting.sentence.startswith(f"{first.sentence}; window opens")
    assert workspace.ledger.decisions("tiny") == []
    steps.run("promote", "tiny", "first")

    teach(workspace, tiny, range(12, 18))
    no_better = learn("second")
    assert no_better.met is False
    assert no_better.sentence.startswith("rejected: ap_delta is 0, ")
    unmeasured = Condition(metric="mean_iou", operator=">", threshold=0.5)
    with_trigger(tiny, monkeypatch, "deploy_spec", condition=unmeasured)
    undecided = steps.check_gate("promote", "tiny", "third", {"model_version": "v2"})
    assert undecided.met is False
    assert undecided.sentence.startswith("undecided: mean_iou > 0.5 cannot be decided")
    assert [decision.verdict for decision in workspace.ledger.decisions("tiny")] == [
        "promoted",
        "rejected",
        "undecided",
    ]
    with pytest.raises(PromotionRefused, match="v2 is undecided"):
        steps.run("promote", "tiny", "third", {"model_version": "v2"})


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
    assert steps.check_gate("train", "tiny", "again", params) == Verdict(True, f"{waiting} of 3 labels")
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
    assert steps.check_gate("train", "tiny", "next") == Verdict(False, "1 of 3 labels")


def test_a_trigger_that_asks_nothing_is_open(tiny: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    anything = tiny.train_spec.model_copy(update={"trigger": Trigger()})
    monkeypatch.setattr(Workspace, "job", lambda *_: tiny.model_copy(update={"train_spec": anything}))
    assert steps.check_gate("train", "tiny", "run") == Verdict(True, "nothing to wait for")

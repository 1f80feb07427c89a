"""Learning without Airflow: import, curate, train, evaluate, promote, deploy; repeated, rejected and rolled back."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from data.boards import FAMILIES, write_boards
from data.formats import LabelledImage
from data.formats.deeppcb import read
from data.ledger import TrainingActive
from data.sample import Box
from models.runtime import Runtime
from pipelines.curate import curate
from pipelines.deploy import deploy, pointer_key
from pipelines.evaluate import evaluate
from pipelines.gates.rule import Condition, Trigger
from pipelines.history import rounds
from pipelines.importing import import_labelled
from pipelines.job import Job, PromotionRule
from pipelines.promote import PromotionRefused, decide, promote, rollback
from pipelines.train import train
from pipelines.workspace import Workspace

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def boards(tmp_path_factory: pytest.TempPathFactory) -> list[LabelledImage]:
    """Thirty small boards of two families, labelled."""
    folder = tmp_path_factory.mktemp("boards")
    for family in ("signal", "power"):
        write_boards(folder / family, FAMILIES[family], range(15), 320)
    return [board for family in ("signal", "power") for board in read(folder / family)]


def at_any_price(job: Job) -> Job:
    """The job with a rule that nearly every candidate meets."""
    condition = Condition(metric="ap_delta", operator=">", threshold=-1)
    floors = job.deploy_spec.floors.model_copy(update={"known": 1.0, "classes": 1.0, "domains": 1.0})
    return job.model_copy(
        update={
            "deploy_spec": job.deploy_spec.model_copy(
                update={"trigger": Trigger(condition=condition), "rule": PromotionRule(name="point"), "floors": floors}
            )
        }
    )


def learn(workspace: Workspace, job: Job, run_id: str) -> str:
    """Curate, train, evaluate, and promote and deploy if the rule says so; the candidate's version."""
    dataset = curate(workspace, job, run_id)
    candidate = train(workspace, job, run_id, dataset_version=dataset.version)
    comparison = evaluate(workspace, job, candidate.version, dataset.version)
    if decide(workspace, job, run_id, comparison, "test").promoted:
        promote(workspace, job, run_id, comparison, "test")
        deploy(workspace, job)
    return candidate.version


def test_two_rounds_promote_and_each_walks_back_to_its_parent(
    workspace: Workspace, job: Job, boards: list[LabelledImage]
) -> None:
    job = at_any_price(job)
    assert import_labelled(workspace, job, boards[:15], "test").labelled == 15
    first = learn(workspace, job, "run 1")
    import_labelled(workspace, job, boards[15:], "test")
    second = learn(workspace, job, "run 2")

    assert (first, second) == ("v1", "v2")
    assert [promotion.version for promotion in workspace.registry.promotions(job.name)] == ["v1", "v2"]
    origin = workspace.registry.model(job.name, "v2").metadata
    assert origin["parent"] == "v1"
    assert origin["dataset_version"] == workspace.registry.datasets(job.name)[-1].version
    assert json.loads(workspace.store.get(pointer_key(job.name)))["version"] == "v2"
    assert workspace.ledger.pending(job.name) == 0
    assert workspace.registry.check(job.name) == []
    assert isinstance(workspace.predictor(job.name, "v2"), Runtime)
    assert [(turn.labelled, turn.serving) for turn in rounds(workspace, job)] == [(15, "v1"), (15, "v2")]

    objects = sorted(stored.key for stored in workspace.store.list(""))
    assert learn(workspace, job, "run 2") == "v2"
    assert import_labelled(workspace, job, boards, "test").labelled == 30
    assert sorted(stored.key for stored in workspace.store.list("")) == objects
    assert len(workspace.registry.promotions(job.name)) == 2

    rollback(workspace, job, "back", "v1", "test", "for a reason")
    assert deploy(workspace, job)["version"] == "v1"
    assert [promotion.version for promotion in workspace.registry.promotions(job.name)] == ["v1", "v2", "v1"]
    with pytest.raises(PromotionRefused, match="v2 served before"):
        rollback(workspace, job, "back again", "v7", "test", "")


def test_a_rejected_candidate_leaves_the_served_model_and_is_no_parent(
    workspace: Workspace, job: Job, boards: list[LabelledImage]
) -> None:
    import_labelled(workspace, at_any_price(job), boards[:15], "test")
    learn(workspace, at_any_price(job), "run 1")
    strict = job.model_copy(
        update={
            "deploy_spec": job.deploy_spec.model_copy(
                update={"trigger": Trigger(condition=Condition(metric="ap_delta", operator=">", threshold=0.99))}
            )
        }
    )
    import_labelled(workspace, strict, boards[15:22], "test")
    rejected = learn(workspace, strict, "run 2")
    import_labelled(workspace, strict, boards[22:], "test")
    learn(workspace, strict, "run 3")

    assert rejected == "v2"
    assert [promotion.version for promotion in workspace.registry.promotions(job.name)] == ["v1"]
    verdict = workspace.ledger.decisions(job.name)[1]
    assert (verdict.candidate, verdict.served, verdict.verdict) == ("v2", "v1", "rejected")
    assert "ap_delta" in verdict.reasons[0]
    assert workspace.registry.model(job.name, "v3").metadata["parent"] == "v1"
    comparison = evaluate(workspace, strict, "v2", verdict.dataset_version or "")
    with pytest.raises(PromotionRefused, match="ap_delta"):
        promote(workspace, strict, "asked", comparison, "test")
    by_hand = promote(workspace, strict, "by hand", comparison, "test", reason="I know better", forced=True)
    assert by_hand.version == "v2"


def test_one_trains_at_a_time_and_a_failed_training_gives_its_samples_back(
    workspace: Workspace, job: Job, boards: list[LabelledImage]
) -> None:
    import_labelled(workspace, job, boards[:15], "test")
    pending = workspace.ledger.pending(job.name)
    curate(workspace, job, "run 1")

    assert workspace.ledger.pending(job.name) == 0
    with pytest.raises(TrainingActive, match="run 1"):
        curate(workspace, job, "run 2")
    workspace.ledger.fail_training(job.name, "run 1", "the machine was switched off")
    assert workspace.ledger.pending(job.name) == pending > 0
    assert curate(workspace, job, "run 2") == curate(workspace, job, "run 2")


def test_an_import_quarantines_what_a_rule_knows_is_wrong(
    workspace: Workspace, job: Job, boards: list[LabelledImage]
) -> None:
    outside = replace(boards[0], boxes=(Box(300, 300, 400, 400, "scratch"), Box(5, 5, 5, 9, "open")))

    imported = import_labelled(workspace, job, [outside, *boards[1:3]], "test")

    assert imported.labelled == 2
    (problems,) = imported.quarantined
    assert all(word in problems for word in ("scratch", "outside", "1 px"))
    assert workspace.ledger.counts(job.name)["quarantined"] == 1

"""Approval: a person's yes, no or silence, and what becomes of a question when others act meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pipelines import steps
from pipelines.approval import Answer
from pipelines.gates.rule import Timer
from pipelines.importing import import_labelled
from pipelines.job import Approval, Job
from pipelines.workspace import Workspace
from tests.pipelines.tiny import labelled, tiny_job

pytestmark = pytest.mark.slow
YES = Answer.said(True, "ben", "looks right").to_json()
NO = Answer.said(False, "ben", "open is worse").to_json()
Learn = Callable[[str, float], str]


@pytest.fixture
def asking(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Job:
    """The job `tiny`, where a person must approve."""
    monkeypatch.setattr(steps, "deployment", lambda: workspace)
    job = tiny_job(workspace)
    asking = job.model_copy(
        update={"deploy_spec": job.deploy_spec.model_copy(update={"approval": Approval(by="human")})}
    )
    monkeypatch.setattr(Workspace, "job", lambda *_: asking)
    return asking


@pytest.fixture
def learn(workspace: Workspace, asking: Job) -> Learn:
    """Trains a candidate of some skill in a run, from what serves then; its version."""

    def run(run_id: str, skill: float) -> str:
        seen = sum(workspace.ledger.counts("tiny").values())
        import_labelled(workspace, asking, labelled(range(seen, seen + 8)), "import")
        for step in ("curate", "train"):
            trained = steps.run(step, "tiny", run_id, {"parameters": {"skill": skill}})
        return str(trained["model_version"])

    return run


@pytest.fixture
def first(learn: Learn) -> str:
    """The version that serves to begin with."""
    version = learn("first", 0.2)
    assert steps.run("promote", "tiny", "first", {"answer": YES})["model_version"] == version
    return version


def serving(workspace: Workspace) -> str | None:
    served = workspace.served("tiny")
    return served.version if served else None


def void(run_id: str) -> Any:
    return steps.run("void", "tiny", run_id)["void"]


def test_a_yes_promotes_in_the_name_of_the_person(workspace: Workspace, first: str, learn: Learn) -> None:
    learn("second", 0.9)
    asked = steps.run("ask", "tiny", "second")
    assert asked["subject"] == "Let v2 of tiny serve instead of v1?"
    assert steps.run("ask", "tiny", "second") == asked
    assert void("second") is None
    for _ in range(2):
        promoted = steps.run("promote", "tiny", "second", {"answer": YES, "actor": "ada"})
        assert promoted == {"model_version": "v2", "promotion": 2}
    decision = workspace.ledger.decision("tiny", "second")
    assert decision is not None
    assert (decision.verdict, decision.actor) == ("promoted", "ben")
    assert decision.reasons[-1] == "ben approves it: looks right"
    served = workspace.served("tiny")
    assert served is not None
    assert (served.actor, served.reason.endswith("ben approves it: looks right")) == ("ben", True)


@pytest.mark.parametrize(
    ("answer", "verdict", "actor", "reason"),
    [
        (NO, "rejected", "ben", "ben does not approve it: open is worse"),
        ({"approved": None, "words": "nobody answered within 9 s"}, "undecided", "ada", "nobody answered within 9 s"),
        (None, "undecided", "ada", "it needs a person's approval, and nobody was asked; start a run at promote"),
    ],
    ids=["no", "silence", "not asked"],
)
def test_without_a_yes_nothing_is_promoted_and_the_reason_is_kept(
    workspace: Workspace,
    first: str,
    learn: Learn,
    answer: dict[str, Any] | None,
    verdict: str,
    actor: str,
    reason: str,
) -> None:
    learn("second", 0.9)
    for _ in range(2):
        assert steps.run("promote", "tiny", "second", {"answer": answer, "actor": "ada"}) == {
            "skip": f"{verdict}: {reason}"
        }
    decision = workspace.ledger.decision("tiny", "second")
    assert decision is not None
    assert (decision.verdict, decision.actor, decision.reasons) == (verdict, actor, [reason])
    assert (decision.candidate, decision.served) == ("v2", "v1")
    assert decision.metrics["delta"]["recall"] > 0
    assert serving(workspace) == "v1"
    assert "skip" in steps.run("promote", "tiny", "second", {"answer": YES})
    assert steps.run("promote", "tiny", "another run", {"answer": YES, "model_version": "v2"})["promotion"] == 2


def test_nobody_is_asked_about_what_the_rule_refuses(workspace: Workspace, first: str, learn: Learn) -> None:
    learn("second", 0.1)
    assert steps.run("ask", "tiny", "second")["skip"].startswith("rejected: ")
    assert workspace.ledger.mark("tiny", "approval") is None


def test_who_bypasses_the_gate_has_said_yes(workspace: Workspace, first: str, learn: Learn) -> None:
    learn("second", 0.1)
    params = {"bypass": ["promote"], "actor": "ada", "reason": "the fair is tomorrow"}
    answer = steps.run("ask", "tiny", "second", params)["answer"]
    assert answer == {"approved": True, "words": "ada approves it: the fair is tomorrow", "by": "ada"}
    assert steps.run("promote", "tiny", "second", {**params, "answer": answer})["model_version"] == "v2"
    assert workspace.ledger.decisions("tiny")[-1].reasons[-1] == "by hand: the fair is tomorrow"


def test_a_newer_candidate_takes_the_place_of_the_one_that_waits(
    workspace: Workspace, first: str, learn: Learn
) -> None:
    learn("second", 0.6)
    steps.run("ask", "tiny", "second")
    learn("third", 0.9)
    assert void("second") is None
    steps.run("ask", "tiny", "third")
    assert void("second") == "the run third asks about v3 by now, which comes in its place"
    assert void("third") is None


def test_a_late_yes_does_not_go_over_a_newer_promotion(workspace: Workspace, first: str, learn: Learn) -> None:
    learn("second", 0.9)
    steps.run("ask", "tiny", "second")
    learn("third", 0.6)
    steps.run("ask", "tiny", "third")
    assert steps.run("promote", "tiny", "third", {"answer": YES})["model_version"] == "v3"
    assert void("second") == "v2 was trained from v1, but v3 serves by now"
    late = steps.run("promote", "tiny", "second", {"answer": YES})
    assert "v2 started from v1, but v3 serves now" in late["skip"]
    decision = workspace.ledger.decision("tiny", "second")
    assert decision is not None
    assert (decision.verdict, decision.actor) == ("rejected", "ben")
    assert serving(workspace) == "v3"


def test_what_was_approved_is_not_judged_by_the_window_again(
    workspace: Workspace, asking: Job, first: str, learn: Learn, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn("second", 0.9)
    steps.run("ask", "tiny", "second")
    ago = datetime.now(UTC) - timedelta(hours=5)
    closed = asking.deploy_spec.trigger.model_copy(update={"timer": Timer(start=f"{ago:%H}:00", end=f"{ago:%H}:01")})
    changed = asking.model_copy(update={"deploy_spec": asking.deploy_spec.model_copy(update={"trigger": closed})})
    monkeypatch.setattr(Workspace, "job", lambda *_: changed)
    assert not steps.check_gate("promote", "tiny", "second")
    assert steps.run("promote", "tiny", "second", {"answer": YES})["model_version"] == "v2"

"""The loop on Airflow, whole: rounds that promote, a night of bad labels, kills, manual runs and a rollback."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from data.failpoint import VARIABLE
from demo.airflow_api import AirflowApi
from demo.loop import Loop, Watch
from demo.report import draw_boards, draw_rounds
from demo.scenario import Scenario, synthetic
from pipelines.check import check
from pipelines.history import rounds
from pipelines.workspace import Workspace
from services.deployment import Deployment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

KILLS = ("label.imported", "registry.added", "training.checkpoint", "promote.promoted", "deploy.decided")


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Scenario:
    """Few small boards: one family, then one more each night, then a bad night."""
    return synthetic(tmp_path_factory.mktemp("boards"), ("signal",), ("power", "round"), initial=20, night=28, size=320)


def state(workspace: Workspace, name: str) -> dict[str, object]:
    """All that must be the same whether or not something was killed on the way."""
    dataset = workspace.registry.dataset(name)
    return {
        "samples": workspace.ledger.counts(name),
        "rows": sorted((row.sample.id, row.sample.split, len(row.annotation.boxes)) for row in dataset.rows()),
        "datasets": [(version.train_count, version.holdout_count) for version in workspace.registry.datasets(name)],
        "models": [model.version for model in workspace.registry.models(name)],
        "promotions": [promotion.version for promotion in workspace.registry.promotions(name)],
        "trainings": Counter(training.state for training in workspace.ledger.trainings(name)),
    }


@dataclass(frozen=True)
class Turned:
    """A loop after its first model and one night, and the state it was in then."""

    loop: Loop
    state: dict[str, object]


@pytest.fixture(scope="module")
def steady(workspace: Workspace, api: AirflowApi, scenario: Scenario) -> Turned:
    """The job `steady`, with nothing killed."""
    loop = Loop(workspace, workspace.job("steady"), api, print)
    loop.begin(scenario)
    loop.night(scenario.nights[0])
    return Turned(loop, state(workspace, "steady"))


def test_two_nights_promote_and_the_server_follows_without_a_failure(
    workspace: Workspace, deployment: Deployment, steady: Turned, scenario: Scenario, tmp_path: Path
) -> None:
    started = (deployment.settings.home / "run" / "inference.json").read_text()
    watch = Watch(f"{workspace.settings.serving_url}/jobs/steady/predict", scenario.initial[0])
    watch.start()

    decision = steady.loop.night(scenario.nights[1])
    watch.stop()

    found = rounds(workspace, steady.loop.job)
    assert [turn.decision.verdict for turn in found] == ["promoted"] * 3, [turn.decision.reasons for turn in found]
    assert [turn.decision.served for turn in found] == [None, "v1", "v2"]
    assert decision.candidate == "v3"
    assert watch.failures == []
    assert watch.versions == ["v2", "v3"]
    assert (deployment.settings.home / "run" / "inference.json").read_text() == started
    assert check(workspace, steady.loop.job) == []
    draw_rounds(found, tmp_path / "rounds.png")
    draw_boards(workspace, steady.loop.job, "v1", "v3", tmp_path / "boards.png")
    assert min(path.stat().st_size for path in tmp_path.iterdir()) > 10_000


def test_a_night_of_bad_labels_is_quarantined_where_a_rule_knows_and_never_serves_where_it_is_worse(
    workspace: Workspace, steady: Turned, scenario: Scenario
) -> None:
    before = workspace.served("steady")
    night = scenario.nights[2]
    decision = steady.loop.night(night)

    quarantined = list(workspace.ledger.quarantined("steady"))
    assert quarantined
    assert all(item.problems for item in quarantined)
    delta = decision.metrics["delta"]["ap"]
    after = workspace.served("steady")
    assert before is not None
    assert after is not None
    assert decision.verdict == ("promoted" if delta > 0 else "rejected")
    assert after.version == (decision.candidate if delta > 0 else before.version)

    steady.loop.correct(night)
    assert not list(workspace.ledger.quarantined("steady"))
    newest = workspace.registry.dataset("steady")
    boxes = {row.sample.id: len(row.annotation.boxes) for row in newest.rows() if row.sample.id in night.truth()}
    assert boxes == {sample_id: len(truth) for sample_id, truth in night.truth().items()}
    assert check(workspace, steady.loop.job) == []


def test_killing_each_step_once_ends_in_the_same_state(
    workspace: Workspace, api: AirflowApi, steady: Turned, scenario: Scenario
) -> None:
    folder = Path(os.environ[VARIABLE])
    loop = Loop(workspace, workspace.job("killed"), api, print)
    loop.begin(scenario)
    for name in KILLS:
        (folder / name).touch()
    loop.night(scenario.nights[0])

    assert list(folder.iterdir()) == [], "a failpoint was not reached"
    assert check(workspace, loop.job) == []
    assert state(workspace, "killed") == steady.state


def test_a_rollback_by_hand_serves_the_earlier_version_and_a_rerun_changes_nothing(
    workspace: Workspace, api: AirflowApi, steady: Turned
) -> None:
    run = api.trigger("steady.rollback", {"version": "v1", "reason": "a test"})
    assert api.wait("steady.rollback", run.run_id, timeout=120).state == "success"

    serving = httpx.get(f"{workspace.settings.serving_url}/jobs/steady", trust_env=False).json()
    assert serving["model_version"] == "v1"
    newest = workspace.served("steady")
    assert newest is not None
    assert (newest.version, newest.reason) == ("v1", "a test")
    assert check(workspace, steady.loop.job) == []

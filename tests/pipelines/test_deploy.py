"""The pointer says what the newest promotion says, whatever happened on the way, and the server is asked for proof."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from data.failpoint import VARIABLE
from data.registry import Promotion
from data.store import ObjectStore
from models.version import save_model
from pipelines.deploy import DeployRefused, NotConfirmed, NothingPromoted, confirm, deploy, pointer_key
from pipelines.job import Job
from pipelines.settings import ROOT
from pipelines.workspace import Workspace
from services.inference import inference
from tests.serving.stamp import Stamp, deployment, png, serving

pytestmark = pytest.mark.slow

Promote = Callable[[str], Promotion]


@pytest.fixture
def workspace(object_store: ObjectStore, tmp_path: Path) -> Workspace:
    """A deployment with an empty registry."""
    return Workspace(deployment(object_store, tmp_path))


@pytest.fixture
def job(workspace: Workspace) -> Job:
    return workspace.job("boards")


@pytest.fixture
def promote(workspace: Workspace, tmp_path: Path) -> Promote:
    """Promotes a model that stamps its images with a given word; the same word is the same model version."""

    def promote(stamp: str) -> Promotion:
        folder = tmp_path / "models" / stamp
        if not folder.exists():
            save_model(Stamp(stamp), folder)
        metadata = {"run_key": stamp, "classes": ["open", "short"]}
        version = workspace.registry.publish_model("boards", folder, metadata).version
        serving = workspace.served("boards")
        return workspace.registry.promote(
            "boards",
            version,
            instead_of=serving.version if serving else None,
            actor="a test",
            reason="to see",
            decision={"run_id": f"run-{serving.number + 1 if serving else 1}"},
        )

    return promote


def pointer_etag(workspace: Workspace) -> str | None:
    return workspace.store.etag(pointer_key("boards"))


def test_pointer_is_the_newest_promotion_and_all_that_is_needed(
    workspace: Workspace, job: Job, promote: Promote
) -> None:
    promote("first")
    promotion = promote("second")
    model = workspace.registry.model("boards", "v2")
    expected = {
        "job": "boards",
        "version": "v2",
        "promotion": 2,
        "promoted_at": promotion.at,
        "model": {"key": model.key, "sha256": model.hash},
        "classes": ["open", "short"],
    }
    assert deploy(workspace, job) == expected
    etag = pointer_etag(workspace)
    assert deploy(workspace, job) == expected
    assert pointer_etag(workspace) == etag


def test_nothing_promoted_is_said(workspace: Workspace, job: Job) -> None:
    with pytest.raises(NothingPromoted, match="boards has no promotion yet"):
        deploy(workspace, job)
    assert pointer_etag(workspace) is None


def test_later_promotion_stays(workspace: Workspace, job: Job, promote: Promote) -> None:
    first = promote("first")
    promote("second")
    newest = deploy(workspace, job)
    assert deploy(workspace, job, first) == newest


def test_any_order_of_deployments_ends_at_the_newest(workspace: Workspace, job: Job, promote: Promote) -> None:
    promotions = [promote(stamp) for stamp in ("first", "second", "first", "third")]
    barrier = threading.Barrier(8)
    failures: list[Exception] = []

    def project(promotion: Promotion) -> None:
        barrier.wait()
        try:
            deploy(workspace, job, promotion)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=project, args=(promotion,)) for promotion in promotions * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert deploy(workspace, job)["promotion"] == 4


@pytest.mark.parametrize("content", [b"", b"no json", b'{"job": "boards"}'])
def test_pointer_that_is_none_is_replaced(content: bytes, workspace: Workspace, job: Job, promote: Promote) -> None:
    promote("first")
    workspace.store.put(pointer_key("boards"), content)
    assert deploy(workspace, job)["promotion"] == 1


def test_model_without_bytes_is_not_pointed_at(workspace: Workspace, job: Job, promote: Promote) -> None:
    promote("first")
    deploy(workspace, job)
    etag = pointer_etag(workspace)
    promote("second")
    key = workspace.registry.model("boards", "v2").key
    workspace.store.delete(key)
    with pytest.raises(DeployRefused, match=key):
        deploy(workspace, job)
    assert pointer_etag(workspace) == etag


@pytest.mark.parametrize("moment", ["after the promotion", "before the pointer is written"])
def test_killed_deployment_is_completed_by_a_retry(
    moment: str, workspace: Workspace, job: Job, promote: Promote, tmp_path: Path
) -> None:
    promote("first")
    deploy(workspace, job)
    promote("second")
    program = """
import os, signal
from pipelines.deploy import deploy
from pipelines.workspace import Workspace
workspace = Workspace.open()
decided = {"instead_of": "v2", "actor": "a test", "reason": "to see", "decision": {"run_id": "killed"}}
workspace.registry.promote("boards", "v1", **decided)
if not os.listdir(os.environ["RATCHET_FAILPOINTS"]):
    os.kill(os.getpid(), signal.SIGKILL)
deploy(workspace, workspace.job("boards"))
"""
    armed = tmp_path / "failpoints"
    armed.mkdir()
    if moment == "before the pointer is written":
        (armed / "deploy.decided").touch()
    killed = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, **inference(workspace.settings).environment, VARIABLE: str(armed)},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert workspace.registry.promotions("boards")[-1].number == 3
    assert deploy(workspace, job)["promotion"] == 3
    assert deploy(workspace, job)["version"] == "v1"


def test_server_is_asked_until_it_serves_the_promotion(
    workspace: Workspace, job: Job, promote: Promote, tmp_path: Path
) -> None:
    def answer() -> Any:
        url = f"{workspace.settings.serving_url}/jobs/boards/predict"
        said = httpx.post(url, content=png(), trust_env=False).json()
        return said["model_version"], said["boxes"][0]["label"]

    with serving(workspace.settings, tmp_path):
        for stamp, version in (("first", "v1"), ("second", "v2"), ("first", "v1")):
            promotion = promote(stamp)
            deploy(workspace, job)
            said = confirm(workspace, job)
            assert (said["model_version"], said["promotion"]) == (version, promotion.number)
            assert answer() == (version, stamp)
        assert confirm(workspace, job, promotion=2)["promotion"] == 3

        promote("third")
        key = workspace.registry.model("boards", "v3").key
        workspace.store.put(key, b"damaged")
        deploy(workspace, job)
        with pytest.raises(NotConfirmed, match=r"it serves v1 by promotion 3 and reports: .* are damaged"):
            confirm(workspace, job, timeout=1)
        promote("second")
        deploy(workspace, job)
        assert confirm(workspace, job)["model_version"] == "v2"
        assert answer() == ("v2", "second")


def test_silent_server_is_named(workspace: Workspace, job: Job, promote: Promote) -> None:
    promote("first")
    deploy(workspace, job)
    with pytest.raises(NotConfirmed, match=f"does not answer at {workspace.settings.serving_url}/jobs/boards"):
        confirm(workspace, job, timeout=0.1)


def test_server_without_the_job_is_named(workspace: Workspace, job: Job, promote: Promote, tmp_path: Path) -> None:
    promote("first")
    deploy(workspace, job)
    (workspace.settings.jobs / "boards.yaml").unlink()
    with (
        serving(workspace.settings, tmp_path),
        pytest.raises(NotConfirmed, match="it answers 404 there is no job 'boards'"),
    ):
        confirm(workspace, job, timeout=0.1)

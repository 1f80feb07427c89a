from __future__ import annotations

import io
import json
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from data.images import encode_png
from data.ledger import Decision, Request
from data.sample import Annotation, Box, Prediction, Sample, sha256
from data.store import ObjectMissing
from pipelines import holdout, overview, production, steps
from pipelines.importing import import_labelled
from pipelines.job import Job, JobRefused
from pipelines.overview import Lookout, Overviews
from pipelines.workspace import UnknownJob, Workspace, sample_key
from tests.pipelines import large
from tests.pipelines.tiny import labelled, picture, tiny_job


def sample(number: int, **more: Any) -> Sample:
    return Sample(sha256(str(number).encode()), 640, 480, "line", f"inbox/boards/line/{number}.png", "train", **more)


def whole(workspace: Workspace, name: str = "boards") -> dict[str, Any]:
    """The overview, which must be JSON."""
    found = overview.overview(workspace, workspace.job(name))
    return json.loads(json.dumps(found, allow_nan=False))  # type: ignore[no-any-return]


def test_a_job_to_which_nothing_ever_came(offline: Workspace) -> None:
    found = whole(offline)
    assert found["problems"] == []
    assert found["serving"] is found["training"] is found["production"] is None
    assert (found["counts"], found["decisions"], found["requests"], found["examples"]) == ({}, [], [], [])
    assert found["gate"] == {"met": False, "sentence": "0 of 8 labels", "final": False, "progress": 0.0}
    assert found["holdout"]["left"] == 1.0
    assert (found["metric"], found["approval"], found["has_template"]) == ("ap", False, True)
    assert overview.versions(offline, "boards") == {"models": [], "datasets": []}
    assert overview.by_class(offline, offline.job("boards"), "ap")["open"] == []


def test_decisions_say_what_was_compared_and_how_sure_it_is(offline: Workspace) -> None:
    rule = {"name": "bound", "metric": "ap", "alpha": 0.01, "bound": 0.02}
    metrics = {"candidate": {"ap": 0.9, "f1": float("nan")}, "served": {"ap": 0.8, "ap50": None}, "rule": rule}
    made = Decision("promote", "1", "promoted", ["better"], "ada", "v2", "v1", "d2", metrics, "2026-01-01T00:00:00Z")
    offline.ledger.record_decision("boards", made)
    offline.ledger.record_decision("boards", Decision("rollback", "2", "promoted", ["it drifts"], "bo", "v1", "v2"))
    offline.ledger.record_request("boards", Request("2", "bo", "rollback", [], "it drifts", {"version": "v1"}))

    found = whole(offline)

    first, second = found["decisions"]
    assert first["metrics"] == {"ap": 0.9}
    assert first["compared"] == {"ap": 0.8}
    assert first["bound"] == {"metric": "ap", "least": 0.02, "confidence": 0.99}
    assert (first["verdict"], first["actor"], first["reasons"]) == ("promoted", "ada", ["better"])
    assert (second["verdict"], second["bound"], second["metrics"]) == ("rolled back", None, {})
    (request,) = found["requests"]
    assert (request["run_id"], request["actor"], request["reason"]) == ("2", "bo", "it drifts")


def test_examples_are_the_newest_that_a_miner_chose_with_both_kinds_of_boxes(offline: Workspace) -> None:
    ledger = offline.ledger
    for number in range(3):
        ledger.add_sample("boards", sample(number, template_id=sha256(b"template")), number)
        found = Prediction(sample(number).id, "v1", (Box(1, 2, 30.12345, 40, "open", 0.7),))
        ledger.add_prediction("boards", found, 0.5)
        ledger.select("boards", sample(number).id, "random" if number == 1 else "IBT", 1.0, 0.5, "v1")
    ledger.record_push("boards", sample(2).id, 7)
    said = Annotation(sample(2).id, (Box(1, 2, 30, 40, "short"),), "ada", "2026-01-01T00:00:00Z")
    ledger.record_annotation("boards", said)

    newest, older = whole(offline)["examples"]

    assert (newest["id"], newest["state"], newest["annotator"]) == (sample(2).id, "labelled", "ada")
    assert newest["predicted"] == [{"x1": 1, "y1": 2, "x2": 30.123, "y2": 40, "label": "open", "score": 0.7}]
    assert [box["label"] for box in newest["labelled"]] == ["short"]
    assert (newest["name"], newest["width"], newest["height"], newest["has_template"]) == ("2.png", 640, 480, True)
    assert (older["id"], older["state"], older["labelled"]) == (sample(0).id, "selected", None)


def test_a_training_under_way_is_told(offline: Workspace) -> None:
    offline.ledger.claim_training("boards", "run 1")
    found = whole(offline)
    assert (found["training"]["run_id"], found["training"]["samples"]) == ("run 1", 0)
    assert "run 1 is training now" in found["gate"]["sentence"]


def test_without_its_ledger_the_rest_is_still_told(offline: Workspace) -> None:
    offline.registry.promotions("boards")
    settings = replace(offline.settings, ledger_url=f"sqlite:///{offline.settings.home}")  # a folder is no database
    found = whole(Workspace(settings))
    assert found["serving"] is None
    assert (found["counts"], found["decisions"], found["gate"]) == ({}, [], None)
    assert any("What was decided cannot be read: " in problem for problem in found["problems"])
    assert not any(problem.startswith("What serves") for problem in found["problems"])


def test_without_its_registry_the_rest_is_still_told(offline: Workspace, tmp_path: Path) -> None:
    offline.ledger.add_sample("boards", sample(1), 1)
    settings = replace(offline.settings, registry_url="file:///nowhere/registry.git", home=tmp_path / "elsewhere")
    found = whole(Workspace(settings))
    assert found["counts"] == {"arrived": 1}
    assert any(problem.startswith("What serves cannot be read: ") for problem in found["problems"])


def test_a_refused_file_is_told_with_its_problems(offline: Workspace) -> None:
    (offline.settings.jobs / "broken.yaml").write_text("name: broken\nclasses: []\n")
    known = Overviews(offline)
    assert overview.jobs(offline) == ["boards", "broken"]
    summary = known.summary("broken")
    assert len(summary["refused"]) == 2
    assert summary["file"].endswith("broken.yaml")
    assert known.summary("boards")["gate"]["sentence"] == "0 of 8 labels"
    with pytest.raises(JobRefused):
        known.state("broken")
    with pytest.raises(UnknownJob):
        known.state("bolts")


def test_the_state_changes_with_ledger_registry_and_file_and_with_nothing_else(
    offline: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview, "CLOCK_SECONDS", 1e9)
    monkeypatch.setattr(overview, "REGISTRY_SECONDS", 0.0)
    known = Overviews(offline)
    states = [known.state("boards")]

    def changed() -> bool:
        states.append(known.state("boards"))
        return states[-1] != states[-2]

    assert not changed()
    offline.ledger.add_sample("boards", sample(1), 1)
    assert changed()
    offline.ledger.add_sample("bolts", sample(1), 1)
    assert not changed()
    tag = ["git", "-C", offline.settings.registry_url]
    commit = run(*tag, "commit-tree", "-m", "a", run(*tag, "mktree"))
    run(*tag, "tag", "-a", "-m", "Model v1", "boards@v1.0.0", commit)
    assert changed()
    run(*tag, "tag", "-a", "-m", "Model v1", "bolts@v1.0.0", commit)
    assert not changed()
    file = offline.settings.jobs / "boards.yaml"
    file.write_text(file.read_text() + "description: other\n")
    assert changed()


def run(*command: str) -> str:
    import subprocess

    identity = ["-c", "user.name=ada", "-c", "user.email=ada@localhost"]
    program, *arguments = command
    result = subprocess.run([program, *identity, *arguments], input="", capture_output=True, text=True, check=True)
    return result.stdout.strip()


def test_many_who_ask_at_once_wait_for_one_reading(offline: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    readings = []
    read = overview.overview

    def counted(workspace: Workspace, job: Job, *more: Any) -> dict[str, Any]:
        readings.append(job.name)
        return read(workspace, job, *more)

    monkeypatch.setattr(overview, "overview", counted)
    monkeypatch.setattr(overview, "CLOCK_SECONDS", 1e9)
    known = Overviews(offline)
    with ThreadPoolExecutor(8) as people:
        answers = list(people.map(known.overview, ["boards"] * 8))
    assert readings == ["boards"]
    assert all(answer is answers[0] or answer == answers[0] for answer in answers)
    offline.ledger.add_sample("boards", sample(1), 1)
    assert known.overview("boards")[1]["counts"] == {"arrived": 1}
    assert readings == ["boards"] * 2


def test_pictures_are_small_grey_and_upright(workspace: Workspace) -> None:
    content = encode_png(picture(1, 640))
    workspace.store.put(sample_key(sha256(content)), content)
    for width in (320, 1600):
        image = Image.open(io.BytesIO(overview.picture(workspace, sha256(content), width)))
        assert (image.format, image.size) == ("WEBP", (min(width, 640), min(width, 640)))
    with pytest.raises(ObjectMissing):
        overview.picture(workspace, sha256(b"none"), 320)


def test_a_store_that_is_down_costs_a_moment(offline: Workspace) -> None:
    begun = time.monotonic()
    with pytest.raises(ConnectionError):
        Lookout(offline.settings).store.get("anything")
    assert time.monotonic() - begun < 3 * overview.PATIENCE_SECONDS


@pytest.mark.slow
def test_after_two_rounds_the_numbers_are_those_of_the_evaluations(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = tiny_job(workspace)
    monkeypatch.setattr(steps, "deployment", lambda: workspace)

    def learn(run_id: str, skill: float, **asked: Any) -> None:
        params = {"parameters": {"skill": skill}, **asked}
        for step in ("start", "curate", "train", "evaluate", "promote"):
            steps.run(step, "tiny", run_id, params)

    import_labelled(workspace, job, labelled(range(40)), "ada")
    learn("run 1", 0.3)
    import_labelled(workspace, job, labelled(range(40, 60)), "ada")
    learn("run 2", 1.0, actor="ada", reason="a new line", bypass=["train"])

    found = whole(workspace, "tiny")
    assert found["problems"] == []
    assert (found["serving"]["version"], found["serving"]["number"]) == ("v2", 2)
    assert (found["serving"]["instead_of"], found["serving"]["run_id"]) == ("v1", "run 2")
    assert [each["candidate"] for each in found["decisions"]] == ["v1", "v2"]
    assert found["decisions"][1]["metrics"]["recall"] == 1.0
    assert found["holdout"]["images"] > 0
    assert found["requests"][0]["bypass"] == ["train"]
    assert found["production"] == {"version": "v2", "metrics": {}}
    assert found["promoted_with"]["recall"] == 1.0

    versions = overview.versions(workspace, "tiny")
    assert [(each["version"], each["parent"], each["serves"]) for each in versions["models"]] == [
        ("v2", "v1", True),
        ("v1", None, False),
    ]
    assert versions["datasets"] == ["d2", "d1"]

    by_class = overview.by_class(workspace, workspace.job("tiny"), "recall")
    assert set(by_class) == {"open", "short"}
    first, second = by_class["open"]
    assert first["served"] is None
    assert (second["run_id"], second["candidate"]) == ("run 2", 1.0)
    assert 0 < second["served"] < 1


def wait_for_holdout(known: Overviews) -> None:
    while known.overview("boards")[1]["holdout"] is None:
        time.sleep(0.05)


@pytest.fixture
def year(workspace: Workspace, tmp_path: Path) -> Iterator[Lookout]:
    """A deployment whose job has run for a year."""
    folder = tmp_path / "manifests"
    folder.mkdir()
    large.grow(workspace, folder)
    yield Lookout(workspace.settings)
    shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_is_fast_with_a_hundred_thousand_images_and_two_hundred_versions(
    year: Lookout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview, "CLOCK_SECONDS", 1e9)
    for remembered in (holdout._held_out, production._estimate, production._baseline):
        remembered.cache_clear()
    known = Overviews(year)

    def seconds(ask: Any) -> float:
        begun = time.perf_counter()
        ask()
        return time.perf_counter() - begun

    took = {"cold": seconds(lambda: known.overview("boards"))}
    _, found = known.overview("boards")
    assert found["problems"] == []
    took["holdout"] = seconds(lambda: wait_for_holdout(known))
    assert len(found["decisions"]) == large.VERSIONS
    assert sum(found["counts"].values()) == large.SAMPLES
    assert found["production"]["metrics"]["precision"]["images"] > 0
    took["unchanged"] = seconds(lambda: known.overview("boards"))
    year.ledger.add_sample("boards", sample(-1), 1)
    took["changed"] = seconds(lambda: known.overview("boards"))
    took["versions"] = seconds(lambda: overview.versions(year, "boards"))
    took["classes"] = seconds(lambda: overview.by_class(year, year.job("boards"), "ap"))
    took["classes again"] = seconds(lambda: overview.by_class(year, year.job("boards"), "ap"))
    print({name: round(value, 3) for name, value in took.items()})
    limits = {"cold": 2.0, "unchanged": 0.1, "changed": 0.5, "versions": 1.0, "classes": 5.0, "classes again": 0.5}
    assert {name for name, limit in limits.items() if took[name] > limit} == set(), took

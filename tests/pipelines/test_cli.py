"""The command line: what it shows, and that a refusal is one clear message and exit status 1."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from getpass import getuser
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from data.boards import FAMILIES, write_boards
from data.ledger import Decision
from data.sample import Sample
from pipelines import cli, deploy, production, steps
from pipelines.gates.conditions import Estimate
from pipelines.settings import ROOT, Settings
from pipelines.workspace import Workspace
from tests.pipelines.tiny import Tiny, environment, labelled, tiny_job

Run = Callable[..., Result]


def configure(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in environment(settings).items():
        monkeypatch.setenv(variable, value)
    steps.deployment.cache_clear()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Runs `ratchet` with these arguments."""
    monkeypatch.setattr(cli.console, "width", 160)
    yield lambda *arguments: CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
    steps.deployment.cache_clear()


@pytest.fixture
def away(offline: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """The deployment of which no server runs, as this process is configured for."""
    configure(offline.settings, monkeypatch)
    return offline


@pytest.fixture
def here(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """The deployment with a store, as this process is configured for, and its job `tiny`."""
    configure(workspace.settings, monkeypatch)
    tiny_job(workspace)
    return workspace


def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What `ratchet` says when it refuses, as its script runs it."""
    monkeypatch.setattr(sys, "argv", ["ratchet", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr()
    assert ended.value.code == 1
    assert said.err.startswith("ratchet: ")
    assert "Traceback" not in said.err
    return said.err.removeprefix("ratchet: ").strip()


def test_jobs_are_listed_and_a_bad_file_hides_no_other(away: Workspace, run: Run) -> None:
    (away.settings.jobs / "broken.yaml").write_text("name: other\nclasses: [open]\n")
    result = run("jobs")
    assert result.exit_code == 0
    assert "boards" in result.stdout
    assert "nothing" in result.stdout
    assert "broken.yaml has 2 problem(s)" in result.stdout
    assert "estimator is missing" in result.stdout


def test_status_tells_of_the_holdout_and_of_production(
    away: Workspace, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = run("status", "boards").stdout
    assert "holdout   this holdout (0 images from the start) has decided nothing yet" in said
    assert "in production" not in said
    monkeypatch.setattr(production, "estimate", lambda *_: {"precision": Estimate(0.78, 0.7, 0.85, 34)})
    said = run("status", "boards").stdout
    assert "precision 0.780 in production (95 % interval 0.700 to 0.850, from 34 images)" in said


def test_status_says_what_serves_what_is_missing_and_where_samples_are(away: Workspace, run: Run) -> None:
    assert "samples   none yet" in run("status", "boards").stdout
    away.ledger.add_sample("boards", Sample("a", 9, 9, "line", "", "train"), 1)
    said = run("status", "boards").stdout
    assert "serves    nothing yet" in said
    assert "training  0 of 8 labels" in said
    assert "samples   1 arrived" in said


def test_history_shows_every_verdict_with_its_reasons_to_the_letter(away: Workspace, run: Run) -> None:
    metrics = {"candidate": {"ap": 0.81}, "served": {"ap": 0.7}, "delta": {"ap": 0.11}}
    for number, verdict in enumerate(("promoted", "rejected", "undecided")):
        reasons = [f"ap[open]_delta is {number}"]
        decision = Decision("promote", f"run {number}", verdict, reasons, "ada", "v2", "v1", "d2", metrics)
        away.ledger.record_decision("boards", decision)
    away.ledger.record_decision("boards", Decision("rollback", "b", "promoted", ["it drifts"], "ben", "v1", "v2"))
    said = run("history", "boards").stdout
    assert "v2 0.810" in said
    assert "+0.110" in said
    for number, verdict in enumerate(("promoted", "rejected", "undecided")):
        assert f"round {number}: {verdict} by ada, because ap[open]_delta is {number}" in said
    assert "round 3: rolled back by ben, because it drifts" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["status", "bords"], "there is no job 'bords'; the jobs are boards"),
        (["rollback", "boards", "v7"], "boards cannot go back to v7, which never served; nothing served before"),
        (["evaluate", "boards"], "boards has no model version yet; train one first"),
        (
            ["promote", "boards", "--version", "v9", "--dataset", "d9"],
            "this run cannot be what is meant:\n  - model_version is v9, which does not exist; there is none yet\n"
            "  - dataset_version is d9, which does not exist; there is none yet\n"
            "Nothing was done; ask again with that mended.",
        ),
        (
            ["train", "boards", "--parameters", "stepz=5", "--parameters", "crop=33"],
            "this run cannot be what is meant:\n  - 'stepz' is not a setting of FPN; known are steps, batch_size, "
            "crop, zoom, inherited, learning_rate, weight_decay, warm_up_share, validations, patience, "
            "checkpoint_every\n"
            "Nothing was done; ask again with that mended.",
        ),
    ],
)
def test_a_refusal_is_one_clear_message(
    away: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    assert refused(monkeypatch, capsys, *arguments) == said


def test_a_setting_that_is_none_is_named_to_the_letter(
    away: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (away.settings.home / "airflow.cfg").write_text("[ratchet]\nhoem = here\n")
    monkeypatch.setenv("AIRFLOW_HOME", str(away.settings.home))
    assert refused(monkeypatch, capsys, "jobs").startswith("[ratchet] hoem in ")


@pytest.mark.slow
def test_a_store_that_does_not_answer_is_a_refusal(
    away: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    steps.deployment().store._patience = 0.1
    write_boards(tmp_path / "new", FAMILIES["signal"], range(1), 320)
    said = refused(monkeypatch, capsys, "import", "boards", str(tmp_path / "new"), "--format", "deeppcb")
    assert said.startswith("the object store at 127.0.0.1:9 did not answer within 0.1 s")


def test_an_error_of_its_own_is_no_refusal(away: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty() -> None:
        raise KeyError("version")

    monkeypatch.setattr(steps, "deployment", faulty)
    monkeypatch.setattr(sys, "argv", ["ratchet", "jobs"])
    with pytest.raises(KeyError):
        cli.main()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["import", "boards", ".", "--format", "tiff"], "none of deeppcb, coco"),
        (["predict", "boards", "--images", ".", "--out", "x", "--format", "voc"], "none of coco, deeppcb"),
        (["predict", "boards", "--images", ".", "--out", "x"], "nothing serves for boards yet; name a version"),
        (
            ["predict", "boards", "--images", ".", "--out", "x", "--version", "v1", "--model", "."],
            ". is a model by itself; leave one of the two out",
        ),
        (["promote", "boards", "--force"], "a promotion against the rule needs a reason"),
        (["train", "boards", "--parameters", "steps"], "steps has no value; write KEY=VALUE"),
        (["gate", "boards", "promote"], "none of train, evaluate"),
        (["served", "boards", "--at", "yesterday"], "does not match the formats"),
    ],
)
def test_a_wrong_option_is_explained(away: Workspace, run: Run, arguments: list[str], said: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.replace("│", " ").split())


@pytest.mark.slow
def test_a_folder_of_boards_is_imported_once_and_what_is_wrong_is_told(
    here: Workspace, run: Run, tmp_path: Path
) -> None:
    write_boards(tmp_path / "new", FAMILIES["signal"], range(3), 320)
    (tmp_path / "new" / "signal00002_temp.png").write_bytes(b"no image")
    for _ in range(2):
        result = run("import", "boards", tmp_path / "new", "--format", "deeppcb")
        assert result.exit_code == 1
        assert "2 labelled images are in" in result.stdout
        assert "  - refused: signal/signal00002_test.png: its template: it is not an image" in result.stdout
    assert here.ledger.counts("boards") == {"labelled": 2}


@pytest.mark.slow
def test_labels_of_some_classes_are_imported_as_such(here: Workspace, run: Run, tmp_path: Path) -> None:
    write_boards(tmp_path / "new", FAMILIES["signal"], range(2), 320)
    for path in tmp_path.glob("new/**/*.txt"):
        path.write_text("")
    result = run("import", "boards", tmp_path / "new", "--format", "deeppcb", "--classes", "short, open")
    assert result.exit_code == 0, result.output
    assert {annotation.classes for _, annotation in here.ledger.labelled("boards")} == {("open", "short")}


@pytest.mark.slow
def test_train_evaluate_promote_predict_and_check_by_hand(here: Workspace, run: Run, tmp_path: Path) -> None:
    from pipelines.importing import import_labelled

    import_labelled(here, here.job("tiny"), labelled(range(8)), "import")
    trained = run("train", "tiny", "--reason", "to see")
    assert trained.stdout.splitlines() == ["curate: dataset_version d1", "train: model_version v1"]
    evaluated = run("evaluate", "tiny")
    assert evaluated.exit_code == 0
    assert "recall" in evaluated.stdout
    assert "0.500" in evaluated.stdout

    promotion = steps.run("promote", "tiny", "by hand", {"actor": "ada"})
    assert promotion == {"model_version": "v1", "promotion": 1}
    assert "serves    v1 since " in run("status", "tiny").stdout
    assert "v1" in run("jobs").stdout
    images = tmp_path / "images"
    images.mkdir()
    (images / "1.png").write_bytes(labelled(range(1))[0].read())
    predicted = run("predict", "tiny", "--images", images, "--out", tmp_path / "boxes.json")
    assert predicted.exit_code == 0
    assert json.loads((tmp_path / "boxes.json").read_text())["images"][0]["file_name"] == "1.png"

    saved = here.model_folder("tiny", "v1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "deployment", lambda: pytest.fail("a saved model needs no deployment"))
        again = run("predict", "tiny", "--images", images, "--out", tmp_path / "again.json", "--model", saved)
    assert (again.exit_code, again.stdout.splitlines()[-1].split(" with ")[0]) == (0, "1 images predicted")
    assert (tmp_path / "again.json").read_text() == (tmp_path / "boxes.json").read_text()
    refused = run("predict", "tiny", "--images", images, "--out", tmp_path / "no.json", "--model", images)
    assert refused.exit_code == 1
    assert "is not a saved model" in str(refused.exception or refused.output)

    checked = run("status", "tiny", "--check")
    assert checked.exit_code == 1
    assert "2 problem(s)" in checked.stdout
    assert "the pointer serving/tiny.json says None" in checked.stdout
    assert "Label Studio at http://127.0.0.1:9 does not answer" in checked.stdout


@pytest.mark.slow
def test_what_people_asked_for_is_kept_and_who_served_when_is_known(here: Workspace, run: Run) -> None:
    from pipelines.importing import import_labelled

    assert run("served", "tiny").stdout == "nothing of tiny has served yet\n"
    closed = run("gate", "tiny")
    assert (closed.exit_code, closed.stdout) == (1, "train: closed: 0 of 3 labels\n")
    import_labelled(here, here.job("tiny"), labelled(range(8)), "import")
    waiting = here.ledger.pending("tiny")
    for _ in range(2):
        opened = run("gate", "tiny", "train")
        assert (opened.exit_code, opened.stdout) == (0, f"train: open: {waiting} of 3 labels\n")
    assert here.ledger.pending("tiny") == waiting

    run("train", "tiny", "--parameters", "skill=0.2", "--parameters", "seed=7", "--reason", "to see")
    metadata = here.registry.model("tiny", "v1").metadata
    assert (metadata["recipe"], metadata["seed"]) == ({"skill": 0.2}, 7)
    steps.run("promote", "tiny", "by night")
    refused = run("promote", "tiny", "--reason", "once more")
    assert refused.exit_code == 1
    assert "promote: v1 is rejected: v1 serves already" in refused.stdout

    told = " ".join(run("history", "tiny").stdout.split())
    assert f"{getuser()} asked to train (seed 7, skill 0.2), because to see" in told
    assert f"{getuser()} asked to promote (dataset_version d1, model_version v1), because once more" in told
    assert " v1 " in run("served", "tiny").stdout
    assert "nothing serves yet, so there is nothing" in run("served", "tiny").stdout
    promoted = datetime.fromisoformat(here.registry.promotions("tiny")[0].at)
    assert " v1 " in run("served", "tiny", "--at", f"{promoted:%Y-%m-%dT%H:%M:%S}").stdout
    before = f"{promoted - timedelta(seconds=1):%Y-%m-%dT%H:%M:%S}"
    assert run("served", "tiny", "--at", before).stdout == f"nothing of tiny has served by {before} UTC\n"


@pytest.mark.slow
def test_a_promotion_at_the_command_line_is_that_persons_approval(
    here: Workspace, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.importing import import_labelled

    def unconfirmed(*_: object) -> None:
        raise deploy.NotConfirmed("no inference server runs here")

    monkeypatch.setattr(deploy, "confirm", unconfirmed)
    file = here.settings.jobs / "tiny.yaml"
    file.write_text(file.read_text().replace("deploySpec: {", "deploySpec: {approval: human, "))
    import_labelled(here, here.job("tiny"), labelled(range(8)), "import")
    run("train", "tiny")
    assert "promote: model_version v1, promotion 1" in run("promote", "tiny", "--reason", "looks right").stdout
    (decision,) = here.ledger.decisions("tiny")
    assert (decision.actor, decision.reasons[-1]) == (getuser(), f"{getuser()} approves it: looks right")


@pytest.mark.slow
def test_a_training_that_fails_by_hand_gives_its_labels_back_at_once(
    here: Workspace, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.importing import import_labelled

    def fail(*_: object, **__: object) -> None:
        raise ArithmeticError("the loss is infinite")

    monkeypatch.setattr(Tiny, "train", fail)
    import_labelled(here, here.job("tiny"), labelled(range(8)), "import")
    pending = here.ledger.pending("tiny")
    result = run("train", "tiny")
    assert str(result.exception) == "the loss is infinite"
    assert here.ledger.active_training("tiny") is None
    assert here.ledger.pending("tiny") == pending > 0


@pytest.mark.slow
def test_an_interrupt_ends_it_without_a_traceback(away: Workspace) -> None:
    # A shell without job control lets what it starts in the background ignore interrupts.
    program = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from pipelines import cli
@cli.app.command()
def forever() -> None:
    print("begun", flush=True)
    signal.pause()
cli.main()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program, "forever"],
        cwd=ROOT,
        env={**os.environ, **environment(away.settings)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in said

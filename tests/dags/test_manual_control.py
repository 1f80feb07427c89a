"""A person's hand on a real Airflow: runs by form, approvals, roll back; and who acts while something is killed."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from playwright.sync_api import Page

from benchmarks.servers import postgresql_programs
from data.ledger import Training
from demo.airflow_api import AirflowRefused
from demo.pictures import NoBrowser, browser_page
from pipelines import steps
from services import airflow, process
from tests import postgresql
from tests.dags.deployed import Deployed, deployed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

FEWEST = 3
JOBS: dict[str, dict[str, Any]] = {
    "asked": {"approval": "human", "look": 600},  # a look would take the form from who fills it in
    "rivals": {"approval": "human"},
    "brief": {"approval": "{by: human, waitSeconds: 8}"},
    "plain": {},
    "fires": {"labels": FEWEST},
}


@pytest.fixture(scope="module")
def here(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """The deployment, on PostgreSQL where there is one: SQLite does not keep two schedulers apart."""
    database = None
    if postgresql_programs() is not None:
        database = postgresql.empty_database(request.getfixturevalue("postgresql_server"))
    with deployed(tmp_path_factory.mktemp("deployed"), JOBS, database) as running:
        yield running


@pytest.fixture
def page(here: Deployed) -> Iterator[Page]:
    """A browser in which the administrator has logged in to Airflow."""
    try:
        with browser_page() as opened:
            opened.set_viewport_size({"width": 1440, "height": 2200})
            opened.goto(here.api.url)
            opened.fill("input[name=username]", airflow.USER)
            opened.fill("input[name=password]", here.deployment.secrets["RATCHET_AIRFLOW_PASSWORD"])
            opened.keyboard.press("Enter")
            opened.wait_for_url(f"{here.api.url}/")
            yield opened
    except NoBrowser as reason:
        pytest.skip(str(reason))


def answer(page: Page, here: Deployed, job: str, run_id: str, option: str, comment: str) -> None:
    """Answer a question as a person does, once everything it shows is there."""
    page.goto(f"{here.api.url}/dags/{job}.learn/runs/{run_id}/tasks/approve/required_actions")
    page.get_by_test_id(f"hitl-option-{option}").wait_for()
    page.wait_for_function(
        "() => { const shown = [...document.querySelectorAll('img[src*=evidence]')];"
        " return shown.length && shown.every(picture => picture.naturalWidth > 100) }"
    )
    page.locator("input[name=element_comment]").fill(comment)
    page.get_by_test_id(f"hitl-option-{option}").click()


def ask(here: Deployed, job: str, version: str) -> str:
    """Start a run that is to promote a version; its id once it asks a person."""
    run_id = here.api.trigger(f"{job}.learn", {"start_at": "promote", "model_version": version}).run_id
    here.asked(job, run_id)
    return run_id


def test_a_run_by_form_trains_as_it_was_told_and_serves_once_a_person_approves(here: Deployed, page: Page) -> None:
    assert here.first("asked") == "v1"
    here.label("asked", range(100, 108))
    page.goto(f"{here.api.url}/dags/asked.learn")
    page.get_by_label("Trigger Dag").first.click()
    form = page.get_by_role("dialog")
    form.get_by_text("Gates to bypass").first.wait_for()
    form.locator("input[name=element_reason]").fill("the fair is tomorrow")
    form.get_by_role("combobox").nth(1).click()
    page.get_by_role("option", name="train").click()
    form.get_by_text("Recipe", exact=True).click()
    form.locator(".monaco-editor").first.click()
    for key in ("Control+A", "Delete"):
        page.keyboard.press(key)
    page.keyboard.insert_text('{"skill": 0.9, "seed": 7}')
    for key in ("Shift+End", "Delete"):  # the editor closes brackets and quotes by itself
        page.keyboard.press(key)
    form.get_by_role("button", name="Trigger").click()
    page.wait_for_url("**/runs/**")

    run_id = here.api.runs("asked.learn")[0].run_id
    here.asked("asked", run_id)
    assert here.serves("asked") == "v1"
    answer(page, here, "asked", run_id, "Approve", "looks right")
    decision = here.decided("asked", run_id)

    assert (decision.verdict, decision.actor, decision.candidate) == ("promoted", "admin", "v2")
    assert decision.reasons[-1] == "admin approves it: looks right"
    assert here.serves("asked") == "v2"
    (asked,) = here.workspace.ledger.requests("asked")
    assert (asked.run_id, asked.actor, asked.verb, asked.bypass) == (run_id, "admin", "train", ["train"])
    assert (asked.reason, asked.parameters) == ("the fair is tomorrow", {"parameters": {"skill": 0.9, "seed": 7}})
    metadata = here.workspace.registry.model("asked", "v2").metadata
    assert (metadata["recipe"], metadata["seed"], metadata["parent"]) == ({"skill": 0.9}, 7, "v1")


def test_what_cannot_be_meant_is_refused_before_anything_is_claimed(here: Deployed) -> None:
    with pytest.raises(AirflowRefused, match=r"'skil' was unexpected[\s\S]*'skill'") as refused:
        here.api.trigger("asked.learn", {"parameters": {"skil": 0.9}})
    assert refused.value.status == 400
    before = here.workspace.ledger.trainings("asked")
    run = here.api.trigger("asked.learn", {"bypass": ["train"], "parent": "v9"})
    assert here.api.wait("asked.learn", run.run_id, 120).state == "failed"
    (start,) = (task for task in here.api.tasks("asked.learn", run.run_id) if task.task_id == "start")
    assert (start.state, start.try_number) == ("failed", 1)
    said = here.api.log("asked.learn", run.run_id, "start")
    assert "a bypassed gate (train) needs a reason" in said
    assert "parent is v9, which does not exist" in said
    assert here.workspace.ledger.trainings("asked") == before


def test_a_no_is_kept_with_the_person_and_the_comment(here: Deployed, page: Page) -> None:
    serving = here.first("asked")
    version = here.candidate("asked", 1.0, "rejected")
    run_id = ask(here, "asked", version)
    answer(page, here, "asked", run_id, "Reject", "open is worse")
    decision = here.decided("asked", run_id)
    assert (decision.verdict, decision.actor) == ("rejected", "admin")
    assert decision.reasons == ["admin does not approve it: open is worse"]
    assert here.state("asked", run_id, "promote") == here.state("asked", run_id, "deploy") == "skipped"
    assert here.serves("asked") == serving


def test_a_newer_candidate_ends_the_wait_of_the_older_and_a_promotion_ends_both(here: Deployed) -> None:
    first = here.first("rivals")
    older, newer = here.candidate("rivals", 0.6, "older"), here.candidate("rivals", 0.9, "newer")
    one, two = ask(here, "rivals", older), ask(here, "rivals", newer)
    decision = here.decided("rivals", one)
    assert decision.verdict == "undecided"
    assert f"asks about {newer} by now" in decision.reasons[0]
    assert here.state("rivals", two, "promote") is None

    by_hand = {"model_version": older, "bypass": ["promote"], "reason": "now", "actor": "ada"}
    assert steps.run("promote", "rivals", "by hand", by_hand)["model_version"] == older
    overtaken = here.decided("rivals", two)
    assert overtaken.verdict == "undecided"
    assert f"{newer} was trained from {first}, but {older} serves by now" in overtaken.reasons[0]
    assert [made.version for made in here.workspace.registry.promotions("rivals")] == [first, older]


def test_nobody_answers_in_time(here: Deployed) -> None:
    here.first("brief")
    version = here.candidate("brief", 0.9, "second")
    run = here.api.trigger("brief.learn", {"start_at": "promote", "model_version": version})
    decision = here.decided("brief", run.run_id)
    assert (decision.verdict, decision.candidate) == ("undecided", version)
    assert decision.reasons == ["nobody answered within 8 s (approval.waitSeconds)"]
    assert here.serves("brief") == "v1"


def test_of_two_runs_in_the_same_moment_one_trains_and_one_promotes(here: Deployed) -> None:
    here.first("plain")
    here.label("plain", range(100, 112))
    conf = {"bypass": ["train"], "reason": "at once", "parameters": {"skill": 0.9}}
    with ThreadPoolExecutor(2) as both:
        runs = list(both.map(lambda number: here.api.trigger("plain.learn", conf, f"run-{number}").run_id, range(2)))
    assert {here.api.wait("plain.learn", run_id, 240).state for run_id in runs} == {"success"}
    trainings = [each for each in here.workspace.ledger.trainings("plain") if each.run_id in runs and each.samples]
    assert [training.state for training in trainings] == ["finished"]
    assert [model.version for model in here.workspace.registry.models("plain")] == ["v1", "v2"]
    assert [made.version for made in here.workspace.registry.promotions("plain")] == ["v1", "v2"]


def test_a_roll_back_serves_at_once_and_an_impossible_one_is_refused_at_once(here: Deployed) -> None:
    assert here.serves("plain") == "v2"
    run = here.api.trigger("plain.rollback", {"version": "v1", "reason": "it drifts"})
    assert here.api.wait("plain.rollback", run.run_id, 120).state == "success"
    assert here.serves("plain") == "v1"
    asked = here.workspace.ledger.requests("plain")[-1]
    assert (asked.actor, asked.verb, asked.reason) == ("admin", "rollback", "it drifts")

    run = here.api.trigger("plain.rollback", {"version": "v9", "reason": "a slip"})
    assert here.api.wait("plain.rollback", run.run_id, 60).state == "failed"
    assert "v9, which never served; v2 served before" in here.api.log("plain.rollback", run.run_id, "rollback")
    assert here.serves("plain") == "v1"


def waits(here: Deployed) -> bool:
    """Whether a run of the job `fires` waits at its gate."""
    runs = [run for run in here.api.runs("fires.learn") if not run.finished]
    return any(here.state("fires", run.run_id, "gate_train") == "deferred" for run in runs)


def fired(here: Deployed, trained: int) -> None:
    """Labels that arrive now are learnt from, none of them twice and never too few at once."""
    ledger, seen = here.workspace.ledger, sum(here.workspace.ledger.counts("fires").values())
    here.label("fires", range(seen, seen + 10))

    def finished() -> list[Training]:
        return [training for training in ledger.trainings("fires") if training.state == "finished"]

    def settled() -> bool:
        done = waits(here) or all(run.finished for run in here.api.runs("fires.learn"))
        return done and ledger.pending("fires") < FEWEST

    Deployed.until(lambda: len(finished()) > trained, 240)
    # The gate may have opened while the last labels still arrived; then these open it again.
    Deployed.until(settled, 240)
    assert all(training.samples >= FEWEST for training in finished())
    learnt = [sample.id for training in finished() for sample, _ in ledger.claimed("fires", training.run_id)]
    assert len(learnt) == len(set(learnt))


@pytest.fixture
def waiting(here: Deployed) -> int:
    """How often the job `fires` has trained; a run of it waits at its gate."""
    if not waits(here):
        here.api.trigger("fires.learn")
        Deployed.until(lambda: waits(here))
    return sum(training.state == "finished" for training in here.workspace.ledger.trainings("fires"))


@pytest.mark.parametrize("server", ["Airflow triggerer", "Airflow scheduler"])
def test_a_gate_that_waits_survives_the_kill_of(here: Deployed, waiting: int, server: str) -> None:
    here.kill(server)
    here.start(server)
    fired(here, waiting)


def test_two_schedulers_fire_once(here: Deployed, waiting: int) -> None:
    if postgresql_programs() is None:
        pytest.skip("SQLite does not keep two schedulers apart, and there is no PostgreSQL here")
    another = replace(here.server("Airflow scheduler"), name="Second scheduler")
    folder = here.deployment.settings.home / "run"
    record = process.start(
        another.name, another.command, folder / "second.json", folder / "second.log", another.environment
    )
    try:
        process.wait_until(lambda: "Starting the scheduler" in process.tail(record.log, 1000), 120, record)
        fired(here, waiting)
        assert process.running(record)
    finally:
        process.stop(record)

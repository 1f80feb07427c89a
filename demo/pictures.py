"""Pictures for docs/, taken with a headless Chromium: of a running deployment's pages, and of Ratchet's own page.

Ratchet's page is shown in states that a deployment is rarely in, and so on a stage of its own.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from demo.airflow_api import AirflowApi
from demo.rehearsal import Rehearsal
from demo.scenario import Scenario, synthetic
from demo.stage import Stage, staged
from pipelines.labelling import tasks
from pipelines.labelling.project import LabellingProject, connect, find_project
from pipelines.settings import ROOT, Settings, home, read_secrets
from pipelines.workspace import Workspace
from services import airflow, label_studio
from services.deployment import Deployment

if TYPE_CHECKING:
    from playwright.sync_api import FrameLocator, Page

JOB = "pcb_defects"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
# Without these, Chromium's own calls home delay every page where the network is closed.
QUIET = ("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic")
SETTLED_MILLISECONDS = 1500
LOOKED_THROUGH = 100


class NoBrowser(RuntimeError):
    """There is no Chromium on this machine."""


@contextmanager
def browser_page() -> Iterator[Page]:
    """A page of a fresh headless Chromium.

    Raises:
        NoBrowser: none is installed.
    """
    from playwright.sync_api import sync_playwright

    program = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if program is None:
        raise NoBrowser(f"none of {', '.join(BROWSERS)} is on the PATH; install one (Debian: apt install chromium)")
    sandbox = [] if os.geteuid() else ["--no-sandbox"]  # Chromium refuses to sandbox for root
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=[*QUIET, *sandbox])
        try:
            yield browser.new_page(viewport={"width": 1440, "height": 900})
        finally:
            browser.close()


def log_in(page: Page, url: str, user: str, password: str) -> None:
    """Log in to Airflow."""
    page.goto(url)
    page.fill("input[name=username]", user)
    page.fill("input[name=password]", password)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{url}/")


def page_pictures(folder: Path) -> list[Path]:
    """Ratchet's page in its states, of a job that is turned by a stand-in on a stage of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place, staged(Path(place)) as stage, browser_page() as page:
        known, arriving = ("signal", "mixed"), ("dense", "power")
        scenario = synthetic(Path(place) / "boards", known, arriving, initial=50, night=48, left=60, size=400)
        rehearsal = Rehearsal(stage.workspace, JOB, scenario)
        stage.know_dags()
        log_in(page, stage.url, airflow.USER, stage.passwords[airflow.USER])
        taken = [_take_page(page, stage, folder / "page-empty.png", height=900)]

        tell(rehearsal, scenario)
        taken.append(_take_page(page, stage, folder / "page-job.png"))
        page.evaluate("localStorage.setItem('theme', 'dark')")
        taken.append(_take_page(page, stage, folder / "page-dark.png"))
        page.evaluate("localStorage.removeItem('theme')")

        frame = _ratchet(page, stage)
        frame.get_by_label("per class").check()
        frame.locator(".multiples").wait_for()
        taken.append(_take(page, folder / "page-per-class.png"))
        page.set_viewport_size({"width": 1280, "height": 800})
        frame = _ratchet(page, stage)
        frame.get_by_role("button", name="Train now").click()
        frame.locator("dialog form").wait_for()
        taken.append(_take(page, folder / "page-dialog.png"))
        page.set_viewport_size({"width": 390, "height": 844})
        page.goto(f"{stage.url}/ratchet/")
        page.locator("#decisions").wait_for()
        taken.append(_take(page, folder / "page-small.png"))

        run = stage.api.trigger(f"{JOB}.learn", {"start_at": "train", "reason": "the new line starts on Monday"})
        question = rehearsal.propose(run.run_id, skill=1.0)
        stage.park(run, "approve", "awaiting_input", question["subject"], question["body"])
        taken.append(_take_page(page, stage, folder / "page-waiting-approval.png", height=900))
    return taken


def tell(rehearsal: Rehearsal, scenario: Scenario) -> None:
    """What happens to the job of the pictures: nights that teach, one badly labelled, a word by hand, and one back."""
    nightly = "scheduled__2026-11-{:02d}T02:00:00+00:00"
    rehearsal.begin(scenario.initial)
    rehearsal.learn(nightly.format(2), skill=0.5)
    rehearsal.arrive(scenario.nights[0].boards)
    rehearsal.label()
    rehearsal.learn(nightly.format(3), skill=0.68)
    rehearsal.arrive(scenario.nights[1].boards)
    rehearsal.label(mood="bad")
    rehearsal.learn(nightly.format(4), skill=0.55)
    rehearsal.correct()
    rehearsal.learn(nightly.format(5), skill=0.82)
    rehearsal.arrive(scenario.nights[2].boards)
    rehearsal.label()
    rehearsal.learn(nightly.format(6), skill=0.84)
    asked = {"model_version": "v5", "bypass": ["promote"], "reason": "line 3 starts on Monday", "actor": "ada"}
    rehearsal.promote("manual__2026-11-06T09:12:00+00:00", **asked)
    rehearsal.roll_back("manual__2026-11-06T11:40:00+00:00", "v4", "bo", "too many false alarms on power boards")
    rehearsal.arrive(scenario.left)
    rehearsal.label(limit=11)


def airflow_pictures(settings: Settings, job: str, folder: Path) -> list[Path]:
    """Airflow's list of the job's DAGs, the last gate of the newest promoting run, its graph, and the trigger form.

    Raises:
        LookupError: no run of `<job>.learn` has promoted anything yet.
    """
    password = (read_secrets(settings.home) | os.environ)["RATCHET_AIRFLOW_PASSWORD"]
    api = AirflowApi(airflow.url(), airflow.USER, password)
    dag = f"{job}.learn"
    run = _promoting_run(api, dag)
    folder.mkdir(parents=True, exist_ok=True)
    with browser_page() as page:
        log_in(page, airflow.url(), airflow.USER, password)
        page.goto(f"{airflow.url()}/dags?tags={job}")
        page.get_by_text(dag, exact=True).first.wait_for()
        taken = [_take(page, folder / "airflow-dags.png")]

        page.goto(f"{airflow.url()}/dags/{dag}/runs/{run}/tasks/gate_promote")
        page.get_by_text("Post Execute").first.wait_for()
        taken.append(_take(page, folder / "airflow-gate.png"))

        page.goto(f"{airflow.url()}/dags/{dag}/runs/{run}")
        page.set_viewport_size({"width": 1440, "height": 580})
        page.get_by_label("Show Graph").click()
        page.get_by_label("Collapse Details Panel").click()
        page.locator(".react-flow__node").first.wait_for()
        page.mouse.move(0, 0)
        page.get_by_label("Fit View").or_(page.locator(".react-flow__controls-fitview")).first.click()
        taken.append(_take(page, folder / "airflow-learn.png"))
        page.set_viewport_size({"width": 1440, "height": 900})

        page.goto(f"{airflow.url()}/dags/{dag}")
        page.get_by_label("Trigger Dag").first.click()
        page.get_by_text("Gates to bypass").first.wait_for()
        taken.append(_take(page, folder / "airflow-trigger.png"))
    return taken


def label_studio_pictures(settings: Settings, job: str, folder: Path) -> list[Path]:
    """Label Studio's list of the job's tasks, lots before the hardest, and the page on which one is labelled.

    Raises:
        LookupError: no task of the job waits to be labelled.
    """
    client = connect(settings)
    found = find_project(client, job)
    waiting = next(tasks.read(LabellingProject(client, found.id), tasks.unfinished()), None) if found else None
    if waiting is None:
        raise LookupError(f"no task of {job} waits in {settings.label_studio_url}; let images arrive first")
    password = (read_secrets(settings.home) | os.environ)["RATCHET_LABEL_STUDIO_PASSWORD"]
    url = settings.label_studio_url
    folder.mkdir(parents=True, exist_ok=True)
    with browser_page() as page:
        page.goto(f"{url}/user/login/")
        page.fill("input[name=email]", label_studio.USER)
        page.fill("input[name=password]", password)
        page.click("button[type=submit]")
        page.wait_for_url(lambda address: "/user/login" not in address)

        page.goto(f"{url}/projects/{found.id}/data")
        page.locator("img[src*='/resolve/']").first.wait_for()
        page.wait_for_load_state("networkidle")
        taken = [_take(page, folder / "label-studio-tasks.png")]

        page.get_by_text("Label All Tasks").click()
        page.locator("canvas").first.wait_for()
        taken.append(_take(page, folder / "label-studio-task.png"))
    return taken


def serving_picture(settings: Settings, job: str, folder: Path) -> Path:
    """The inference server's page with what the serving model finds in an image of the holdout that has many boxes.

    Raises:
        LookupError: the holdout has no labelled image yet, or no model serves.
    """
    workspace = Workspace(settings)
    labelled = list(islice(workspace.ledger.labelled(job, "holdout"), LOOKED_THROUGH))
    if not labelled:
        raise LookupError(f"the holdout of {job} has no labelled image yet; run `make demo` first")
    sample, _ = max(labelled, key=lambda pair: len(pair[1].boxes))
    files = {"image": sample.id, **({"template": sample.template_id} if sample.template_id else {})}
    folder.mkdir(parents=True, exist_ok=True)
    with browser_page() as page:
        page.set_viewport_size({"width": 1280, "height": 1120})
        page.goto(settings.serving_url)
        page.select_option("#job", job)
        for name, content in files.items():
            buffer = workspace.sample_bytes(content)
            page.set_input_files(f"#{name}", {"name": f"{content[:12]}.png", "mimeType": "image/png", "buffer": buffer})
        page.get_by_role("button", name="Predict").click()
        page.locator("#answer, #trouble").locator("visible=true").wait_for()
        if page.locator("#trouble").is_visible():
            raise LookupError(f"the inference server finds nothing: {page.locator('#trouble').inner_text()}")
        return _take(page, folder / "serving.png")


def _promoting_run(api: AirflowApi, dag: str) -> str:
    for run in api.runs(dag):
        if any(task.task_id == "promote" and task.state == "success" for task in api.tasks(dag, run.run_id)):
            return run.run_id
    raise LookupError(f"no run of {dag} has promoted anything yet; run `make demo` first")


def _ratchet(page: Page, stage: Stage) -> FrameLocator:
    """Ratchet's page in Airflow's frame, drawn."""
    page.goto(f"{stage.url}/plugin/ratchet")
    frame = page.frame_locator("iframe")
    frame.locator("#decisions").wait_for()
    return frame


def _take_page(page: Page, stage: Stage, path: Path, height: int = 1500) -> Path:
    page.set_viewport_size({"width": 1440, "height": height})
    _ratchet(page, stage)
    return _take(page, path)


def _take(page: Page, path: Path) -> Path:
    page.wait_for_timeout(SETTLED_MILLISECONDS)
    page.screenshot(path=path)
    return path


def main() -> None:
    """Draw every picture of docs/pictures again: Ratchet's page, and what `make demo` left if there is that."""
    folder = ROOT / "docs" / "pictures"
    for path in page_pictures(folder):
        print(path)
    if not Deployment.exists(home()):
        print("the other pictures are drawn from the deployment that `make demo` leaves; there is none")
        return
    settings = Settings.load()
    for name in ("rounds.png", "boards.png"):
        shutil.copyfile(settings.home / "demo" / name, folder / name)
    airflow_pictures(settings, JOB, folder)
    label_studio_pictures(settings, JOB, folder)
    serving_picture(settings, JOB, folder)


if __name__ == "__main__":
    main()

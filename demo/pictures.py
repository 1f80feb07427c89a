"""Pictures of a running deployment's pages for docs/, taken with a headless Chromium."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from demo.airflow_api import AirflowApi
from pipelines.labelling import tasks
from pipelines.labelling.project import LabellingProject, connect, find_project
from pipelines.settings import ROOT, Settings, read_secrets
from pipelines.workspace import Workspace
from services import airflow, label_studio

if TYPE_CHECKING:
    from playwright.sync_api import Page

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
        page.goto(airflow.url())
        page.fill("input[name=username]", airflow.USER)
        page.fill("input[name=password]", password)
        page.keyboard.press("Enter")
        page.wait_for_url(f"{airflow.url()}/")

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
    """Label Studio's list of the job's tasks, hardest first, and the page on which a person labels the next one.

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


def _take(page: Page, path: Path) -> Path:
    page.wait_for_timeout(SETTLED_MILLISECONDS)
    page.screenshot(path=path)
    return path


def main() -> None:
    """Draw every picture of docs/pictures again, from the deployment that `make demo` left."""
    settings = Settings.load()
    folder = ROOT / "docs" / "pictures"
    for name in ("rounds.png", "boards.png"):
        shutil.copyfile(settings.home / "demo" / name, folder / name)
    airflow_pictures(settings, JOB, folder)
    label_studio_pictures(settings, JOB, folder)
    serving_picture(settings, JOB, folder)


if __name__ == "__main__":
    main()

"""The page in a browser, in a real Airflow, over a real ledger, registry and store."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from demo.pictures import BROWSERS, browser_page, log_in
from demo.rehearsal import Rehearsal
from demo.scenario import synthetic
from demo.stage import VIEWER, Stage, staged
from services import airflow, process
from tests.airflow_home import BROKEN_JOB, JOB

if TYPE_CHECKING:
    from playwright.sync_api import FrameLocator, Page

pytestmark = pytest.mark.slow

RUN = "manual__2026-01-03T02:00:00+00:00"
PATIENCE_MS = 20_000


@dataclass
class Browser:
    """A browser that is logged in to the stage's Airflow, and what went wrong in it."""

    stage: Stage
    page: Page
    errors: list[str]

    def open(self, place: str = "/plugin/ratchet/ratchet/?job=boards", until: str = "#decisions") -> FrameLocator:
        """Go to a place in Airflow; Ratchet's page in its frame, drawn."""
        self.page.goto(f"{self.stage.url}{place}")
        frame = self.page.frame_locator("iframe")
        frame.locator(until).first.wait_for()
        return frame


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stage, Rehearsal]]:
    """Airflow with `boards`, which learnt twice, `new_line`, to which nothing came, and a job whose file is refused."""
    if not any(shutil.which(name) for name in BROWSERS):
        pytest.skip("no Chromium is installed")
    folder = tmp_path_factory.mktemp("stage")
    with staged(folder) as stage:
        scenario = synthetic(
            folder / "boards", ("signal", "mixed"), ("dense",), initial=24, night=16, left=14, size=320
        )
        turned = Rehearsal(stage.workspace, "boards", scenario)
        (stage.workspace.settings.jobs / "new_line.yaml").write_text(JOB.format(name="new_line"))
        (stage.workspace.settings.jobs / "broken.yaml").write_text(BROKEN_JOB)
        stage.know_dags()
        turned.begin(scenario.initial)
        turned.learn("scheduled__2026-01-02T02:00:00+00:00", skill=0.35)
        turned.arrive(scenario.nights[0].boards)
        turned.label()
        turned.learn(RUN, skill=0.6)
        turned.arrive(scenario.left)
        turned.label(limit=3)
        yield stage, turned


@pytest.fixture(scope="module")
def window(rehearsal: tuple[Stage, Rehearsal]) -> Iterator[Browser]:
    stage, _ = rehearsal
    with browser_page() as page:
        errors: list[str] = []
        page.set_default_timeout(PATIENCE_MS)
        log_in(page, stage.url, airflow.USER, stage.passwords[airflow.USER])
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda said: errors.append(f"{said.text} {said.location}") if said.type == "error" else None)
        yield Browser(stage, page, errors)


@pytest.fixture
def browser(window: Browser) -> Iterator[Browser]:
    """The browser as it was at the beginning; what goes wrong in it fails the test."""
    window.errors.clear()
    window.page.set_viewport_size({"width": 1440, "height": 900})
    yield window
    assert window.errors == []


def test_navigation_leads_to_the_jobs_and_an_address_back_to_one(browser: Browser) -> None:
    page = browser.page
    page.goto(browser.stage.url)
    page.locator("a[href$='/plugin/ratchet']").click()
    frame = page.frame_locator("iframe")
    row = frame.get_by_role("row").filter(has_text="broken")
    assert "problems in its file" in row.inner_text()
    assert "nothing yet" in frame.get_by_role("row").filter(has_text="new_line").inner_text()
    frame.get_by_role("link", name="boards").click()
    frame.locator("#decisions").wait_for()
    page.wait_for_url("**/plugin/ratchet/ratchet/?job=boards")
    page.reload()
    page.frame_locator("iframe").locator("#decisions").wait_for()


def test_a_job_to_which_nothing_came_says_how_to_begin(browser: Browser) -> None:
    frame = browser.open("/plugin/ratchet/ratchet/?job=new_line")
    text = frame.locator("#content").inner_text()
    for words in ("inbox/new_line/DOMAIN/", "Nothing yet", "0 of 3 labels", "No image has arrived yet"):
        assert words in text
    for name in ("Train now", "Evaluate", "Promote", "Roll back"):
        button = frame.get_by_role("button", name=name)
        assert button.is_disabled()
        assert button.get_attribute("title")


def test_a_refused_file_shows_its_problems(browser: Browser) -> None:
    frame = browser.open("/plugin/ratchet/ratchet/?job=broken", until=".notice")
    text = frame.locator("#notices").inner_text()
    assert "broken.yaml" in text
    assert "colour" in text
    browser.errors[:] = [error for error in browser.errors if "409" not in error]


def test_a_job_shows_what_it_decided_and_mined(browser: Browser) -> None:
    frame = browser.open()
    text = frame.locator("#content").inner_text()
    for words in ("v2", "promotion 2", "of 16 labels", "ada approves it", "of its error budget left", "labelled"):
        assert words in text
    assert frame.locator(".point").count() == 2
    assert frame.locator(".mark.promoted").count() >= 4
    pictures = frame.locator(".example img")
    pictures.first.scroll_into_view_if_needed()
    pictures.first.evaluate("image => image.decode()")
    assert pictures.first.evaluate("image => image.naturalWidth") == 320
    assert frame.locator(".example").first.locator(".box.predicted").count() > 0

    last, first = (frame.locator(".point").nth(place) for place in (1, 0))
    last.focus()
    assert "against" in frame.locator("#tip").inner_text()
    last.press("ArrowLeft")
    assert first.evaluate("point => point === document.activeElement")
    assert "v1: promoted" in frame.locator("#tip").inner_text()

    frame.get_by_text("The same as a table").click()
    assert frame.locator("#progress table tbody tr").count() == 2
    frame.get_by_label("per class").check()
    frame.locator(".multiples .point").first.wait_for()
    assert frame.locator(".multiples h3").all_inner_texts() == [
        "open",
        "short",
        "mousebite",
        "spur",
        "copper",
        "pin-hole",
    ]


def test_a_picture_can_be_looked_at_and_walked_through(browser: Browser) -> None:
    frame = browser.open()
    frame.locator(".example").first.click()
    dialog = frame.get_by_role("dialog")
    dialog.locator("img").evaluate("image => image.decode()")
    board = dialog.locator("img").get_attribute("src")
    dialog.get_by_label("Its template instead").check()
    assert dialog.locator("img").get_attribute("src") == f"{board}&template=true"
    name = dialog.get_by_role("heading").inner_text()
    dialog.get_by_role("button", name="Older").click()
    assert dialog.get_by_role("heading").inner_text() != name
    browser.page.keyboard.press("Escape")
    dialog.wait_for(state="hidden")


def test_follows_the_theme_of_airflow_at_once(browser: Browser) -> None:
    frame = browser.open()
    ground = "getComputedStyle(document.body).backgroundColor"
    light = frame.locator("body").evaluate(ground)
    browser.page.evaluate("document.documentElement.className = 'dark'")
    frame.locator("html.dark").wait_for()
    assert frame.locator("body").evaluate(ground) != light
    browser.page.evaluate("document.documentElement.className = 'light'")
    frame.locator("html.light").wait_for()
    assert frame.locator("body").evaluate(ground) == light


def test_fits_a_telephone(browser: Browser) -> None:
    page = browser.page
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{browser.stage.url}/ratchet/?job=boards")
    page.locator("#decisions").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.get_by_role("button", name="Promote").click()
    form = page.locator("dialog form")
    form.wait_for()
    box = form.bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390


def test_the_tabs_of_a_dag_and_of_a_run_show_their_job(browser: Browser) -> None:
    for verb in ("learn", "collect"):
        frame = browser.open(f"/dags/boards.{verb}/plugin/ratchet-dag")
        assert frame.get_by_role("heading", name="boards").count() == 1
    browser.stage.api.trigger("boards.learn", {"reason": "to be looked at"}, run_id=RUN)
    frame = browser.open(f"/dags/boards.learn/runs/{RUN}/plugin/ratchet-dag-run")
    frame.get_by_text("this run").wait_for()
    assert "v2" in frame.locator("#decisions tbody tr").first.inner_text()


def test_a_button_starts_a_run_as_the_person_and_the_page_shows_it(browser: Browser) -> None:
    frame = browser.open()
    frame.get_by_role("button", name="Train now").click()
    form = frame.locator("dialog form")
    form.get_by_role("button", name="Train past the gate").click()
    assert frame.locator("dialog").get_by_text("was started").count() == 0  # the reason is missing
    form.get_by_label(re.compile("^Reason")).fill("the line starts on Monday")
    form.get_by_label(re.compile("^Learn from")).select_option("d1")
    form.get_by_role("button", name="Train past the gate").click()
    frame.get_by_text("was started").wait_for()
    run_id = frame.locator("dialog code").inner_text()
    frame.get_by_role("dialog").get_by_role("button", name="Close", exact=True).last.click()
    frame.locator("#under-way").get_by_text("by admin").first.wait_for()

    run = browser.stage.api.run("boards.learn", run_id)
    assert run.triggering_user_name == airflow.USER
    conf = browser.stage.api._ask("GET", f"dags/boards.learn/dagRuns/{run_id}")["conf"]
    asked = {"start_at": "train", "bypass": ["train"], "reason": "the line starts on Monday", "dataset_version": "d1"}
    assert {name: value for name, value in conf.items() if value is not None} == asked

    frame.locator("#under-way").get_by_role("link", name="See the run").first.click()
    browser.page.wait_for_url("**/dags/boards.learn/runs/**")


def test_what_airflow_refuses_is_shown(browser: Browser) -> None:
    frame = browser.open()
    frame.get_by_role("button", name="Roll back").click()
    form = frame.locator("dialog form")
    form.get_by_label(re.compile("^Reason")).fill("it drifts")
    form.get_by_label(re.compile("^Version")).evaluate("select => select.append(new Option('x', 'three', true, true))")
    form.get_by_role("button", name="Roll back").click()
    frame.get_by_role("alert").get_by_text("three").wait_for()
    browser.errors[:] = [error for error in browser.errors if "400" not in error]
    form.get_by_label(re.compile("^Version")).select_option("v1")
    form.get_by_role("button", name="Roll back").click()
    frame.get_by_text("was started").wait_for()


def test_who_may_only_look_sees_everything_and_starts_nothing(browser: Browser) -> None:
    stage = browser.stage
    own = browser.page.context.browser
    assert own is not None
    page = own.new_page()
    log_in(page, stage.url, VIEWER, stage.passwords[VIEWER])
    page.goto(f"{stage.url}/ratchet/?job=boards")
    page.locator("#decisions").wait_for()
    for name in ("Train now", "Evaluate", "Promote", "Roll back"):
        assert page.get_by_role("button", name=name).is_disabled()
        assert "ask Airflow's administrator" in str(page.get_by_role("button", name=name).get_attribute("title"))
    page.context.clear_cookies()
    page.get_by_text("You were logged out.").wait_for()
    assert page.locator("#decisions").count() == 1  # what was known last stays
    page.context.close()


def test_what_is_under_way_and_what_failed_is_shown(browser: Browser) -> None:
    stage, ledger = browser.stage, browser.stage.workspace.ledger
    frame = browser.open()
    run = stage.api.trigger("boards.learn", {"start_at": "promote"})
    stage.park(run, "gate_promote", "deferred")
    ledger.claim_training("boards", "manual__a")
    frame.locator("#under-way").get_by_text("waits at the gate before promotion").wait_for()
    frame.get_by_text("Training now").wait_for()
    ledger.fail_training("boards", "manual__a", "a test")
    stage.api._ask("PATCH", f"dags/boards.learn/dagRuns/{run.run_id}", json={"state": "failed"})
    frame.get_by_text("The newest learn run failed").wait_for()
    frame.get_by_text("Training now").wait_for(state="detached")
    # A sensor tells before it waits; this one never ran.
    browser.errors[:] = [error for error in browser.errors if "xcomEntries/verdict" not in error]


def test_a_question_for_a_person_is_shown_and_leads_to_its_evidence(
    browser: Browser, rehearsal: tuple[Stage, Rehearsal]
) -> None:
    stage, turned = rehearsal
    frame = browser.open()
    run = stage.api.trigger("boards.learn", {"reason": "a better one"})
    question = turned.propose(run.run_id, skill=0.98)
    stage.park(run, "approve", "awaiting_input", question["subject"], question["body"])
    frame.get_by_text("Let v3 of boards serve instead of v2?").wait_for()
    with browser.page.expect_response(re.compile(r"/ratchet/evidence/boards/")) as answer:
        frame.get_by_role("link", name="Look at it and answer").click()
    assert answer.value.status == 200
    assert answer.value.headers["content-type"] == "image/png"
    browser.page.wait_for_url("**/tasks/approve/required_actions")
    browser.errors.clear()  # Airflow looks for an earlier try of the task


def test_without_the_store_the_rest_is_shown(browser: Browser, rehearsal: tuple[Stage, Rehearsal]) -> None:
    process.stop(rehearsal[0].store, grace=0)
    page = browser.page
    page.goto(f"{browser.stage.url}/ratchet/?job=boards")
    page.locator("#decisions").wait_for()
    page.evaluate("caches => fetch(document.querySelector('.example img').src, {cache: 'reload'})")
    page.locator(".example").last.click()
    page.get_by_text("cannot be read from the object store").first.wait_for()
    assert "v2" in page.locator("#content").inner_text()
    browser.errors[:] = [error for error in browser.errors if "503" not in error]

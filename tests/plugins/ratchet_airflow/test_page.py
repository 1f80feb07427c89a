"""The page's routes with Airflow's own users: who may ask what, and what is said where something is missing."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest
from airflow.api_fastapi.app import create_auth_manager, purge_cached_app
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.utils import db
from fastapi.testclient import TestClient
from PIL import Image

from data.images import encode_png
from data.sample import Sample, sha256
from data.store import ObjectStore
from pipelines.evidence import evidence_key
from pipelines.lookout import Lookout, Overviews
from pipelines.workspace import Workspace, sample_key
from tests.pipelines.tiny import picture

pytestmark = pytest.mark.slow

NOBODY_ROUTES = ("/", "/page.js", "/page.css", "/jobs", "/jobs/boards", "/jobs/boards/versions")
DATA_ROUTES = (
    "/jobs/boards",
    "/jobs/boards/versions",
    "/jobs/boards/classes?metric=ap",
    "/jobs/boards/samples/x/image",
    "/jobs/boards/samples/x/task",
    "/evidence/boards/run/board.png",
)


@pytest.fixture(scope="module", autouse=True)
def airflow() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", "a secret that tests sign with " * 3)
        db.initdb()
        create_auth_manager()
        yield
        purge_cached_app()


@pytest.fixture
def looked_at(workspace: Workspace, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Lookout:
    """The deployment with the job `boards`, as the page looks at it."""
    from ratchet_airflow import page

    settings = replace(
        workspace.settings,
        store_endpoint=object_store.endpoint,
        store_bucket=object_store.bucket,
        store_access_key=object_store.access_key,
        store_secret_key=object_store.secret_key,
    )
    lookout = Lookout(settings)
    known = Overviews(lookout)
    monkeypatch.setattr(page, "overviews", lambda: known)
    return lookout


Client = Callable[..., TestClient]


@pytest.fixture
def client(looked_at: Lookout) -> Client:
    """A browser of somebody with a role in Airflow, or of nobody."""
    from airflow.api_fastapi.app import get_auth_manager
    from ratchet_airflow.page import app

    def log_in(role: str | None = "admin", name: str = "ada") -> TestClient:
        made = TestClient(app, follow_redirects=False, raise_server_exceptions=False)
        token = get_auth_manager().generate_jwt(SimpleAuthManagerUser(username=name, role=role))
        made.cookies.set("_token", token)
        return made

    return log_in


@pytest.fixture
def nobody(looked_at: Lookout) -> TestClient:
    from ratchet_airflow.page import app

    return TestClient(app, follow_redirects=False)


@pytest.mark.parametrize("route", sorted({*NOBODY_ROUTES, *DATA_ROUTES}))
def test_every_route_needs_a_user(nobody: TestClient, route: str) -> None:
    assert nobody.get(route).status_code == 401


def test_every_route_there_is_was_asked() -> None:
    from ratchet_airflow.page import app

    shapes = {getattr(route, "path", "") for route in app.routes}
    asked = len({route.partition("?")[0] for route in (*NOBODY_ROUTES, *DATA_ROUTES)})
    assert len(shapes) == asked
    assert not {"/docs", "/redoc", "/openapi.json"} & shapes


@pytest.mark.parametrize("route", DATA_ROUTES)
def test_data_needs_permission_on_the_jobs_dag(client: Client, route: str) -> None:
    answer = client(role=None).get(route)
    assert answer.status_code == 403
    assert answer.json()["detail"] == "ada may not read the DAG boards.learn; ask Airflow's administrator"


def test_a_job_that_may_not_be_read_is_not_listed(client: Client) -> None:
    assert client(role=None).get("/jobs").json()["jobs"] == []
    found = client("viewer").get("/jobs").json()
    assert [job["name"] for job in found["jobs"]] == ["boards"]
    assert (found["user"], found["jobs"][0]["gate"]["met"]) == ("ada", False)


@pytest.mark.parametrize(("role", "may"), [("viewer", False), ("user", True), ("admin", True)])
def test_who_may_start_runs(client: Client, role: str, may: bool) -> None:
    assert client(role).get("/jobs/boards").json()["may"] == {"learn": may, "rollback": may}


def test_an_unchanged_job_is_not_sent_again_but_to_another_user(client: Client, looked_at: Lookout) -> None:
    tag = client().get("/jobs/boards").headers["etag"]
    assert client().get("/jobs/boards", headers={"If-None-Match": tag}).status_code == 304
    assert client().get("/jobs/boards", headers={"If-None-Match": f"W/{tag}"}).status_code == 304
    assert client("viewer").get("/jobs/boards", headers={"If-None-Match": tag}).status_code == 200
    looked_at.ledger.add_sample("boards", sample(b"1"), 1)
    answer = client().get("/jobs/boards", headers={"If-None-Match": tag})
    assert (answer.status_code, answer.json()["counts"]) == (200, {"arrived": 1})


def sample(content: bytes, template: bytes | None = None) -> Sample:
    return Sample(sha256(content), 640, 640, "line", "1.png", "train", sha256(template) if template else None)


def test_images_of_the_job_alone_and_for_ever(client: Client, looked_at: Lookout) -> None:
    board, template, other = (encode_png(picture(seed, 640)) for seed in range(3))
    for content in (board, template, other):
        looked_at.store.put(sample_key(sha256(content)), content)
    looked_at.ledger.add_sample("boards", sample(board, template), 1)
    looked_at.ledger.add_sample("bolts", sample(other), 1)

    def ask(content: bytes, **more: Any) -> Any:
        return client("viewer").get(f"/jobs/boards/samples/{sha256(content)}/image", **more)

    answer = ask(board)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/webp")
    assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert Image.open(io.BytesIO(answer.content)).size == (320, 320)
    assert ask(board, headers={"If-None-Match": answer.headers["etag"]}).status_code == 304
    assert Image.open(io.BytesIO(ask(board, params={"width": 1600}).content)).size == (640, 640)
    assert ask(board, params={"template": "true"}).content != answer.content
    assert ask(board, params={"width": 99999}).status_code == 422
    for stranger in (other, template):
        assert ask(stranger).status_code == 404


def test_what_is_missing_or_broken_is_said(client: Client, looked_at: Lookout) -> None:
    browser = client()
    assert browser.get("/jobs/bolts").status_code == 404
    assert "boards" in browser.get("/jobs/bolts").json()["detail"]
    (looked_at.settings.jobs / "broken.yaml").write_text("name: broken\nclasses: []\n")
    answer = browser.get("/jobs/broken")
    assert (answer.status_code, len(answer.json()["refused"])) == (409, 2)
    assert [job["name"] for job in browser.get("/jobs").json()["jobs"]] == ["boards", "broken"]


def test_a_store_that_is_down_is_said(client: Client, looked_at: Lookout, monkeypatch: pytest.MonkeyPatch) -> None:
    from ratchet_airflow import page

    down = Overviews(Lookout(replace(looked_at.settings, store_endpoint="127.0.0.1:9")))
    monkeypatch.setattr(page, "overviews", lambda: down)
    looked_at.ledger.add_sample("boards", sample(b"1"), 1)
    answer = client().get(f"/jobs/boards/samples/{sha256(b'1')}/image")
    assert answer.status_code == 503
    assert "127.0.0.1:9 did not answer" in answer.json()["detail"]
    assert client().get("/jobs/boards").status_code == 200


def test_a_task_is_found_through_label_studio_or_said_to_be_lost(client: Client, looked_at: Lookout) -> None:
    looked_at.ledger.add_sample("boards", sample(b"1"), 1)
    route = f"/jobs/boards/samples/{sha256(b'1')}/task"
    assert client().get(route).status_code == 404
    looked_at.ledger.select("boards", sha256(b"1"), "IBT", 1.0, 0.5)
    looked_at.ledger.record_push("boards", sha256(b"1"), 7)
    answer = client().get(route)
    assert (answer.status_code, "does not give task 7" in answer.json()["detail"]) == (502, True)


def test_evidence_is_what_the_run_stored(client: Client, looked_at: Lookout) -> None:
    run = "manual__2026-01-01T00:00:00+00:00"
    content = encode_png(picture(1))
    looked_at.store.put(evidence_key("boards", run, "board-1.png"), content)
    answer = client("viewer").get(f"/evidence/boards/{quote(run, safe='')}/board-1.png")
    assert (answer.status_code, answer.headers["content-type"], answer.content) == (200, "image/png", content)
    assert client().get(f"/evidence/boards/{quote(run, safe='')}/board-2.png").status_code == 404


def test_the_page_loads_nothing_from_elsewhere(client: Client) -> None:
    answer = client("viewer").get("/")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    for name in ("/", "/page.js", "/page.css"):
        text = client("viewer").get(name).text
        assert "//cdn" not in text
        assert "https://" not in text
        assert (
            client("viewer").get(name, headers={"If-None-Match": client().get(name).headers["etag"]}).status_code == 304
        )
    assert client().get("/jobs/../../../airflow.cfg").status_code == 404


def test_many_readers_do_not_stop_each_other(client: Client) -> None:
    with ThreadPoolExecutor(8) as people:
        answers = list(people.map(lambda _: client("viewer").get("/jobs/boards").status_code, range(16)))
    assert answers == [200] * 16

"""A server of its own under real requests: what it answers, refuses and says, and that a swap loses no request."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from data.sample import sha256
from data.store import ObjectStore
from pipelines.deploy import Pointer, pointer_key
from pipelines.settings import Settings
from services import process
from tests.serving.stamp import png, serving

pytestmark = pytest.mark.slow

CLIENTS = 4


@pytest.fixture
def record(settings: Settings, tmp_path: Path) -> Iterator[process.Record]:
    """A running server that knows the estimator Stamp."""
    with serving(settings, tmp_path) as record:
        yield record


@pytest.fixture
def client(record: process.Record, settings: Settings) -> Iterator[httpx.Client]:
    """A client of that server."""
    with httpx.Client(base_url=settings.serving_url, timeout=30, trust_env=False) as client:
        yield client


def wait_for_promotion(client: httpx.Client, promotion: int) -> None:
    deadline = time.monotonic() + 30
    while client.get("/jobs/boards").json()["promotion"] != promotion:
        assert time.monotonic() < deadline, client.get("/jobs/boards").text
        time.sleep(0.05)


@contextmanager
def held(hold: Path) -> Iterator[Callable[[], None]]:
    """Holds predictions; calling it waits until one is held."""

    def reached() -> None:
        deadline = time.monotonic() + 30
        while not Path(f"{hold}.reached").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    hold.touch()
    try:
        yield reached
    finally:
        hold.unlink()


def wait_until_refused(url: str) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            httpx.get(url, trust_env=False)
        except httpx.ConnectError:
            return
    pytest.fail(f"{url} still takes connections")


def sample(text: str, name: str) -> float:
    """The value of a metric in Prometheus text."""
    return float(next(line.rsplit(" ", 1)[1] for line in text.splitlines() if line.startswith(name)))


def test_server_with_nothing_promoted_says_so(client: httpx.Client) -> None:
    assert client.get("/health/live").json() == {"live": True}
    assert client.get("/health/ready").json() == {"ready": True, "waiting": []}
    answer = client.post("/jobs/boards/predict", content=png())
    assert answer.status_code == 503
    assert answer.json()["detail"] == "nothing serves boards: no model of it is promoted yet"
    status = client.get("/jobs/boards").json()
    assert (status["model_version"], status["promotion"], status["problem"]) == (None, None, None)


def test_answer_says_what_was_found_by_which_version(client: httpx.Client, publish: Callable[..., Pointer]) -> None:
    publish("v3", 7)
    wait_for_promotion(client, 7)
    image = png(64, 48)
    assert client.post("/jobs/boards/predict", content=image).json() == {
        "job": "boards",
        "model_version": "v3",
        "promotion": 7,
        "sample_id": sha256(image),
        "width": 64,
        "height": 48,
        "threshold": 0.5,
        "boxes": [{"x1": 0.0, "y1": 0.0, "x2": 64.0, "y2": 48.0, "label": "v3", "score": 0.9}],
    }
    both = client.post("/jobs/boards/predict", files={"image": image, "template": png(64, 48)})
    assert both.json()["boxes"][0]["label"] == "v3 with template"
    [status] = client.get("/jobs").json()
    assert status == client.get("/jobs/boards").json()
    assert (status["model_version"], status["since"]) == ("v3", "2026-11-20T10:00:00+00:00")

    metrics = client.get("/metrics").text
    assert sample(metrics, 'ratchet_serving_promotion{job="boards",version="v3"}') == 7
    assert sample(metrics, 'ratchet_serving_requests_total{job="boards",outcome="ok"}') == 2
    assert sample(metrics, 'ratchet_serving_request_seconds_count{job="boards"}') == 2
    assert sample(metrics, 'ratchet_serving_swaps_total{job="boards"}') == 1
    assert sample(metrics, "process_resident_memory_bytes") > 1e6


def test_bad_requests_are_refused_with_every_reason(client: httpx.Client, publish: Callable[..., Pointer]) -> None:
    publish("v1", 1)
    wait_for_promotion(client, 1)
    url = "/jobs/boards/predict"
    for request in (
        {"content": b""},
        {"content": b"no image"},
        {"content": png()[:60]},
        {"content": png(8, 8)},
        {"files": {"image": b"no image"}},
        {"files": {"picture": png()}},
        {"files": {"template": png()}},
        {"data": {"image": "text"}, "files": {"template": png()}},
        {"files": [("image", png()), ("image", png())]},
        {"files": {"image": png(64, 48), "template": png(48, 64)}},
        {"content": b"--x", "headers": {"content-type": "multipart/form-data"}},
        {"content": b"--y\r\nrubbish", "headers": {"content-type": "multipart/form-data; boundary=x"}},
    ):
        answer = client.post(url, **request)
        assert answer.status_code == 422, answer.text
        assert answer.json()["problems"]
        assert answer.json()["detail"].startswith("the image is refused: ")
    several = client.post(url, files={"image": b"no image", "template": b"nor this"}).json()["problems"]
    assert len(several) == 2

    assert client.post(url, content=bytes(1_000_001)).status_code == 413
    assert client.post(url, files={"image": bytes(2_100_000)}).status_code == 413
    unknown = client.post("/jobs/welds/predict", content=png())
    assert unknown.status_code == 404
    assert unknown.json()["detail"] == "there is no job 'welds': the jobs are boards"
    assert client.post(url, content=png()).status_code == 200


def test_image_that_the_estimator_cannot_use_is_refused(client: httpx.Client, publish: Callable[..., Pointer]) -> None:
    publish("v1", 1)
    wait_for_promotion(client, 1)
    answer = client.post("/jobs/boards/predict", content=png(grey=5))
    assert (answer.status_code, answer.json()["problems"]) == (422, ["it is too dark"])


def test_failure_of_the_estimator_is_one_answer(client: httpx.Client, publish: Callable[..., Pointer]) -> None:
    publish("v1", 1)
    wait_for_promotion(client, 1)
    answer = client.post("/jobs/boards/predict", content=png(grey=0))
    assert answer.status_code == 500
    assert "v1 failed on this image: ArithmeticError: there is nothing to see" in answer.json()["detail"]
    assert client.post("/jobs/boards/predict", content=png()).status_code == 200


def test_slow_prediction_does_not_block_the_rest(
    client: httpx.Client, publish: Callable[..., Pointer], tmp_path: Path
) -> None:
    publish("v1", 1, hold=tmp_path / "hold")
    wait_for_promotion(client, 1)
    with ThreadPoolExecutor(CLIENTS) as pool:
        with held(tmp_path / "hold") as reached:
            answers = [pool.submit(client.post, "/jobs/boards/predict", content=png()) for _ in range(CLIENTS)]
            reached()
            assert client.get("/health/live").status_code == 200
            assert not any(answer.done() for answer in answers)
        assert [answer.result().status_code for answer in answers] == [200] * CLIENTS


def test_no_request_fails_while_promotions_change(
    client: httpx.Client, publish: Callable[..., Pointer], object_store: ObjectStore
) -> None:
    publish("v1", 1, seconds=0.02)
    wait_for_promotion(client, 1)
    over = threading.Event()

    def ask() -> list[tuple[int, str, int, str]]:
        seen = []
        while not over.is_set():
            answer = client.post("/jobs/boards/predict", content=png())
            said = answer.json()
            seen.append((answer.status_code, said["model_version"], said["promotion"], said["boxes"][0]["label"]))
        return seen

    with ThreadPoolExecutor(CLIENTS) as pool:
        asking = [pool.submit(ask) for _ in range(CLIENTS)]
        for promotion, version in ((2, "v2"), (3, "v3"), (4, "v1")):
            time.sleep(0.3)
            publish(version, promotion, seconds=0.02)
            wait_for_promotion(client, promotion)
        damaged = publish("v4", 5, point=False)
        object_store.put(damaged.model.key, b"damaged")
        object_store.put(pointer_key("boards"), damaged.model_dump_json().encode())
        time.sleep(0.5)
        over.set()
        answers = [each.result() for each in asking]

    versions = {1: "v1", 2: "v2", 3: "v3", 4: "v1"}
    for seen in answers:
        assert {status for status, *_ in seen} == {200}
        promotions = [promotion for _, _, promotion, _ in seen]
        assert promotions == sorted(promotions)
        assert all(version == versions[promotion] == label for _, version, promotion, label in seen)
    assert {promotion for seen in answers for _, _, promotion, _ in seen} == {1, 2, 3, 4}
    status = client.get("/jobs/boards").json()
    assert status["promotion"] == 4
    assert "are damaged" in status["problem"]
    assert sample(client.get("/metrics").text, 'ratchet_serving_swap_failures_total{job="boards"}') >= 1
    assert client.get("/health/ready").status_code == 200


def test_request_in_flight_is_answered_by_the_model_it_began_with(
    client: httpx.Client, publish: Callable[..., Pointer], tmp_path: Path
) -> None:
    publish("v1", 1, hold=tmp_path / "hold")
    wait_for_promotion(client, 1)
    with ThreadPoolExecutor(1) as pool:
        with held(tmp_path / "hold") as reached:
            slow = pool.submit(client.post, "/jobs/boards/predict", content=png())
            reached()
            publish("v2", 2)
            wait_for_promotion(client, 2)
            assert client.post("/jobs/boards/predict", content=png()).json()["boxes"][0]["label"] == "v2"
            assert not slow.done()
        said = slow.result().json()
    assert (said["model_version"], said["promotion"], said["boxes"][0]["label"]) == ("v1", 1, "v1")


def test_killed_server_comes_back_with_what_is_promoted(
    client: httpx.Client, record: process.Record, settings: Settings, publish: Callable[..., Pointer], tmp_path: Path
) -> None:
    publish("v1", 1)
    wait_for_promotion(client, 1)
    os.kill(record.pid, signal.SIGKILL)
    psutil.Process(record.pid).wait(10)
    publish("v2", 2)
    with serving(settings, tmp_path):
        wait_for_promotion(client, 2)
        assert client.post("/jobs/boards/predict", content=png()).json()["model_version"] == "v2"


def test_termination_lets_requests_end(
    client: httpx.Client,
    record: process.Record,
    settings: Settings,
    publish: Callable[..., Pointer],
    tmp_path: Path,
) -> None:
    publish("v1", 1, hold=tmp_path / "hold")
    wait_for_promotion(client, 1)
    with ThreadPoolExecutor(1) as pool:
        with held(tmp_path / "hold") as reached:
            slow = pool.submit(client.post, "/jobs/boards/predict", content=png())
            reached()
            os.kill(record.pid, signal.SIGTERM)
            wait_until_refused(settings.serving_url)
        assert slow.result().status_code == 200


def test_interface_describes_itself(client: httpx.Client) -> None:
    described = client.get("/openapi.json").json()
    body = described["paths"]["/jobs/{job}/predict"]["post"]["requestBody"]["content"]
    assert set(body) == {"multipart/form-data", "image/*"}
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "http://" not in page.text.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in page.text

"""A follower takes up whole, promoted models only, and never lets go of the one that serves for less."""

from __future__ import annotations

import os
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data.archive import write_archive
from data.sample import Example, sha256
from data.store import ObjectStore
from pipelines.deploy import ModelObject, Pointer, pointer_key
from pipelines.job import load_job
from pipelines.settings import Settings
from serving import swap
from serving.metrics import Metrics
from serving.swap import Follower, ModelCache

pytestmark = pytest.mark.slow

IMAGE = Example("", np.full((32, 32), 255, dtype=np.uint8), None, (), "default")


@pytest.fixture
def follower(settings: Settings, object_store: ObjectStore) -> Follower:
    """The follower of the job `boards`, which looks only when the test says so."""
    job = load_job(settings.jobs / "boards.yaml")
    return Follower(job, object_store, ModelCache(object_store, settings.home / "serving"), Metrics())


def served(follower: Follower) -> tuple[str, int]:
    assert follower.served is not None
    return follower.served.pointer.version, follower.served.pointer.promotion


def impatient(follower: Follower) -> None:
    """Let the next look try again at once."""
    follower._try_again_at = 0


def test_nothing_promoted_is_no_problem(follower: Follower) -> None:
    follower.look()
    assert follower.served is None
    assert follower.problem is None
    assert follower.ready


def test_first_start_finds_no_bucket(follower: Follower, object_store: ObjectStore) -> None:
    object_store.client.remove_bucket(object_store.bucket)
    follower.look()
    assert (follower.served, follower.problem, follower.ready) == (None, None, True)


def test_promotion_is_taken_up_with_its_own_weights(follower: Follower, publish: Callable[..., Pointer]) -> None:
    for number, version in enumerate(("v1", "v2"), start=1):
        publish(version, number)
        follower.look()
        assert served(follower) == (version, number)
        assert follower.served is not None
        assert follower.served.model.predict(IMAGE)[0].label == version


def test_unchanged_pointer_is_not_read_again(
    follower: Follower, publish: Callable[..., Pointer], object_store: ObjectStore
) -> None:
    pointer = publish("v1", 1)
    follower.look()
    first = follower.served
    object_store.delete(pointer.model.key)
    follower.look()
    assert follower.served is first
    assert follower.problem is None


def test_rollback_is_a_new_promotion_of_an_older_version(follower: Follower, publish: Callable[..., Pointer]) -> None:
    for number, version in enumerate(("v1", "v2", "v1"), start=1):
        publish(version, number)
        follower.look()
    assert served(follower) == ("v1", 3)


def test_older_promotion_never_replaces_a_newer(follower: Follower, publish: Callable[..., Pointer]) -> None:
    publish("v2", 2)
    follower.look()
    publish("v1", 1)
    follower.look()
    assert served(follower) == ("v2", 2)
    assert "went back from promotion 2 to 1" in str(follower.problem)


def test_same_model_promoted_again_is_not_loaded_again(
    follower: Follower, publish: Callable[..., Pointer], object_store: ObjectStore
) -> None:
    pointer = publish("v1", 1)
    follower.look()
    again = pointer.model_copy(update={"promotion": 2})
    assert follower.served is not None
    model = follower.served.model
    object_store.put(pointer_key("boards"), again.model_dump_json().encode())
    follower.look()
    assert served(follower) == ("v1", 2)
    assert follower.served.model is model


@pytest.mark.parametrize("damage", ["flipped byte", "truncated", "missing", "not a tar"])
def test_damaged_model_keeps_the_old_one_and_is_retried(
    damage: str, follower: Follower, publish: Callable[..., Pointer], object_store: ObjectStore
) -> None:
    publish("v1", 1)
    follower.look()
    pointer = publish("v2", 2)
    whole = object_store.get(pointer.model.key)
    damaged = {
        "flipped byte": whole[:700] + bytes([whole[700] ^ 1]) + whole[701:],
        "truncated": whole[:-100],
        "not a tar": b"not a tar",
    }
    if damage == "missing":
        object_store.delete(pointer.model.key)
    else:
        object_store.put(pointer.model.key, damaged[damage])

    follower.look()
    assert served(follower) == ("v1", 1)
    assert pointer.model.key in str(follower.problem)
    assert "v1 (promotion 1) goes on serving" in str(follower.problem)
    assert follower.ready

    object_store.put(pointer.model.key, whole)
    impatient(follower)
    follower.look()
    assert served(follower) == ("v2", 2)
    assert follower.problem is None


def test_model_that_cannot_predict_does_not_serve(follower: Follower, publish: Callable[..., Pointer]) -> None:
    publish("v1", 1)
    follower.look()
    publish("broken", 2)
    follower.look()
    assert served(follower) == ("v1", 1)
    assert "ArithmeticError: there is nothing to see" in str(follower.problem)


@pytest.mark.parametrize(
    ("change", "words"),
    [((b'"Stamp"', b'"Other"'), "registered as 'Other'"), ((b'"v2"', b'"v3"'), "weights.json is not the file")],
)
def test_promoted_model_that_is_no_model_here_does_not_serve(
    change: tuple[bytes, bytes],
    words: str,
    follower: Follower,
    publish: Callable[..., Pointer],
    object_store: ObjectStore,
) -> None:
    publish("v1", 1)
    follower.look()
    pointer = publish("v2", 2)
    foreign = object_store.get(pointer.model.key).replace(*change)
    object_store.put(pointer.model.key, foreign)
    model = ModelObject(key=pointer.model.key, sha256=sha256(foreign))
    pointer = pointer.model_copy(update={"model": model})
    object_store.put(pointer_key("boards"), pointer.model_dump_json().encode())
    follower.look()
    assert served(follower) == ("v1", 1)
    assert words in str(follower.problem)


def test_first_model_damaged_is_not_ready(
    follower: Follower, publish: Callable[..., Pointer], object_store: ObjectStore
) -> None:
    pointer = publish("v1", 1)
    object_store.put(pointer.model.key, b"damaged")
    follower.look()
    assert not follower.ready
    assert "nothing serves" in str(follower.problem)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"no json", "its pointer is not one"),
        (b"{}", "version: Field required; promotion: Field required"),
        (b"", "its pointer is not one"),
    ],
)
def test_pointer_that_is_none_is_named(
    content: bytes, words: str, follower: Follower, publish: Callable[..., Pointer], object_store: ObjectStore
) -> None:
    publish("v1", 1)
    follower.look()
    object_store.put(pointer_key("boards"), content)
    follower.look()
    assert served(follower) == ("v1", 1)
    assert words in str(follower.problem)


def test_pointer_of_another_job_is_refused(
    follower: Follower, publish: Callable[..., Pointer], object_store: ObjectStore
) -> None:
    foreign = publish("v1", 1).model_copy(update={"job": "welds"})
    object_store.put(pointer_key("boards"), foreign.model_dump_json().encode())
    follower.look()
    assert follower.served is None
    assert "'welds'" in str(follower.problem)


def test_pointer_gone_keeps_serving(
    follower: Follower, publish: Callable[..., Pointer], object_store: ObjectStore
) -> None:
    publish("v1", 1)
    follower.look()
    object_store.delete(pointer_key("boards"))
    follower.look()
    assert served(follower) == ("v1", 1)
    assert "its pointer is gone" in str(follower.problem)
    publish("v2", 2)
    follower.look()
    assert served(follower) == ("v2", 2)
    assert follower.problem is None


def test_store_out_of_reach_keeps_serving(
    follower: Follower, publish: Callable[..., Pointer], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish("v1", 1)
    follower.look()
    nowhere = ObjectStore("127.0.0.1:9", "nobody", "nothing", "none", patience=0.2)
    reachable = follower._store
    follower._store = nowhere
    follower.look()
    assert served(follower) == ("v1", 1)
    assert "the store cannot be asked" in str(follower.problem)
    assert follower.ready
    follower._store = reachable
    follower.look()
    assert follower.problem is None


def test_model_is_downloaded_once_and_verified_whenever_read(
    settings: Settings, object_store: ObjectStore, publish: Callable[..., Pointer]
) -> None:
    folder = settings.home / "serving"
    model = publish("v1", 1).model
    ModelCache(object_store, folder).load(model)
    whole = object_store.get(model.key)
    object_store.delete(model.key)
    ModelCache(object_store, folder).load(model)

    (folder / f"{model.sha256}.tar").write_bytes(whole[:-1])
    object_store.put(model.key, whole)
    ModelCache(object_store, folder).load(model)
    assert (folder / f"{model.sha256}.tar").read_bytes() == whole


def test_two_servers_may_share_the_cache(
    settings: Settings, object_store: ObjectStore, publish: Callable[..., Pointer]
) -> None:
    model = publish("v1", 1).model
    failures: list[Exception] = []

    def load() -> None:
        try:
            ModelCache(object_store, settings.home / "serving").load(model)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert [path.name for path in (settings.home / "serving").iterdir()] == [f"{model.sha256}.tar"]


def test_cache_keeps_the_models_used_last(tmp_path: Path, object_store: ObjectStore) -> None:
    for number in range(swap.KEPT_MODELS + 3):
        file = tmp_path / f"{number}.tar"
        file.touch()
        os.utime(file, (number, number))
    (tmp_path / "0.left-by-a-killed-download.partial").touch()
    os.utime(tmp_path / "0.left-by-a-killed-download.partial", (0, 0))
    ModelCache(object_store, tmp_path).prune()
    assert sorted(int(path.stem) for path in tmp_path.iterdir()) == list(range(3, swap.KEPT_MODELS + 3))


def test_archive_cannot_write_outside_its_folder(tmp_path: Path, object_store: ObjectStore) -> None:
    write_archive(tmp_path / "evil.tar", [("../outside", b"")])
    archive = (tmp_path / "evil.tar").read_bytes()
    object_store.put("models/evil", archive)
    with pytest.raises(tarfile.OutsideDestinationError):
        ModelCache(object_store, tmp_path / "cache").load(ModelObject(key="models/evil", sha256=sha256(archive)))

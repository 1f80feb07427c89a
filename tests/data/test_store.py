"""One contract for every S3 server that Ratchet supports, against real servers."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from data import store as store_module
from data.store import Conflict, ObjectMissing, ObjectStore, StoreRefused, StoreUnreachable
from services import object_store as servers
from services import process

pytestmark = pytest.mark.slow

NAMES = ["plain", "we ird/ä+%20&?#.png", "a b+c", "quo'te\"", "tab\tx", "é/ü.png", "deep/er/est"]


@pytest.fixture(params=["seaweedfs", "minio"])
def store(request: pytest.FixtureRequest, fresh_bucket: Callable[[str], ObjectStore]) -> ObjectStore:
    fixture = {"seaweedfs": "object_store_server", "minio": "minio_server"}[request.param]
    return fresh_bucket(request.getfixturevalue(fixture))


@pytest.mark.parametrize("key", NAMES)
def test_what_was_put_comes_back_whatever_its_name(store: ObjectStore, key: str) -> None:
    content = bytes(range(256)) * 40
    etag = store.put(key, content, "image/png")
    assert store.get_with_etag(key) == (content, etag)
    assert store.etag(key) == etag
    assert store.exists(key)
    assert [(item.key, item.size, item.etag) for item in store.list("")] == [(key, len(content), etag)]
    store.put(key, b"")
    assert store.get(key) == b""


def test_what_is_missing_is_missing(store: ObjectStore, tmp_path: Path) -> None:
    for action in (
        lambda: store.get("none"),
        lambda: store.copy("none", "b"),
        lambda: store.download("none", tmp_path / "b"),
    ):
        with pytest.raises(ObjectMissing, match="there is no object 'none' in the bucket 'test-"):
            action()
    assert store.etag("none") is None
    assert not store.exists("none")
    assert list(tmp_path.iterdir()) == []
    store.delete("none")


def test_a_deleted_object_is_gone(store: ObjectStore) -> None:
    store.put("key", b"1")
    store.delete("key")
    assert not store.exists("key")
    assert list(store.list("")) == []


def test_the_first_put_new_wins(store: ObjectStore) -> None:
    assert store.put_new("key", b"first")
    assert not store.put_new("key", b"second")
    assert store.get("key") == b"first"


def test_of_many_at_once_exactly_one_wins_and_it_is_the_one_that_is_stored(store: ObjectStore) -> None:
    for attempt in range(5):
        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(lambda number, key=f"race{attempt}": store.put_new(key, b"%d" % number), range(8)))
        assert won.count(True) == 1
        assert store.get(f"race{attempt}") == b"%d" % won.index(True)


def test_json_is_written_over_exactly_what_was_read(store: ObjectStore) -> None:
    with pytest.raises(Conflict):
        store.put_json("pointer", {"version": "v1"}, "0" * 32)
    first = store.put_json("pointer", {"version": "v1", "why": "größer"}, "")
    assert store.get_with_etag("pointer") == ('{"version": "v1", "why": "größer"}'.encode(), first)
    with pytest.raises(Conflict, match="'pointer' is not what was expected"):
        store.put_json("pointer", {"version": "v2"}, "")
    second = store.put_json("pointer", {"version": "v2"}, first)
    with pytest.raises(Conflict):
        store.put_json("pointer", {"version": "v3"}, first)
    assert store.get_with_etag("pointer") == (b'{"version": "v2"}', second)
    assert store.put_json("pointer", {"version": "v4"}, None) == store.etag("pointer")


def test_a_counter_raised_by_many_writers_loses_nothing(store: ObjectStore) -> None:
    store.put_json("counter", 0, "")

    def raise_it(_: int) -> None:
        while True:
            content, etag = store.get_with_etag("counter")
            try:
                store.put_json("counter", int(content) + 1, etag)
            except Conflict:
                continue
            return

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(raise_it, range(20)))
    assert store.get("counter") == b"20"


def test_a_listing_is_complete_over_many_pages(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "PAGE", 7)
    keys = {f"in/{folder}/{number}{end}" for folder in "ab" for number in range(12) for end in (".png", "-1.png", "/x")}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: store.put(key, b"1"), [*keys, "other/1"]))
    listed = [item.key for item in store.list("in/")]
    assert set(listed) == keys
    assert len(listed) == len(keys)
    assert [item.key for item in store.list("in/", limit=9)] == listed[:9]
    assert [item.key for item in store.list("in/", start_after=listed[30])] == listed[31:]
    assert [item.key for item in store.list("in/a/1")] == [key for key in listed if key.startswith("in/a/1")]
    assert list(store.list("none/")) == []


def test_more_than_a_thousand_objects_are_listed_and_folder_markers_are_not(store: ObjectStore) -> None:
    store.put("many/", b"")
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: store.put(f"many/{number:04}", b""), range(1010)))
    assert [item.key for item in store.list("many/")] == [f"many/{number:04}" for number in range(1010)]
    store.delete("many/")


def test_files_go_up_and_come_down(store: ObjectStore, tmp_path: Path) -> None:
    content = bytes(range(256)) * 50_000
    (tmp_path / "up").write_bytes(content)
    store.upload(tmp_path / "up", "file")
    store.copy("file", "copy")
    store.download("copy", tmp_path / "down")
    assert (tmp_path / "down").read_bytes() == content
    assert {path.name for path in tmp_path.iterdir()} == {"up", "down"}


def test_a_presigned_url_reads_one_object_without_secrets(store: ObjectStore) -> None:
    store.put("a key", b"1", "image/png")
    store.put("another", b"2")
    url = store.presigned_get("a key", 60)
    with urllib.request.urlopen(url) as response:
        assert response.read() == b"1"
        assert response.headers["Content-Type"] == "image/png"
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(url.replace("a%20key", "another"))


def test_a_bucket_is_made_once(store: ObjectStore) -> None:
    store.put("key", b"1")
    store.ensure_bucket()
    assert store.get("key") == b"1"


def test_writing_into_a_bucket_that_is_not_there_says_so(store: ObjectStore) -> None:
    elsewhere = ObjectStore(store.endpoint, "ratchet-test", "ratchet-test-secret", "never-made")
    for action in (lambda: elsewhere.put_new("key", b"1"), lambda: elsewhere.get("key"), lambda: [*elsewhere.list("")]):
        with pytest.raises(StoreRefused, match=r"NoSuchBucket.*'never-made'"):
            action()


def test_a_wrong_secret_says_where_the_right_one_is_kept(store: ObjectStore) -> None:
    stranger = ObjectStore(store.endpoint, "ratchet-test", "not-the-secret", store.bucket)
    for action in (lambda: stranger.put_new("key", b"1"), lambda: stranger.get("key"), lambda: [*stranger.list("")]):
        with pytest.raises(StoreRefused, match="RATCHET_STORE_SECRET_KEY"):
            action()


def test_a_server_that_is_not_there_is_one_clear_error() -> None:
    store = ObjectStore("127.0.0.1:1", "key", "secret-key", "bucket", patience=0.3)
    with pytest.raises(StoreUnreachable, match=r"127\.0\.0\.1:1 did not answer within 0\.3 s .*`make up`"):
        store.get("key")


def test_a_write_waits_for_a_server_that_comes_back(tmp_path: Path) -> None:
    port = servers.free_seaweedfs_port()
    server = servers.seaweedfs(tmp_path / "data", port, "ratchet-test", "ratchet-test-secret")

    def start() -> process.Record:
        return process.start(server.name, server.command, tmp_path / "record", tmp_path / "log", server.environment)

    first = start()
    process.wait_until(server.ready, 60, first)
    store = ObjectStore(f"127.0.0.1:{port}", "ratchet-test", "ratchet-test-secret", "bucket")
    store.ensure_bucket()
    process.stop(first, grace=0)
    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(store.put_new, "key", b"1")
        second = start()
        try:
            assert written.result()
            assert store.get("key") == b"1"
        finally:
            process.stop(second, grace=0)

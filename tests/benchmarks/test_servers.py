"""The servers beside a benchmark are real ones: what is put is listed, what is poked is counted."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from benchmarks.servers import SENSOR_ENVIRONMENT, put_objects, s3_key_sensor, seaweedfs
from data.store import ObjectStore
from pipelines.settings import Settings


@pytest.mark.slow
def test_objects_are_put_until_the_deadline_and_the_sensor_sees_each(tmp_path: Path) -> None:
    with seaweedfs(tmp_path) as (environment, process):
        settings = Settings.load(environment)
        store = ObjectStore(
            settings.store_endpoint, settings.store_access_key, settings.store_secret_key, settings.store_bucket
        )
        store.ensure_bucket()
        assert put_objects(environment, "some/", 1234, time.monotonic() + 60) == 1234
        assert put_objects(environment, "none/", 1000, time.monotonic()) == 0
        listed = list(store.list(""))
        assert [stored.key for stored in listed] == [f"some/{number:07d}.json" for number in range(1234)]
        assert {stored.size for stored in listed} == {0}
        assert process.is_running()
        if not SENSOR_ENVIRONMENT.exists():
            pytest.skip(f"there is no {SENSOR_ENVIRONMENT}, the environment of S3KeySensor; the benchmark makes it")
        with s3_key_sensor(environment, tmp_path) as poke:
            few, enough = poke("some/*.json", 1235), poke("some/*.json", 1234)
    assert (few["met"], enough["met"]) == (False, True)
    assert few["objects"] == 1234
    assert few["requests"] == 2
    assert few["read_bytes"] > 100_000
    assert not process.is_running()

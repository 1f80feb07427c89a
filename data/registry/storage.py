"""The bytes of the registry: tracked by DVC, kept in its local cache and in the object store as its remote."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data.dataset import Blob
from data.failpoint import failpoint
from data.store import ObjectMissing, ObjectStore

CHUNK = 1 << 20
DVC_FILES = {
    ".dvc/.gitignore": "/config.local\n/tmp\n/cache\n/site\n",
    ".dvcignore": "",
    ".gitignore": "*.tar\n*.parquet\n",
}
DVC_CONFIG = """\
[core]
    remote = store
    analytics = false
    check_update = false
[cache]
    type = "reflink,hardlink,copy"
['remote "store"']
    url = s3://{bucket}/dvc
    endpointurl = {endpoint}
    region = us-east-1
"""


class RegistryDamaged(RuntimeError):
    """Bytes that a version names are missing from the store, or are not the ones it names."""


class Storage:
    """The files that DVC tracks in `clone`, with `store` as the remote."""

    def __init__(self, clone: Path, store: ObjectStore):
        self.clone = clone
        self.store = store

    def begin(self) -> None:
        """Write the files of an empty DVC repository."""
        config = DVC_CONFIG.format(bucket=self.store.bucket, endpoint=self._endpoint)
        (self.clone / ".dvc").mkdir(exist_ok=True)
        for name, content in {**DVC_FILES, ".dvc/config": config}.items():
            (self.clone / name).write_text(content)

    def push(self, paths: Sequence[Path]) -> list[Blob]:
        """Track files of the clone with DVC and push their bytes to the store."""
        from dvc.repo import Repo

        blobs = [blob_of(path) for path in paths]
        with Repo(str(self.clone), config=self._dvc_config(), _wait_for_lock=True) as repo, repo.lock:
            hashes = set()
            for path in paths:
                # Not Repo.add: it reads every .dvc file there is, so each version would cost more than the last.
                stage = repo.stage.create(
                    single_stage=True, validate=False, fname=f"{path}.dvc", wdir=str(path.parent), outs=[path.name]
                )
                stage.add_outs()
                stage.dump()
                hashes.add(stage.outs[0].hash_info)
            failpoint("registry.added")
            failed = repo.cloud.push(hashes).failed
        if failed:
            raise RegistryDamaged(f"{len(failed)} of {len(paths)} files could not be pushed to {self.store.endpoint}")
        failpoint("registry.pushed")
        return blobs

    def local(self, blob: Blob) -> Path:
        """The file of a blob in the DVC cache, downloaded and verified if it is not there yet.

        Raises:
            RegistryDamaged: the store has no such object, or other bytes under its key.
        """
        cached = self.clone / ".dvc/cache/files/md5" / blob.md5[:2] / blob.md5[2:]
        if not cached.exists():
            cached.parent.mkdir(parents=True, exist_ok=True)
            arriving = cached.with_name(f"{cached.name}.{time.monotonic_ns()}")
            try:
                self.download(blob, arriving)
                arriving.chmod(0o444)
                arriving.replace(cached)
            finally:
                arriving.unlink(missing_ok=True)
        return cached

    def download(self, blob: Blob, path: Path) -> None:
        """Write the bytes of a blob from the store into the file `path`.

        Raises:
            RegistryDamaged: the store has no such object, or other bytes under its key.
        """
        try:
            self.store.download(blob.key, path)
        except ObjectMissing as error:
            raise RegistryDamaged(f"{error}; push it again from a machine that has it in its DVC cache") from None
        found = blob_of(path)
        if found != blob:
            raise RegistryDamaged(f"the object {blob.key} has the SHA-256 {found.sha256}, not {blob.sha256}")

    @property
    def _endpoint(self) -> str:
        return f"{'https' if self.store.secure else 'http'}://{self.store.endpoint}"

    def _dvc_config(self) -> dict[str, dict[str, Any]]:
        """What DVC must know and no commit may: where the store is for this process, and the secrets."""
        remote = {
            "url": f"s3://{self.store.bucket}/dvc",
            "endpointurl": self._endpoint,
            "access_key_id": self.store.access_key,
            "secret_access_key": self.store.secret_key,
        }
        return {"remote": {"store": remote}, "core": {"site_cache_dir": str(self.clone / ".dvc/site")}}


def blob_of(path: Path) -> Blob:
    """The hashes and the size of a file."""
    md5, sha256, size = hashlib.md5(usedforsecurity=False), hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            md5.update(chunk)
            sha256.update(chunk)
            size += len(chunk)
    return Blob(md5.hexdigest(), sha256.hexdigest(), size)

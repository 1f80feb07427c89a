"""The object store: bytes by key in one bucket of an S3 server, with conditional writes."""

from __future__ import annotations

import io
import itertools
import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import urllib3
from minio import Minio
from minio.commonconfig import CopySource
from minio.datatypes import Object as MinioObject
from minio.error import S3Error, ServerError
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_exponential_jitter

Result = TypeVar("Result")

PAGE = 1000
PATIENCE = 30.0
TRANSIENT = ("InternalError", "ServiceUnavailable", "SlowDown", "XMinioServerNotInitialized")
MISSING = ("NoSuchKey", "NoSuchObject")
SETTING = "[ratchet] store_endpoint in airflow.cfg"


class ObjectMissing(KeyError):
    """There is no object of that key."""

    def __init__(self, bucket: str, key: str):
        self.key = key
        super().__init__(f"there is no object {key!r} in the bucket {bucket!r}")

    def __str__(self) -> str:
        return str(self.args[0])


class Conflict(RuntimeError):
    """A conditional write found another object than the one that was expected; read it again and decide anew."""


class StoreRefused(RuntimeError):
    """The object store refused a request; the message holds its answer."""


class StoreUnreachable(ConnectionError):
    """The object store did not answer; nothing is known about a write that was under way."""


@dataclass(frozen=True)
class StoredObject:
    """What a listing says about one object; `size` in bytes."""

    key: str
    size: int
    etag: str
    last_modified: datetime


class ObjectStore:
    """One bucket of an S3 server; safe to share between threads.

    Every method tries again for `patience` seconds while the server does not answer, then raises StoreUnreachable.
    """

    def __init__(
        self,
        endpoint: str,
        access_key: str,
        secret_key: str,
        bucket: str,
        secure: bool = False,
        *,
        patience: float = PATIENCE,
    ):
        self.endpoint = endpoint
        self.access_key = access_key
        self.secret_key = secret_key
        self.bucket = bucket
        self.secure = secure
        self._patience = patience
        self._http = urllib3.PoolManager(timeout=urllib3.Timeout(connect=5, read=60), retries=False, maxsize=32)
        self.client = Minio(endpoint, access_key, secret_key, secure=secure, http_client=self._http)

    def ensure_bucket(self) -> None:
        """Make the bucket where it is missing."""

        def make() -> None:
            try:
                if not self.client.bucket_exists(self.bucket):
                    self.client.make_bucket(self.bucket)
            except S3Error as error:
                if error.code not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                    raise

        self._call(make)

    def put(self, key: str, content: bytes, content_type: str = "application/octet-stream") -> str:
        """Write an object, whatever was there; its etag."""
        return self._call(
            lambda: str(self.client.put_object(self.bucket, key, io.BytesIO(content), len(content), content_type).etag)
        )

    def put_new(self, key: str, content: bytes, content_type: str = "application/octet-stream") -> bool:
        """Write an object unless there is one of that key; whether it was written by this call."""
        try:
            self._put_if(key, content, content_type, {"If-None-Match": "*"})
        except Conflict:
            return False
        return True

    def put_json(self, key: str, value: Any, expected_etag: str | None) -> str:
        """Write `value` as JSON over exactly the object known by `expected_etag`; the new etag.

        `expected_etag` is "" where no object may be there yet, and None to write over whatever is there.

        Raises:
            Conflict: another object, or none, is there now.
        """
        content = json.dumps(value, sort_keys=True, ensure_ascii=False).encode()
        if expected_etag is None:
            return self.put(key, content, "application/json")
        condition = {"If-Match": f'"{expected_etag}"'} if expected_etag else {"If-None-Match": "*"}
        return self._put_if(key, content, "application/json", condition)

    def get(self, key: str) -> bytes:
        """The bytes of an object.

        Raises:
            ObjectMissing: there is none of that key.
        """
        return self.get_with_etag(key)[0]

    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        """The bytes of an object and the etag of exactly these bytes.

        Raises:
            ObjectMissing: there is none of that key.
        """

        def read() -> tuple[bytes, str]:
            response = self.client.get_object(self.bucket, key)
            try:
                return response.read(), response.headers["ETag"].strip('"')
            finally:
                response.close()
                response.release_conn()

        return self._call(read, key)

    def etag(self, key: str) -> str | None:
        """The etag of an object; None where there is none."""
        try:
            return self._call(lambda: str(self.client.stat_object(self.bucket, key).etag), key)
        except ObjectMissing:
            return None

    def exists(self, key: str) -> bool:
        """Whether there is an object of that key."""
        return self.etag(key) is not None

    def copy(self, source: str, destination: str) -> None:
        """Copy an object within the bucket, by the server.

        Raises:
            ObjectMissing: there is no object `source`.
        """
        self._call(lambda: self.client.copy_object(self.bucket, destination, CopySource(self.bucket, source)), source)

    def delete(self, key: str) -> None:
        """Remove an object; nothing happens where there is none."""
        self._call(lambda: self.client.remove_object(self.bucket, key))

    def list(self, prefix: str, start_after: str | None = None, limit: int | None = None) -> Iterator[StoredObject]:
        """The objects whose key begins with `prefix`, at most `limit`, in the server's order after `start_after`.

        Folder markers (keys that end in a slash) are left out.
        """
        found: Iterator[MinioObject] | None = None
        last = start_after

        def page() -> list[MinioObject]:
            nonlocal found
            # One listing goes on with the server's own cursor; a new one, after an outage, with the last key seen.
            found = found or self.client.list_objects(self.bucket, prefix, recursive=True, start_after=last)
            try:
                return list(itertools.islice(found, PAGE))
            except BaseException:
                found = None
                raise

        def objects() -> Iterator[StoredObject]:
            nonlocal last
            while items := self._call(page):
                for item in items:
                    last = str(item.object_name)
                    if item.last_modified is not None and not last.endswith("/"):
                        etag = (item.etag or "").strip('"')
                        yield StoredObject(last, item.size or 0, etag, item.last_modified)

        return itertools.islice(objects(), limit)

    def download(self, key: str, path: Path) -> None:
        """Write an object into the file `path`, which is complete as soon as it is visible.

        Raises:
            ObjectMissing: there is none of that key.
        """
        partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        try:
            self._call(lambda: self.client.fget_object(self.bucket, key, str(partial)), key)
            partial.replace(path)
        finally:
            for left in path.parent.glob(f"{partial.name}*"):
                left.unlink()

    def upload(self, path: Path, key: str, content_type: str = "application/octet-stream") -> None:
        """Write the file `path` as an object, in parts where it is large."""
        self._call(lambda: self.client.fput_object(self.bucket, key, str(path), content_type))

    def presigned_get(self, key: str, seconds: int) -> str:
        """A URL by which anyone can read the object for `seconds` seconds."""
        lifetime = timedelta(seconds=seconds)
        return self._call(lambda: self.client.get_presigned_url("GET", self.bucket, key, expires=lifetime))

    def _put_if(self, key: str, content: bytes, content_type: str, condition: dict[str, str]) -> str:
        """Write under an HTTP condition; the SDK has no public conditional write, but its presigned URLs carry one."""
        uncertain = False

        def write() -> str:
            nonlocal uncertain
            url = self.client.get_presigned_url("PUT", self.bucket, key, expires=timedelta(minutes=5))
            headers = {"Content-Type": content_type, **condition}
            try:
                response = self._http.request("PUT", url, body=content, headers=headers)
            except urllib3.exceptions.HTTPError:
                uncertain = True
                raise
            if response.status == 200:
                return str(response.headers["ETag"]).strip('"')
            answer = f"status {response.status}: {response.data[:500].decode(errors='replace')}"
            if response.status == 412 or (response.status == 404 and b"NoSuchKey" in response.data):
                written = self._etag_of(key, content) if uncertain else None
                if written is None:
                    raise Conflict(f"{key!r} is not what was expected ({condition}); read it again and decide anew")
                return written
            if response.status == 409 or response.status >= 500:
                uncertain = uncertain or response.status >= 500
                raise _Busy(answer)
            raise self._refused(answer)

        return self._call(write)

    def _etag_of(self, key: str, content: bytes) -> str | None:
        """The etag of the object if it holds `content`: then an attempt whose answer was lost has written it."""
        try:
            present, etag = self.get_with_etag(key)
        except ObjectMissing:
            return None
        return etag if present == content else None

    def _call(self, action: Callable[[], Result], key: str = "") -> Result:
        """What `action` returns, tried again while the server does not answer; errors in the words of this module."""
        retrying = Retrying(
            retry=retry_if_exception(_is_transient),
            wait=wait_exponential_jitter(multiplier=0.1, max=3),
            stop=stop_after_delay(self._patience),
            reraise=True,
        )
        try:
            return retrying(action)
        except Exception as error:
            if _is_transient(error):
                raise StoreUnreachable(
                    f"the object store at {self.endpoint} did not answer within {self._patience:g} s ({error}); "
                    f"start it with `make up` or mend {SETTING}"
                ) from error
            if not isinstance(error, S3Error):
                raise
            if error.code in MISSING:
                raise ObjectMissing(self.bucket, key) from None
            raise self._refused(f"{error.code}: {error.message}") from None

    def _refused(self, answer: str) -> StoreRefused:
        return StoreRefused(
            f"the object store at {self.endpoint} answered {answer} for the bucket {self.bucket!r}; mend {SETTING}, "
            "store_bucket beside it, or RATCHET_STORE_ACCESS_KEY and RATCHET_STORE_SECRET_KEY"
        )


class _Busy(Exception):
    """The server asks to try again."""


def _is_transient(error: BaseException) -> bool:
    if isinstance(error, S3Error):
        return error.code in TRANSIENT
    return isinstance(error, (urllib3.exceptions.HTTPError, ServerError, _Busy))

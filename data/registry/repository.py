"""The registry's repository: git for what is known, DVC for the bytes, a bare repository elsewhere as the truth.

The clone is a tool, not a truth: a change begins by making it equal to the bare repository and ends by pushing a commit
and its tag in one step. A change that was killed leaves nothing that anybody sees, and is simply made again.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from filelock import FileLock
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from data.failpoint import failpoint
from data.registry.git import EMAIL, NAME, GitFailed, git
from data.registry.storage import RegistryDamaged, Storage
from data.store import ObjectStore

Result = TypeVar("Result")
Lock = Callable[[], AbstractContextManager[object]]

# Longer than any git command holds a lock file, so that one this old was left behind by a process that was killed.
STALE_SECONDS = 5.0


class _Outrun(GitFailed):
    """Somebody else changed the bare repository first."""


class UnknownVersion(LookupError):
    """The registry has no version of that name; the message names those that it has."""


@dataclass(frozen=True)
class Tag:
    """An annotated tag: its name, the commit it is on, its message."""

    name: str
    commit: str
    message: str


class Repository:
    """A working clone of the bare repository at `url`, which is created if it is a path where there is none.

    Reading takes no lock; `lock` keeps two changes apart, by default those of this machine.
    """

    def __init__(self, url: str, clone: Path, store: ObjectStore, lock: Lock | None = None):
        self.url = url
        self.clone = clone
        self.storage = Storage(clone, store)
        self.lock: Lock = lock or (lambda: FileLock(clone.with_name(f"{clone.name}.lock")))
        self._ready = False

    def fetch(self) -> None:
        """Learn what the bare repository knows."""
        self._prepare()
        mirrored = ("+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*")
        # Two processes that fetch at once both want to write the same references; the slower one finds them written.
        retrying = Retrying(
            retry=retry_if_exception_type(GitFailed),
            stop=stop_after_attempt(4),
            wait=wait_random_exponential(multiplier=0.05, max=1),
            after=lambda _: self._remove_stale_locks(),
            reraise=True,
        )
        retrying(git, self.clone, "fetch", "--quiet", "--prune", "--no-write-fetch-head", "origin", *mirrored)

    def tags(self, pattern: str) -> list[Tag]:
        """The tags whose name matches a pattern of git's, as far as they are fetched, in the order of their numbers."""
        self._prepare()
        fields = "--format=%(refname:strip=2)%00%(*objectname)%00%(contents)%00"
        listed = git(self.clone, "for-each-ref", "--sort=version:refname", fields, f"refs/tags/{pattern}").decode()
        records = [record.split("\0") for record in listed.split("\0\n") if record]
        return [Tag(name, commit, message) for name, commit, message in records]

    def state(self, *patterns: str) -> str:
        """A hash over the names and targets of the tags that match a pattern of git's, asked of the bare repository."""
        self._prepare()
        listed = git(
            self.clone, "ls-remote", "--quiet", "--refs", "origin", *(f"refs/tags/{name}" for name in patterns)
        )
        return hashlib.sha256(listed).hexdigest()

    def read(self, places: Sequence[tuple[str, str]]) -> list[bytes]:
        """The content of each of these files, given as a tag and the file's path.

        Raises:
            RegistryDamaged: there is no such file at that tag.
        """
        wanted = "".join(f"refs/tags/{tag}:{path}\n" for tag, path in places)
        answer = git(self.clone, "cat-file", "--batch", content=wanted.encode())
        contents, start = [], 0
        for tag, path in places:
            end = answer.index(b"\n", start)
            header = answer[start:end].split()
            if header[-1] == b"missing":
                raise RegistryDamaged(f"{path} is missing at the tag {tag} of {self.url}")
            size = int(header[-1])
            contents.append(answer[end + 1 : end + 1 + size])
            start = end + size + 2
        return contents

    def change(self, attempt: Callable[[], Result]) -> Result:
        """Call `attempt` under the lock, on a clone that equals the bare repository; again if that has changed."""
        self._prepare()
        retrying = Retrying(retry=retry_if_exception_type(_Outrun), stop=stop_after_attempt(5), reraise=True)

        def locked() -> Result:
            with self.lock():
                self._reset()
                return attempt()

        return retrying(locked)

    def commit(self, message: str, tag: str) -> None:
        """Make every change in the clone, and the tag on it, part of the bare repository; only within `change`."""
        git(self.clone, "add", "--all")
        git(self.clone, "commit", "--quiet", "--message", message)
        failpoint("registry.committed")
        self.tag(tag, "HEAD", message)

    def tag(self, name: str, target: str, message: str, at: datetime | None = None) -> None:
        """Make an annotated tag, and what it is on, part of the bare repository; only within `change`."""
        commit = git(self.clone, "rev-parse", f"{target}^{{commit}}").decode().strip()
        seconds = int(at.timestamp()) if at else int(time.time())
        content = f"object {commit}\ntype commit\ntag {name}\ntagger {NAME} <{EMAIL}> {seconds} +0000\n\n{message}\n"
        made = git(self.clone, "mktag", content=content.encode()).decode().strip()
        failpoint("registry.tagged")
        self._push("HEAD:refs/heads/main", f"{made}:refs/tags/{name}")
        failpoint("registry.released")
        self.fetch()

    def _push(self, *references: str) -> None:
        try:
            git(self.clone, "push", "--quiet", "--atomic", "origin", *references)
        except GitFailed as error:
            if "rejected" in str(error):
                raise _Outrun(str(error)) from None
            raise

    def _prepare(self) -> None:
        """Make sure that there is a bare repository and a clone of it."""
        if self._ready:
            return
        self.clone.parent.mkdir(parents=True, exist_ok=True)
        if not (self.clone / ".git").exists():
            with self.lock():
                self._create()
        if git(self.clone, "config", "remote.origin.url").decode().strip() != self.url:
            git(self.clone, "remote", "set-url", "origin", self.url)
        self._ready = True

    def _create(self) -> None:
        if (self.clone / ".git").exists():
            return
        bare = Path(self.url)
        if bare.is_absolute() and not (bare / "HEAD").exists():
            bare.mkdir(parents=True, exist_ok=True)
            git(bare, "init", "--quiet", "--bare")
        arriving = self.clone.with_name(f"{self.clone.name}.cloning")
        shutil.rmtree(arriving, ignore_errors=True)
        shutil.rmtree(self.clone, ignore_errors=True)
        git(self.clone.parent, "clone", "--quiet", "--no-checkout", self.url, str(arriving))
        arriving.replace(self.clone)

    def _reset(self) -> None:
        """Make the clone equal to the bare repository, whatever a killed process left in it."""
        self._remove_stale_locks()
        self.fetch()
        if not git(self.clone, "for-each-ref", "refs/remotes/origin/main"):
            self._begin()
        git(self.clone, "checkout", "--quiet", "--force", "--detach", "origin/main")
        self._clean()

    def _begin(self) -> None:
        """The first commit: an empty DVC repository."""
        git(self.clone, "read-tree", "--empty")
        self._clean()
        self.storage.begin()
        git(self.clone, "add", "--all")
        tree = git(self.clone, "write-tree").decode().strip()
        commit = git(self.clone, "commit-tree", tree, "-m", "Begin the registry").decode().strip()
        self._push(f"{commit}:refs/heads/main")
        self.fetch()

    def _clean(self) -> None:
        """Remove every file that git does not know; DVC's cache stays."""
        git(self.clone, "clean", "--quiet", "-ffdx", "--exclude=/.dvc")

    def _remove_stale_locks(self) -> None:
        """Wait for git's lock files in the clone to go; remove those that a killed process left behind."""
        folder = self.clone / ".git"
        for lock in [*folder.glob("*.lock"), *folder.glob("refs/**/*.lock")]:
            with suppress(FileNotFoundError):
                while time.time() - lock.stat().st_mtime < STALE_SECONDS:
                    time.sleep(0.1)
                lock.unlink()


def major_version(tag: Tag) -> int:
    """The number of a version by its tag; GTO reads semantic versions only, so `v3` is tagged `v3.0.0`."""
    return int(tag.name.rpartition("@v")[2].partition(".")[0])

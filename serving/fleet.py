"""One follower per file of the jobs folder; jobs may come, change and go while the server runs."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from data.store import ObjectStore
from pipelines.job import JobRefused, load_job
from pipelines.settings import Settings
from serving.metrics import Metrics
from serving.swap import Follower, ModelCache

logger = logging.getLogger(__name__)

LOOK_FOR_JOBS_SECONDS = 5.0


class Fleet:
    """The followers by the name of their job, and the job files that cannot be used with the reason.

    Both are replaced, never changed in place: requests read them while jobs come and go.
    """

    def __init__(self, settings: Settings, store: ObjectStore, metrics: Metrics):
        self.followers: dict[str, Follower] = {}
        self.refused: dict[str, str] = {}
        self._folder = settings.jobs
        self._store = store
        self._cache = ModelCache(store, settings.home / "serving")
        self._metrics = metrics
        self._seen: dict[Path, int] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="look-for-jobs", daemon=True)
        metrics.report_served(self._served)

    def start(self) -> None:
        """Follow every job there is, and from then on look for others."""
        self.look()
        self._thread.start()

    def stop(self) -> None:
        """Stop following."""
        self._stopped.set()
        self._thread.join()
        for follower in self.followers.values():
            follower.stop(wait_seconds=0)
        for follower in self.followers.values():
            follower.stop()

    def look(self) -> None:
        """Compare with the jobs folder once; a file that cannot be used leaves its follower as it is."""
        files = {path: path.stat().st_mtime_ns for path in sorted(self._folder.glob("*.yaml"))}
        for name in self.followers.keys() - {path.stem for path in files}:
            gone = self.followers[name]
            self.followers = {known: follower for known, follower in self.followers.items() if known != name}
            gone.stop()
        for path, changed in files.items():
            if self._seen.get(path) != changed:
                self._read(path)
        self.refused = {name: reason for name, reason in self.refused.items() if self._folder / f"{name}.yaml" in files}
        self._seen = files

    def waiting(self) -> list[str]:
        """Why the server is not ready: the jobs that have not taken up what their pointer names."""
        return [
            f"{name}: {follower.problem or 'its pointer has not been read yet'}"
            for name, follower in sorted(self.followers.items())
            if not follower.ready
        ]

    def _read(self, path: Path) -> None:
        try:
            job = load_job(path)
        except JobRefused as refusal:
            self.refused = {**self.refused, path.stem: str(refusal)}
            logger.warning("%s", refusal)
            return
        self.refused = {name: reason for name, reason in self.refused.items() if name != path.stem}
        if job.name in self.followers:
            self.followers[job.name].job = job
            return
        follower = Follower(job, self._store, self._cache, self._metrics)
        self.followers = {**self.followers, job.name: follower}
        follower.start()

    def _run(self) -> None:
        while not self._stopped.wait(LOOK_FOR_JOBS_SECONDS):
            try:
                self.look()
            except OSError as error:
                logger.warning("the jobs folder %s cannot be read: %s", self._folder, error)

    def _served(self) -> list[tuple[str, str, int]]:
        pointers = [follower.served.pointer for follower in self.followers.values() if follower.served]
        return [(pointer.job, pointer.version, pointer.promotion) for pointer in pointers]

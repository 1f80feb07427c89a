"""Turn the loop for a scenario: put boards where a camera would, label what is asked, watch what Airflow does."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx

from data.formats import LabelledImage
from data.ledger import Decision
from demo.airflow_api import AirflowApi, TaskInstance
from demo.annotator import annotate, correct
from demo.scenario import Night, Scenario
from pipelines.importing import import_labelled
from pipelines.job import Job
from pipelines.label import alone
from pipelines.workspace import Workspace

Say = Callable[[str], None]
LONGEST_WAIT_SECONDS = 1200.0
LOOK_AGAIN_SECONDS = 1.0
PROGRESS_SECONDS = 20.0
STEP = re.compile(r"step \d+ of \d+[^\n]*")
TOLD = ("success", "failed", "up_for_retry")
UNTOLD = ("start", "start_at_evaluate", "start_at_promote")


class LoopStopped(RuntimeError):
    """The loop did not do what it promises; the message says at which step, with that step's own log."""


@dataclass
class Watch:
    """Asks the inference server again and again while the loop turns: how often it failed, which versions answered."""

    url: str
    board: LabelledImage
    answers: int = 0
    failures: list[str] = field(default_factory=list)
    versions: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to ask, twice a second, in a thread of its own."""
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop asking."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _ask(self) -> None:
        files = {"image": self.board.read(), "template": self.board.read_template()}
        with httpx.Client(timeout=30, trust_env=False) as client:
            while not self._stop.wait(0.5):
                try:
                    answer = client.post(
                        self.url, files={name: (name, content) for name, content in files.items() if content}
                    )
                    answer.raise_for_status()
                except httpx.HTTPError as error:
                    self.failures.append(f"{datetime.now(UTC):%H:%M:%S} {error}")
                    continue
                self.answers += 1
                version = answer.json()["model_version"]
                if not self.versions or self.versions[-1] != version:
                    self.versions.append(version)


@dataclass
class Loop:
    """One job of a running deployment, and the eyes on it."""

    workspace: Workspace
    job: Job
    airflow: AirflowApi
    say: Say
    _told: set[str] = field(default_factory=set)
    _progress_at: float = 0.0

    def begin(self, scenario: Scenario) -> Decision:
        """Import the labelled boards and wait until the first model serves."""
        imported = import_labelled(self.workspace, self.job, scenario.initial, annotator="import")
        self.say(f"{imported.labelled} labelled boards are imported; they are enough for a first model")
        return self._decided(after=0)

    def night(self, night: Night) -> Decision:
        """Let a night's boards arrive, have the mined ones labelled, and return what was decided."""
        decided = len(self._decisions())
        self.say(f"{len(night.boards)} boards arrive in {self.job.inbox}: {night.title}")
        self._arrive(night.boards)
        self.say(f"{self._count('pushed')} of them wait in Label Studio, drawn by lot or hard for the served model")
        # A sitting is read as a whole: what a round teaches does not rest on how busy the machine is.
        with alone(self.workspace, self.job):
            labelled = annotate(self.workspace, self.job, night.truth(), mood=night.mood)
        self.say(f"the simulated annotator labelled {labelled} boards{' in a bad mood' if night.mood == 'bad' else ''}")
        self._wait("sync", lambda: not self._count("pushed"))
        if self._count("quarantined"):
            self.say(f"{self._count('quarantined')} annotations are quarantined")
        return self._decided(after=decided)

    def correct(self, night: Night) -> Decision:
        """Have a night's annotations done again, carefully, and return what was decided."""
        decided = len(self._decisions())
        with alone(self.workspace, self.job):
            corrected = correct(self.workspace, self.job, night.truth())
        self.say(f"in the morning, the simulated annotator corrects the {corrected} annotations of {night.title}")
        self._wait("sync", lambda: not self._count("quarantined"))
        return self._decided(after=decided)

    def leave(self, boards: Sequence[LabelledImage]) -> None:
        """Let boards arrive that nobody labels, for whoever looks around afterwards."""
        self._arrive(boards)
        self.say(f"{self._count('pushed')} boards are left in Label Studio for you to label")

    def _arrive(self, boards: Sequence[LabelledImage]) -> None:
        """Put boards where a camera would, and wait until the hard ones are in Label Studio."""
        seen = self._seen()
        for board in boards:
            self._deliver(board)

        def collected() -> bool:
            return self._seen() - seen >= len(boards) and not self._count("arrived", "selected")

        self._wait("collect", collected)

    def _deliver(self, board: LabelledImage) -> None:
        rule = self.job.source.template
        template = board.read_template()
        if rule is not None and template is not None:
            self.workspace.store.put(f"{self.job.inbox}{board.domain}/{rule.template_of(board.name)}", template)
        self.workspace.store.put(f"{self.job.inbox}{board.domain}/{board.name}", board.read())

    def _count(self, *states: str) -> int:
        counts = self.workspace.ledger.counts(self.job.name)
        return sum(counts.get(state, 0) for state in states)

    def _seen(self) -> int:
        return sum(self.workspace.ledger.counts(self.job.name).values())

    def _decisions(self) -> list[Decision]:
        return [decision for decision in self.workspace.ledger.decisions(self.job.name) if decision.kind == "promote"]

    def _decided(self, after: int) -> Decision:
        """Wait for the next decision, and for the run that made it to end."""
        self._wait("learn", lambda: len(self._decisions()) > after)
        decision = self._decisions()[after]
        self._wait("learn", lambda: self.airflow.run(f"{self.job.name}.learn", decision.run_id).finished)
        self.say(f"{decision.candidate} is {decision.verdict}: {'; '.join(decision.reasons)}")
        return decision

    def _wait(self, verb: str, reached: Callable[[], bool]) -> None:
        """Wait until something is so, telling what the tasks do; one that fails for good ends the waiting.

        Raises:
            LoopStopped: with the log of the task that failed, or that it took too long.
        """
        dag = f"{self.job.name}.{verb}"
        deadline = time.monotonic() + LONGEST_WAIT_SECONDS
        while not reached():
            self._tell(dag)
            if time.monotonic() > deadline:
                raise LoopStopped(
                    f"{dag} did not come to an end within {LONGEST_WAIT_SECONDS:g} s; see {self.airflow.url}/dags/{dag}"
                )
            time.sleep(LOOK_AGAIN_SECONDS)
        self._tell(dag)

    def _tell(self, dag: str) -> None:
        """Say which tasks of the latest runs ended since the last look."""
        for run in reversed(self.airflow.runs(dag, limit=3)):
            for task in self.airflow.tasks(dag, run.run_id):
                if task.state == "running" and task.task_id == "train":
                    self._tell_progress(dag, run.run_id, task)
                ended = f"{dag} {run.run_id} {task.task_id} {task.try_number} {task.state}"
                if task.state not in TOLD or ended in self._told:
                    continue
                self._told.add(ended)
                if task.state == "failed":
                    log = self.airflow.log(dag, run.run_id, task.task_id, task.try_number)
                    raise LoopStopped(
                        f"{dag}: {task.task_id} failed for good. Its log ends:\n{_end(log)}\n"
                        f"Mend the cause, then clear the task at {self.airflow.url}/dags/{dag}/runs/{run.run_id}"
                    )
                if task.state == "success" and task.task_id not in UNTOLD:
                    self.say(f"  {dag}: {task.task_id} {_duration(task)}")
                if task.state == "up_for_retry":
                    self.say(f"  {dag}: {task.task_id} ended early and is tried again")

    def _tell_progress(self, dag: str, run_id: str, task: TaskInstance) -> None:
        """Say how far a training is, now and then."""
        if time.monotonic() - self._progress_at < PROGRESS_SECONDS:
            return
        self._progress_at = time.monotonic()
        steps = STEP.findall(self.airflow.log(dag, run_id, task.task_id, task.try_number))
        if steps:
            self.say(f"  {dag}: train {steps[-1]}")


def _duration(task: TaskInstance) -> str:
    if task.start_date is None or task.end_date is None:
        return ""
    seconds = datetime.fromisoformat(task.end_date) - datetime.fromisoformat(task.start_date)
    return f"({seconds.total_seconds():.0f} s)"


def _end(log: str, lines: int = 25) -> str:
    return "\n".join(log.splitlines()[-lines:])

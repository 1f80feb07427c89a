"""Which labels wait for a training, which training holds them, and which dataset version has them.

A training claims all that is pending. When it finishes, exactly the annotations it claimed count as used; when it
fails, or was silent for too long, they are pending again.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from data.ledger.database import clock
from data.ledger.labels import WITH_ANNOTATION
from data.ledger.records import LedgerRefused, Training, TrainingActive, TrainingLost
from data.ledger.rows import (
    ANNOTATION_COLUMNS,
    PENDING,
    PENDING_CLASS,
    Row,
    Rows,
    TallyKey,
    add_to_tallies,
    annotation_of,
    pending_keys,
    sample_of,
)
from data.ledger.tables import annotations, samples, tallies, trainings
from data.sample import Annotation, Sample

SILENCE_SECONDS = 900.0
# Written out, so that SQLite sees that its partial indexes answer the queries.
ACTIVE = sa.text("training.state = 'active'")
FINISHED = sa.text("training.state = 'finished'")


class Trainings(Rows):
    """The samples' way through the trainings of their job."""

    def pending(self, job: str) -> int:
        """How many samples to train on have a valid annotation that no training holds and no finished one has used."""
        self._end_silent(job)
        return sum(self._tally(job, PENDING).values())

    def pending_samples(self, job: str) -> Iterator[tuple[Sample, Annotation]]:
        """What is pending, in the order of arrival."""
        self._end_silent(job)
        statement = WITH_ANNOTATION.where(samples.c.job == job, samples.c.pending)
        return ((sample_of(row), annotation_of(row)) for row in self._pages(statement, samples.c.arrived))

    def pending_by_class(self, job: str) -> dict[str, int]:
        """How many of the pending samples show each class; classes without one are left out."""
        self._end_silent(job)
        return self._tally(job, PENDING_CLASS)

    def claim_training(
        self, job: str, run_id: str, *, with_samples: bool = True, silence_seconds: float = SILENCE_SECONDS
    ) -> Training:
        """Claim the job's training for a run, and all that is pending; the same run gets the claim it has.

        A training on a dataset version that exists already claims no samples (`with_samples=False`). A claim ends when
        it was silent for `silence_seconds`. A run whose training failed claims anew.

        Raises:
            TrainingActive: another run is training now.
        """
        self._end_silent(job)
        with self._writing(job) as connection:
            own = _attempt(connection, job, run_id)
            if own is not None and own.state != "failed":
                return own
            active = connection.execute(sa.select(trainings).where(trainings.c.job == job, ACTIVE)).first()
            if active is not None:
                raise TrainingActive(_training(active))
            last = sa.select(sa.func.max(trainings.c.id)).where(trainings.c.job == job)
            training_id = (connection.execute(last).scalar() or 0) + 1
            statement = sa.insert(trainings).values(
                job=job,
                id=training_id,
                run_id=run_id,
                state="active",
                samples=0,
                claimed_at=_now(),
                silence_seconds=silence_seconds,
                heartbeat=clock(connection),
            )
            connection.execute(statement)
            if with_samples:
                _take_pending(connection, job, training_id)
            claimed = sa.select(trainings).where(trainings.c.job == job, trainings.c.id == training_id)
            return _training(connection.execute(claimed).one())

    def heartbeat(self, job: str, run_id: str) -> None:
        """Say that the run still trains.

        Raises:
            TrainingLost: its claim ended; it must stop.
            LedgerRefused: it never claimed one.
        """
        with self._writing(job) as connection:
            own = _own(connection, job, run_id)
            if own.state != "active":
                raise TrainingLost(own)
            _change(connection, own, heartbeat=clock(connection))

    def finish_training(self, job: str, run_id: str, *, dataset_version: str, candidate: str) -> bool:
        """The run has trained: what it claimed is used; False if it had finished already.

        Raises:
            TrainingLost: its claim ended before.
            LedgerRefused: it never claimed one.
        """
        with self._writing(job) as connection:
            own = _own(connection, job, run_id)
            if own.state == "failed":
                raise TrainingLost(own)
            if own.state == "finished":
                return False
            ended = {"state": "finished", "ended_at": _now()}
            _change(connection, own, **ended, dataset_version=dataset_version, candidate=candidate)
            return True

    def fail_training(self, job: str, run_id: str, reason: str = "") -> bool:
        """The run will not finish: what it claimed is pending again; False if its training had ended already.

        Raises:
            LedgerRefused: it never claimed one.
        """
        with self._writing(job) as connection:
            own = _own(connection, job, run_id)
            if own.state != "active":
                return False
            _give_back(connection, own, reason)
            return True

    def training(self, job: str, run_id: str) -> Training | None:
        """The training that a run holds or has finished; None if it has none, or only failed ones."""
        self._end_silent(job)
        with self._reading() as connection:
            own = _attempt(connection, job, run_id)
        return None if own is None or own.state == "failed" else own

    def active_training(self, job: str) -> Training | None:
        """The job's training that is under way, or None."""
        self._end_silent(job)
        with self._reading() as connection:
            row = connection.execute(sa.select(trainings).where(trainings.c.job == job, ACTIVE)).first()
        return None if row is None else _training(row)

    def last_training(self, job: str) -> Training | None:
        """The job's newest finished training, or None."""
        query = sa.select(trainings).where(trainings.c.job == job, FINISHED).order_by(trainings.c.id.desc()).limit(1)
        with self._reading() as connection:
            row = connection.execute(query).first()
        return None if row is None else _training(row)

    def trainings(self, job: str) -> list[Training]:
        """Every attempt of the job to train, oldest first."""
        self._end_silent(job)
        with self._reading() as connection:
            query = sa.select(trainings).where(trainings.c.job == job).order_by(trainings.c.id)
            return [_training(row) for row in connection.execute(query)]

    def claimed(self, job: str, run_id: str) -> list[tuple[Sample, Annotation]]:
        """What the run's training holds or has used: each sample with the annotation that stood when it was claimed."""
        training = self.training(job, run_id)
        if training is None:
            return []
        with self._reading() as connection:
            rows = connection.execute(_held(training).order_by(samples.c.arrived, annotations.c.updated_at)).all()
        return [(sample_of(row), annotation_of(row)) for row in rows]

    def unversioned(self, job: str, run_id: str) -> tuple[list[tuple[Sample, Annotation]], list[str]]:
        """What the dataset version of a run's training must add to the newest one, and the samples it must remove.

        A label that is still pending arrived after the claim: the version has what the training claimed of that sample,
        and the next training's version has the newer one.
        """
        training = self.training(job, run_id)
        statement = sa.select(samples, annotations.c.id.label("said"), *ANNOTATION_COLUMNS).outerjoin(
            annotations,
            sa.and_(
                annotations.c.job == samples.c.job,
                annotations.c.id == samples.c.annotation_id,
                samples.c.state == "labelled",
            ),
        )
        rows = self._pages(statement.where(samples.c.job == job, samples.c.unversioned), samples.c.arrived)
        added: list[tuple[Sample, Annotation]] = []
        removed: list[str] = []
        newer: dict[str, Row] = {}
        for row in rows:
            if row.said is None:
                removed.append(row.id)
            elif row.pending:
                newer[row.id] = row
            else:
                added.append((sample_of(row), annotation_of(row)))
        if training is not None and newer:
            for sample, annotation in self.claimed(job, run_id):
                if sample.id in newer and annotation.id != newer[sample.id].versioned_id:
                    added.append((sample, annotation))
        return added, removed

    def record_dataset(
        self,
        job: str,
        run_id: str,
        dataset_version: str,
        added: Iterable[tuple[Sample, Annotation]],
        removed: Iterable[str] = (),
    ) -> bool:
        """Remember that the newest dataset version, the one of this run's training, has `added` and lacks `removed`.

        False, and nothing changes, if the training has its dataset version already.

        Raises:
            TrainingLost: the run's claim ended before.
            LedgerRefused: it never claimed one.
        """
        versioned: list[tuple[str, str | None]] = [(sample.id, annotation.id) for sample, annotation in added]
        versioned += [(sample_id, None) for sample_id in removed]
        label = sa.case((samples.c.state == "labelled", samples.c.annotation_id))
        with self._writing(job) as connection:
            own = _own(connection, job, run_id)
            if own.state == "failed":
                raise TrainingLost(own)
            if own.dataset_version is not None:
                return False
            _change(connection, own, dataset_version=dataset_version)
            for sample_id, annotation_id in versioned:
                statement = sa.update(samples).where(samples.c.job == job, samples.c.id == sample_id)
                connection.execute(
                    statement.values(versioned_id=annotation_id, unversioned=label.is_distinct_from(annotation_id))
                )
            return True

    def _end_silent(self, job: str) -> None:
        """Fail the job's active training if it was silent for too long."""
        silent = sa.select(trainings).where(trainings.c.job == job, ACTIVE)
        with self._reading() as connection:
            row = connection.execute(silent).first()
            if row is None or clock(connection) <= row.heartbeat + row.silence_seconds:
                return
        with self._writing(job) as connection:
            row = connection.execute(silent).first()
            if row is not None and clock(connection) > row.heartbeat + row.silence_seconds:
                _give_back(connection, _training(row), f"silent for more than {row.silence_seconds:g} s")


def _training(row: Row) -> Training:
    return Training(**row._mapping)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _attempt(connection: sa.Connection, job: str, run_id: str) -> Training | None:
    """The newest training of a run, whatever became of it."""
    query = sa.select(trainings).where(trainings.c.job == job, trainings.c.run_id == run_id)
    row = connection.execute(query.order_by(trainings.c.id.desc()).limit(1)).first()
    return None if row is None else _training(row)


def _own(connection: sa.Connection, job: str, run_id: str) -> Training:
    own = _attempt(connection, job, run_id)
    if own is None:
        raise LedgerRefused(f"run {run_id!r} has no training of job {job!r}; begin with claim_training")
    return own


def _change(connection: sa.Connection, training: Training, **values: object) -> None:
    here = (trainings.c.job == training.job, trainings.c.id == training.id)
    connection.execute(sa.update(trainings).where(*here).values(**values))


def _take_pending(connection: sa.Connection, job: str, training_id: int) -> None:
    pending = (samples.c.job == job, samples.c.pending)
    current = sa.select(samples.c.annotation_id).where(*pending)
    taking = sa.update(annotations).where(annotations.c.job == job, annotations.c.id.in_(current))
    taken = connection.execute(taking.values(training_id=training_id)).rowcount
    connection.execute(sa.update(samples).where(*pending).values(pending=False))
    counted = (tallies.c.job == job, tallies.c.kind.in_((PENDING, PENDING_CLASS)))
    connection.execute(sa.update(tallies).where(*counted).values(count=0))
    here = (trainings.c.job == job, trainings.c.id == training_id)
    connection.execute(sa.update(trainings).where(*here).values(samples=taken))


def _give_back(connection: sa.Connection, training: Training, reason: str) -> None:
    claimed = connection.execute(_held(training).add_columns(annotations.c.id.label("claimed_id"))).all()
    standing = [row for row in claimed if row.state == "labelled" and row.annotation_id == row.claimed_id]
    held = (annotations.c.job == training.job, annotations.c.training_id == training.id)
    connection.execute(sa.update(annotations).where(*held).values(training_id=None))
    if standing:
        # One row at a time by its key: with a subquery SQLite goes through all samples of the job.
        one = sa.update(samples).where(samples.c.job == training.job, samples.c.id == sa.bindparam("given_back"))
        connection.execute(one.values(pending=True), [{"given_back": row.id} for row in standing])
        counted: Counter[TallyKey] = Counter()
        for row in standing:
            counted.update(pending_keys(row.boxes))
        add_to_tallies(connection, training.job, counted)
    _change(connection, training, state="failed", ended_at=_now(), reason=reason)


def _held(training: Training) -> sa.Select[Any]:
    """Each sample of a training with the annotation it claimed."""
    of_sample = sa.and_(samples.c.job == annotations.c.job, samples.c.id == annotations.c.sample_id)
    held = sa.select(samples, *ANNOTATION_COLUMNS).join(annotations, of_sample)
    return held.where(annotations.c.job == training.job, annotations.c.training_id == training.id)

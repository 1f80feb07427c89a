"""The people's part of a sample's way: what they said about it, and which of that stands.

Under each reference of the labelling tool stands the newest that was said there, an annotation or a skip, until it is
withdrawn for good; a sample's word is the newest of its references. The order in which the words reach the ledger, and
how often, makes no difference.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from data.ledger.database import insert
from data.ledger.records import LedgerRefused, Quarantined
from data.ledger.rows import (
    ANNOTATED,
    ANNOTATION_COLUMNS,
    Row,
    Rows,
    TallyKey,
    add_to_tallies,
    annotation_of,
    change_row,
    known_row,
    pending_keys,
    sample_of,
)
from data.ledger.tables import annotations, samples, words
from data.sample import Annotation, Sample, Split

WITH_ANNOTATION = sa.select(samples, *ANNOTATION_COLUMNS).join(annotations, ANNOTATED)
NEVER = ""  # earlier than every time


class Labels(Rows):
    """Samples from the moment when people speak about them."""

    def record_annotation(self, job: str, annotation: Annotation, problems: Sequence[str] = ()) -> bool:
        """Take what a person said about a sample; with `problems` it is quarantined, and no older word stands instead.

        False, and the sample does not change, if the same or a newer word is known already. The same annotation with
        other problems is judged anew.

        Raises:
            SampleUnknown: the sample never arrived.
            LedgerRefused: `updated_at` is not an ISO 8601 time with its offset from UTC.
        """
        at = _utc(annotation.updated_at)
        with self._writing(job) as connection:
            row = known_row(connection, job, annotation.sample_id)
            _keep(connection, job, annotation, at, problems)
            _say(connection, row, annotation.reference, at, annotation.id)
            return _settle(connection, row)

    def record_skip(self, job: str, sample_id: str, at: str, reference: str = "") -> bool:
        """Take a person's refusal to label a sample; False if the same or a newer word is known already.

        Raises:
            SampleUnknown: the sample never arrived.
            LedgerRefused: `at` is not an ISO 8601 time with its offset from UTC.
        """
        time = _utc(at)
        with self._writing(job) as connection:
            row = known_row(connection, job, sample_id)
            _say(connection, row, reference, time, None)
            return _settle(connection, row)

    def withdraw_annotation(self, job: str, sample_id: str, reference: str) -> bool:
        """Take for good what stands under `reference`, which the labelling tool has deleted; False if it was taken.

        The newest word of another reference stands again; without one the sample is where it was before people spoke.

        Raises:
            SampleUnknown: the sample never arrived.
        """
        with self._writing(job) as connection:
            row = known_row(connection, job, sample_id)
            statement = insert(connection, words).values(
                job=job, sample_id=sample_id, reference=reference, at=NEVER, withdrawn=True
            )
            statement = statement.on_conflict_do_update(
                index_elements=list(words.primary_key), set_={"withdrawn": True}
            )
            connection.execute(statement)
            return _settle(connection, row)

    def references(self, job: str, sample_id: str) -> list[str]:
        """The references under which something stands about a sample, newest word first."""
        query = sa.select(words.c.reference).where(
            words.c.job == job, words.c.sample_id == sample_id, words.c.withdrawn.is_(False)
        )
        with self._reading() as connection:
            return list(connection.execute(query.order_by(words.c.at.desc(), words.c.reference)).scalars())

    def said(self, job: str, sample_id: str, reference: str) -> Annotation | None:
        """The annotation that stands under a reference, as it was given there, valid or not; None where none does."""
        named = sa.and_(annotations.c.job == words.c.job, annotations.c.id == words.c.annotation_id)
        query: sa.Select[Any] = sa.select(words.c.at, *ANNOTATION_COLUMNS).join(annotations, named)
        here = (words.c.job == job, words.c.sample_id == sample_id, words.c.reference == reference)
        with self._reading() as connection:
            row = connection.execute(query.where(*here, ~words.c.withdrawn)).first()
        return None if row is None else replace(annotation_of(row), updated_at=row.at, reference=reference)

    def annotation(self, job: str, sample_id: str) -> Annotation | None:
        """The valid annotation of a sample, or None."""
        query = WITH_ANNOTATION.where(samples.c.job == job, samples.c.id == sample_id, samples.c.state == "labelled")
        with self._reading() as connection:
            row = connection.execute(query).first()
        return None if row is None else annotation_of(row)

    def labelled(self, job: str, split: Split | None = None) -> Iterator[tuple[Sample, Annotation]]:
        """The samples with a valid annotation, in the order of their arrival, all or those of one split."""
        statement = WITH_ANNOTATION.where(samples.c.job == job, samples.c.state == "labelled")
        if split is not None:
            statement = statement.where(samples.c.split == split)
        return ((sample_of(row), annotation_of(row)) for row in self._pages(statement, samples.c.arrived))

    def quarantined(self, job: str) -> Iterator[Quarantined]:
        """The samples whose newest annotation cannot be learnt from, and why."""
        statement = WITH_ANNOTATION.where(samples.c.job == job, samples.c.state == "quarantined")
        rows = self._pages(statement, samples.c.arrived)
        return (Quarantined(sample_of(row), annotation_of(row), tuple(row.problems)) for row in rows)

    def support(self, job: str, split: Split) -> dict[str, int]:
        """How many boxes of each class the valid annotations of a split have; classes without one are left out."""
        return self._tally(job, "class", split)


def _utc(time: str) -> str:
    """The same instant in the one form whose text sorts by time."""
    try:
        instant = datetime.fromisoformat(time)
    except (TypeError, ValueError):
        instant = None
    if instant is None or instant.tzinfo is None:
        raise LedgerRefused(f"{time!r} is not a time with its offset; give ISO 8601 such as 2026-01-31T12:00:00Z")
    return instant.astimezone(UTC).isoformat(timespec="microseconds")


def _keep(connection: sa.Connection, job: str, annotation: Annotation, at: str, problems: Sequence[str]) -> None:
    """Store an annotation under the hash of its content, with the newest time and reference it was given under."""
    statement = insert(connection, annotations).values(
        job=job,
        id=annotation.id,
        sample_id=annotation.sample_id,
        annotator=annotation.annotator,
        updated_at=at,
        reference=annotation.reference,
        boxes=[box.without_score().to_json() for box in annotation.boxes],
        problems=list(problems),
        classes=annotation.classes,
    )
    new, old = statement.excluded, annotations.c
    newer = new.updated_at > old.updated_at
    statement = statement.on_conflict_do_update(
        index_elements=list(annotations.primary_key),
        set_={
            "problems": new.problems,
            "updated_at": sa.case((newer, new.updated_at), else_=old.updated_at),
            "reference": sa.case((newer, new.reference), else_=old.reference),
        },
    )
    connection.execute(statement)


def _say(connection: sa.Connection, row: Row, reference: str, at: str, annotation_id: str | None) -> None:
    """Put a word under its reference, unless that was withdrawn or has a newer one."""
    key = {"job": row.job, "sample_id": row.id, "reference": reference}
    here = sa.and_(*(words.c[name] == value for name, value in key.items()))
    standing = connection.execute(sa.select(words).where(here)).first()
    if standing is None:
        connection.execute(sa.insert(words).values(**key, at=at, annotation_id=annotation_id, withdrawn=False))
    elif not standing.withdrawn and (at, annotation_id or "") > (standing.at, standing.annotation_id or ""):
        connection.execute(sa.update(words).where(here).values(at=at, annotation_id=annotation_id))


def _settle(connection: sa.Connection, row: Row) -> bool:
    """Give a sample the state that its newest word says, and count it there; False if it has it."""
    newest = (
        sa.select(words.c.annotation_id)
        .where(words.c.job == row.job, words.c.sample_id == row.id, words.c.withdrawn.is_(False))
        .order_by(words.c.at.desc(), words.c.annotation_id.desc().nulls_last(), words.c.reference)
    )
    word = connection.execute(newest.limit(1)).first()
    said = None if word is None or word.annotation_id is None else _annotation(connection, row.job, word.annotation_id)
    if word is None:
        state = row.stage
    elif said is None:
        state = "skipped"
    else:
        state = "quarantined" if said.problems else "labelled"
    annotation_id = None if said is None else said.id
    if (state, annotation_id) == (row.state, row.annotation_id):
        return False

    valid_before = _annotation(connection, row.job, row.annotation_id) if row.state == "labelled" else None
    valid = said if state == "labelled" else None
    pending = valid is not None and valid.training_id is None and row.split == "train"
    counted: Counter[TallyKey] = Counter()
    counted.subtract(_classes(valid_before, row.split))
    counted.update(_classes(valid, row.split))
    if valid_before is not None and row.pending:
        counted.subtract(pending_keys(valid_before.boxes))
    if valid is not None and pending:
        counted.update(pending_keys(valid.boxes))
    add_to_tallies(connection, row.job, counted)
    change_row(
        connection,
        row,
        state=state,
        annotation_id=annotation_id,
        pending=pending,
        unversioned=(valid.id if valid else None) != row.versioned_id,
    )
    return True


def _classes(annotation: Row | None, split: str) -> list[TallyKey]:
    """The class of each box of a valid annotation, as the tallies key it."""
    return [] if annotation is None else [("class", box["label"], split) for box in annotation.boxes]


def _annotation(connection: sa.Connection, job: str, annotation_id: str) -> Row:
    query = sa.select(annotations).where(annotations.c.job == job, annotations.c.id == annotation_id)
    return connection.execute(query).one()

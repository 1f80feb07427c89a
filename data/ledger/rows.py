"""A sample's row: read, changed together with the tallies that count it, and turned into the values that travel."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import sqlalchemy as sa

from data.ledger.database import Database, insert
from data.ledger.records import SampleUnknown
from data.ledger.tables import annotations, samples, tallies
from data.sample import Annotation, Box, Sample

PAGE = 1000
ANNOTATED = sa.and_(annotations.c.job == samples.c.job, annotations.c.id == samples.c.annotation_id)

# How far the machines bring a sample, in this order.
STAGES = ("arrived", "passed", "selected", "pushed")
PENDING, PENDING_CLASS = "pending", "pending class"

TallyKey = tuple[str, str, str]
Row = sa.Row[Any]


def sample_of(row: Row) -> Sample:
    """The sample of a row that has the columns of `sample`."""
    return Sample(row.id, row.width, row.height, row.domain, row.source, row.split, row.template_id)


def annotation_of(row: Row) -> Annotation:
    """The annotation of a row that has the columns of `annotation` but its key."""
    boxes = tuple(Box.from_json(box) for box in row.boxes)
    classes = None if row.classes is None else tuple(row.classes)
    return Annotation(row.sample_id, boxes, row.annotator, row.updated_at, row.reference, classes)


ANNOTATION_COLUMNS = (
    annotations.c.sample_id,
    annotations.c.annotator,
    annotations.c.updated_at,
    annotations.c.reference,
    annotations.c.boxes,
    annotations.c.problems,
    annotations.c.classes,
)


def known_row(connection: sa.Connection, job: str, sample_id: str) -> Row:
    """The row of a sample.

    Raises:
        SampleUnknown: it never arrived.
    """
    row = connection.execute(sa.select(samples).where(samples.c.job == job, samples.c.id == sample_id)).first()
    if row is None:
        raise SampleUnknown(job, sample_id)
    return row


def add_to_tallies(connection: sa.Connection, job: str, changes: Counter[TallyKey]) -> None:
    """Add `changes`, keyed by kind, name and split, to the running counts."""
    rows = [
        {"job": job, "kind": kind, "name": name, "split": split, "count": count}
        for (kind, name, split), count in sorted(changes.items())
        if count
    ]
    if rows:
        statement = insert(connection, tallies)
        statement = statement.on_conflict_do_update(
            index_elements=list(tallies.primary_key), set_={"count": tallies.c.count + statement.excluded.count}
        )
        connection.execute(statement, rows)


def change_row(connection: sa.Connection, row: Row, **values: Any) -> None:
    """Give a sample's row other `values`, and count it under its new state."""
    connection.execute(sa.update(samples).where(samples.c.job == row.job, samples.c.id == row.id).values(**values))
    moved: Counter[TallyKey] = Counter()
    moved["state", row.state, row.split] -= 1
    moved["state", values.get("state", row.state), row.split] += 1
    add_to_tallies(connection, row.job, moved)


def advance(connection: sa.Connection, row: Row, stage: str, **values: object) -> bool:
    """Bring a sample further on its way, never back; what people said of it stands. False if it is as far already."""
    if STAGES.index(row.stage) >= STAGES.index(stage):
        return False
    state = stage if row.state == row.stage else row.state
    change_row(connection, row, stage=stage, state=state, **values)
    return True


def pending_keys(boxes: Iterable[dict[str, Any]]) -> list[TallyKey]:
    """Where a pending sample with these boxes, as they are stored, is counted: once, and once for each class it shows.

    Only what is to train on is ever pending.
    """
    classes = sorted({box["label"] for box in boxes})
    return [(PENDING, "", "train"), *((PENDING_CLASS, label, "train") for label in classes)]


class Rows(Database):
    """Reading of many rows a page at a time, so that no transaction stays open while the caller works."""

    def _pages(self, statement: sa.Select[Any], cursor: sa.Column[Any], after: int = 0) -> Iterator[Row]:
        """The rows of `statement` in the order of `cursor`, a column that is unique within it."""
        while True:
            with self._reading() as connection:
                page = connection.execute(statement.where(cursor > after).order_by(cursor).limit(PAGE)).all()
            yield from page
            if len(page) < PAGE:
                return
            after = page[-1]._mapping[cursor]

    def _tally(self, job: str, kind: str, split: str | None = None) -> dict[str, int]:
        statement = sa.select(tallies.c.name, sa.func.sum(tallies.c.count)).where(
            tallies.c.job == job, tallies.c.kind == kind, tallies.c.count != 0
        )
        if split is not None:
            statement = statement.where(tallies.c.split == split)
        with self._reading() as connection:
            rows = connection.execute(statement.group_by(tallies.c.name).order_by(tallies.c.name))
            return {name: int(count) for name, count in rows}

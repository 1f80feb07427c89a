"""What was decided, what people asked for, and how far each reader of the outside world has read."""

from __future__ import annotations

from dataclasses import asdict, fields

import sqlalchemy as sa

from data.ledger.database import Database, insert, next_number
from data.ledger.records import Decision, Request
from data.ledger.tables import decisions, marks, requests

DECISION = [decisions.c[field.name] for field in fields(Decision)]
REQUEST = [requests.c[field.name] for field in fields(Request)]


class Journal(Database):
    """The decisions, the requests and the marks of each job."""

    def record_decision(self, job: str, decision: Decision) -> bool:
        """Remember a decision; False, and the first one stands, if this run has made one of this kind already."""
        return self._enter(job, decisions, decision)

    def decision(self, job: str, run_id: str, kind: str = "promote") -> Decision | None:
        """What a run has decided; None if it has not."""
        here = (decisions.c.job == job, decisions.c.kind == kind, decisions.c.run_id == run_id)
        with self._reading() as connection:
            row = connection.execute(sa.select(*DECISION).where(*here)).first()
        return None if row is None else Decision(**row._mapping)

    def decisions(self, job: str, limit: int | None = None) -> list[Decision]:
        """The newest `limit` decisions of a job, or all, oldest first."""
        query = sa.select(*DECISION).where(decisions.c.job == job).order_by(decisions.c.number.desc()).limit(limit)
        with self._reading() as connection:
            return [Decision(**row._mapping) for row in reversed(connection.execute(query).all())]

    def record_request(self, job: str, request: Request) -> bool:
        """Remember what a person asked for; False, and the first stands, if the same was asked of this run already."""
        return self._enter(job, requests, request)

    def requests(self, job: str, limit: int | None = None) -> list[Request]:
        """The newest `limit` requests of people, or all, oldest first."""
        query = sa.select(*REQUEST).where(requests.c.job == job).order_by(requests.c.number.desc()).limit(limit)
        with self._reading() as connection:
            return [Request(**row._mapping) for row in reversed(connection.execute(query).all())]

    def mark(self, job: str, name: str) -> str | None:
        """The value last set under `name`, or None."""
        with self._reading() as connection:
            query = sa.select(marks.c.value).where(marks.c.job == job, marks.c.name == name)
            value: str | None = connection.execute(query).scalar()
            return value

    def set_mark(self, job: str, name: str, value: str) -> None:
        """Set a value under `name`, in place of the one before."""
        with self._writing(job) as connection:
            statement = insert(connection, marks).values(job=job, name=name, value=value)
            statement = statement.on_conflict_do_update(index_elements=list(marks.primary_key), set_={"value": value})
            connection.execute(statement)

    def _enter(self, job: str, table: sa.Table, record: Decision | Request) -> bool:
        """Add a record as its table's next row, unless it has one of the same key."""
        with self._writing(job) as connection:
            row = {**asdict(record), "job": job, "number": next_number(connection, job)}
            return connection.execute(insert(connection, table).values(row).on_conflict_do_nothing()).rowcount == 1

"""What was decided, and how far each reader of the outside world has read."""

from __future__ import annotations

from dataclasses import asdict, fields

import sqlalchemy as sa

from data.ledger.database import Database, insert, next_number
from data.ledger.records import Decision
from data.ledger.tables import decisions, marks


class Journal(Database):
    """The decisions and the marks of each job."""

    def record_decision(self, job: str, decision: Decision) -> bool:
        """Remember a decision; False, and the first one stands, if this run has made one of this kind already."""
        with self._writing(job) as connection:
            row = {**asdict(decision), "job": job, "number": next_number(connection, job)}
            added = connection.execute(insert(connection, decisions).values(row).on_conflict_do_nothing())
            return added.rowcount == 1

    def decisions(self, job: str, limit: int | None = None) -> list[Decision]:
        """The newest `limit` decisions of a job, or all, oldest first."""
        columns = [decisions.c[field.name] for field in fields(Decision)]
        query = sa.select(*columns).where(decisions.c.job == job).order_by(decisions.c.number.desc()).limit(limit)
        with self._reading() as connection:
            return [Decision(**row._mapping) for row in reversed(connection.execute(query).all())]

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

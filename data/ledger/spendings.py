"""What each decision on a holdout spends of the holdout's error budget, so that together they never exceed it."""

from __future__ import annotations

from dataclasses import asdict

import sqlalchemy as sa

from data.ledger.database import Database
from data.ledger.records import Spending
from data.ledger.tables import spendings

COLUMNS = (spendings.c.number, spendings.c.alpha, spendings.c.left)


class Spendings(Database):
    """The error budgets of the holdouts."""

    def spend(self, job: str, holdout: str, comparison: str, budget: float, decisions: int) -> Spending:
        """Give a comparison on a holdout the `decisions`-th part of what is left of the holdout's `budget`.

        However many comparisons come, together they get no more than the first one's `budget`. The same comparison has
        what it was given.
        """
        here = (spendings.c.job == job, spendings.c.holdout == holdout)
        with self._writing(job) as connection:
            known = connection.execute(sa.select(*COLUMNS).where(*here, spendings.c.comparison == comparison)).first()
            if known is not None:
                return Spending(*known)
            newest = _newest(connection, job, holdout)
            left = budget if newest is None else newest.left
            alpha = left / decisions
            spending = Spending(1 if newest is None else newest.number + 1, alpha, left - alpha)
            row = {**asdict(spending), "job": job, "holdout": holdout, "comparison": comparison}
            connection.execute(sa.insert(spendings).values(row))
            return spending

    def spending(self, job: str, holdout: str) -> Spending | None:
        """The newest decision on a holdout; its number is how many there were. None if there was none."""
        with self._reading() as connection:
            return _newest(connection, job, holdout)


def _newest(connection: sa.Connection, job: str, holdout: str) -> Spending | None:
    query = sa.select(*COLUMNS).where(spendings.c.job == job, spendings.c.holdout == holdout)
    row = connection.execute(query.order_by(spendings.c.number.desc()).limit(1)).first()
    return None if row is None else Spending(*row)

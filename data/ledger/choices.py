"""Which samples people are asked about: chosen by lot or by a miner, in which order, by whose prediction."""

from collections import Counter

import sqlalchemy as sa

from data.ledger.database import next_number
from data.ledger.records import Chosen, Drawn, Look, SampleState, Selected
from data.ledger.rows import (
    ANNOTATED,
    ANNOTATION_COLUMNS,
    Row,
    Rows,
    add_to_tallies,
    advance,
    annotation_of,
    known_row,
    sample_of,
)
from data.ledger.tables import annotations, predictions, samples
from data.sample import Box, Prediction

# The miner of what was drawn by lot. Conditions on it are written out in the queries, so that SQLite sees that its
# partial indexes answer them.
LOT = "random"
DRAWN = sa.text("sample.miner = 'random' AND sample.state = 'labelled'")
MINED = sa.text("sample.miner <> 'random'")
CHOSEN_BY = sa.and_(
    predictions.c.job == samples.c.job,
    predictions.c.sample_id == samples.c.id,
    predictions.c.model_version == samples.c.model_version,
)
FOUND = predictions.c.boxes.label("found")


class Choices(Rows):
    """Samples on their way from the model that predicted them to the people who label them."""

    def select(
        self,
        job: str,
        sample_id: str,
        miner: str,
        probability: float,
        hardness: float,
        model_version: str | None = None,
    ) -> bool:
        """Choose a sample for labelling, by the prediction of `model_version`; False if it is as far already.

        The miner `random` is the lot, and `probability` the one it was drawn with.
        """
        with self._writing(job) as connection:
            row = known_row(connection, job, sample_id)
            mined = {"miner": miner, "probability": probability, "hardness": hardness, "model_version": model_version}
            if not advance(connection, row, "selected", **mined, chosen=next_number(connection, job)):
                return False
            add_to_tallies(connection, job, Counter([("miner", miner, row.split)]))
            return True

    def pass_over(self, job: str, sample_id: str, hardness: float) -> bool:
        """Leave a sample unlabelled; False if it was passed over or chosen already."""
        with self._writing(job) as connection:
            return advance(connection, known_row(connection, job, sample_id), "passed", hardness=hardness)

    def mined(self, job: str) -> int:
        """How many samples were ever chosen for labelling, by a miner or by lot."""
        return sum(self._tally(job, "miner").values())

    def selected(self, job: str, limit: int | None = None) -> list[Selected]:
        """What waits to be pushed: first what was drawn by lot, in the order of arrival, then the hardest first.

        Were the hard ones labelled first and the lots as far as people come, the lots that have a label would no longer
        be drawn by lot.
        """
        by_miner = samples.c.miner != LOT
        hardness = sa.case((by_miner, samples.c.hardness), else_=0.0)
        # Sorted anew each time: no more are selected than the job's budget has places.
        query = sa.select(samples).where(samples.c.job == job, samples.c.state == "selected")
        query = query.order_by(by_miner, hardness.desc(), samples.c.arrived).limit(limit)
        with self._reading() as connection:
            rows = connection.execute(query).all()
        return [Selected(sample_of(row), row.miner, row.probability, row.hardness) for row in rows]

    def looks(self, job: str, state: SampleState, limit: int | None = None) -> list[Look]:
        """How the samples in a state look, latest arrival first."""
        query = sa.select(samples.c.id, samples.c.domain, samples.c.difference_hash)
        query = query.where(samples.c.job == job, samples.c.state == state)
        with self._reading() as connection:
            rows = connection.execute(query.order_by(samples.c.arrived.desc()).limit(limit)).all()
        return [Look(row.id, row.domain, row.difference_hash & (1 << 64) - 1) for row in rows]

    def drawn(self, job: str, model_version: str, limit: int = 500) -> list[Drawn]:
        """The validly labelled samples that were drawn by lot while `model_version` served, latest arrival first."""
        query = sa.select(samples, *ANNOTATION_COLUMNS, FOUND).join(annotations, ANNOTATED).join(predictions, CHOSEN_BY)
        query = query.where(samples.c.job == job, DRAWN, samples.c.model_version == model_version)
        with self._reading() as connection:
            rows = connection.execute(query.order_by(samples.c.arrived.desc()).limit(limit)).all()
        return [Drawn(sample_of(row), annotation_of(row), _prediction_of(row), row.probability) for row in rows]

    def chosen(self, job: str, limit: int, before: int | None = None) -> list[Chosen]:
        """The samples that a miner chose, latest first; with `before`, those with a smaller number."""
        valid = sa.and_(ANNOTATED, samples.c.state == "labelled")
        query = sa.select(samples, annotations.c.id.label("said"), *ANNOTATION_COLUMNS, FOUND)
        query = query.outerjoin(annotations, valid).outerjoin(predictions, CHOSEN_BY)
        query = query.where(samples.c.job == job, MINED)
        if before is not None:
            query = query.where(samples.c.chosen < before)
        with self._reading() as connection:
            rows = connection.execute(query.order_by(samples.c.chosen.desc()).limit(limit)).all()
        return [_chosen_of(row) for row in rows]


def _prediction_of(row: Row) -> Prediction:
    """The prediction of a row that has the columns of `sample`, and `found`."""
    return Prediction(row.id, row.model_version, tuple(Box.from_json(box) for box in row.found))


def _chosen_of(row: Row) -> Chosen:
    return Chosen(
        number=row.chosen,
        sample=sample_of(row),
        state=row.state,
        miner=row.miner,
        probability=row.probability,
        hardness=row.hardness,
        prediction=None if row.found is None else _prediction_of(row),
        annotation=None if row.said is None else annotation_of(row),
    )

"""The machines' part of a sample's way: it arrives or is refused, is predicted, and pushed once it is chosen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict

import sqlalchemy as sa

from data.ledger.database import insert, next_number
from data.ledger.records import LedgerRefused, Refusal, SampleState
from data.ledger.rows import Rows, add_to_tallies, advance, known_row, sample_of
from data.ledger.tables import predictions, refusals, samples
from data.sample import Box, Prediction, Sample

# Three bands of a 64-bit hash as (shift, width): of five differing bits, some band has at most one, so that looking up
# a band's value and its neighbours finds every near-duplicate, in buckets that stay small for millions of samples.
BANDS = ((0, 22), (22, 21), (43, 21))
BANDED = (samples.c.band_0, samples.c.band_1, samples.c.band_2)
LARGEST_DISTANCE = 5
IDS_IN_ONE_QUERY = 500


class Arrivals(Rows):
    """Samples up to the moment when people are asked about them."""

    def add_sample(self, job: str, sample: Sample, difference_hash: int) -> bool:
        """Enter a sample under its 64-bit difference hash; False, and nothing changes, if it is there already."""
        with self._writing(job) as connection:
            known = sa.select(samples.c.id).where(samples.c.job == job, samples.c.id == sample.id)
            if connection.execute(known).first() is not None:
                return False
            row = {
                **asdict(sample),
                **_bands(difference_hash),
                "job": job,
                "arrived": next_number(connection, job),
                "difference_hash": _signed(difference_hash),
                "stage": "arrived",
                "state": "arrived",
                "pending": False,
                "unversioned": False,
            }
            connection.execute(sa.insert(samples).values(row))
            counted = [("state", "arrived", sample.split), ("domain", sample.domain, sample.split)]
            add_to_tallies(connection, job, Counter(counted))
            return True

    def near_duplicates(self, job: str, difference_hash: int, max_distance: int = 2, limit: int = 8) -> list[Sample]:
        """At most `limit` samples whose hashes differ in at most `max_distance` of 64 bits, nearest and latest first.

        Of the samples that share a band's value only the latest `limit` are looked at, so that it costs the same
        however many look alike.

        Raises:
            ValueError: `max_distance` is larger than the index can answer for.
        """
        if not 0 <= max_distance <= LARGEST_DISTANCE:
            raise ValueError(f"max_distance is {max_distance}; the index answers for 0 to {LARGEST_DISTANCE} bits")
        wanted = _signed(difference_hash)
        alike = [samples.c.difference_hash == wanted]
        for band, values in zip(BANDED, _neighbours(difference_hash), strict=True):
            alike += [band == value for value in values]
        latest = sa.select(samples.c.id, samples.c.difference_hash, samples.c.arrived).where(samples.c.job == job)
        latest = latest.order_by(samples.c.arrived.desc()).limit(limit)
        query = sa.union(*(sa.select(latest.where(condition).subquery()) for condition in alike))
        with self._reading() as connection:
            found = [
                (_distance(row.difference_hash, wanted), -row.arrived, row.id) for row in connection.execute(query)
            ]
            near = sorted(each for each in found if each[0] <= max_distance)[:limit]
            return [sample_of(known_row(connection, job, sample_id)) for _, _, sample_id in near]

    def stratum_counts(self, job: str, domain: str) -> tuple[int, int]:
        """How many samples of a domain there are to train on, and how many are held out."""
        train = self._tally(job, "domain", "train").get(domain, 0)
        return train, self._tally(job, "domain", "holdout").get(domain, 0)

    def counts(self, job: str) -> dict[str, int]:
        """How many samples are in each state; states without one are left out."""
        return self._tally(job, "state")

    def sample(self, job: str, sample_id: str) -> Sample | None:
        """The sample of that hash, or None."""
        return self._first(samples.c.job == job, samples.c.id == sample_id)

    def has(self, job: str, sample_ids: Iterable[str]) -> set[str]:
        """Which of these samples are there."""
        wanted = sorted(set(sample_ids))
        found: set[str] = set()
        with self._reading() as connection:
            for start in range(0, len(wanted), IDS_IN_ONE_QUERY):
                some = wanted[start : start + IDS_IN_ONE_QUERY]
                query = sa.select(samples.c.id).where(samples.c.job == job, samples.c.id.in_(some))
                found.update(connection.execute(query).scalars())
        return found

    def samples(self, job: str, state: SampleState | None = None) -> Iterator[Sample]:
        """The samples of a job in the order of their arrival, all or those in one state."""
        statement = sa.select(samples).where(samples.c.job == job)
        if state is not None:
            statement = statement.where(samples.c.state == state)
        return map(sample_of, self._pages(statement, samples.c.arrived))

    def state(self, job: str, sample_id: str) -> SampleState | None:
        """The state of a sample; None if it never arrived."""
        with self._reading() as connection:
            query = sa.select(samples.c.state).where(samples.c.job == job, samples.c.id == sample_id)
            found: SampleState | None = connection.execute(query).scalar()
            return found

    def add_refusal(self, job: str, source: str, sha256: str, problems: Sequence[str]) -> bool:
        """Remember why an object was not taken; False if that is remembered already."""
        with self._writing(job) as connection:
            query = sa.select(refusals.c.job).where(
                refusals.c.job == job, refusals.c.source == source, refusals.c.sha256 == sha256
            )
            if connection.execute(query).first() is not None:
                return False
            row = {"job": job, "source": source, "sha256": sha256, "problems": list(problems)}
            connection.execute(sa.insert(refusals).values(**row, number=next_number(connection, job)))
            return True

    def refusals(self, job: str) -> Iterator[Refusal]:
        """What was not taken, and why, oldest first."""
        rows = self._pages(sa.select(refusals).where(refusals.c.job == job), refusals.c.number)
        return (Refusal(row.source, row.sha256, tuple(row.problems)) for row in rows)

    def add_prediction(self, job: str, prediction: Prediction, hardness: float) -> bool:
        """Keep what a model version found and how hard it found it; False if that is known already."""
        with self._writing(job) as connection:
            known_row(connection, job, prediction.sample_id)
            row = {
                "job": job,
                "sample_id": prediction.sample_id,
                "model_version": prediction.model_version,
                "number": next_number(connection, job),
                "boxes": [box.to_json() for box in prediction.boxes],
                "hardness": hardness,
            }
            added = connection.execute(insert(connection, predictions).values(row).on_conflict_do_nothing())
            return added.rowcount == 1

    def prediction(self, job: str, sample_id: str) -> Prediction | None:
        """The newest prediction for a sample, or None."""
        query = sa.select(predictions).where(predictions.c.job == job, predictions.c.sample_id == sample_id)
        with self._reading() as connection:
            row = connection.execute(query.order_by(predictions.c.number.desc()).limit(1)).first()
        if row is None:
            return None
        return Prediction(sample_id, row.model_version, tuple(Box.from_json(box) for box in row.boxes))

    def record_push(self, job: str, sample_id: str, task_id: int) -> bool:
        """Remember the labelling task of a sample; False if it is known already.

        Raises:
            LedgerRefused: the sample has another task, or the task another sample.
        """
        with self._writing(job) as connection:
            row = known_row(connection, job, sample_id)
            if row.task_id == task_id:
                return False
            if row.task_id is not None:
                raise LedgerRefused(f"sample {sample_id} has task {row.task_id} already; delete task {task_id}")
            other = sa.select(samples.c.id).where(samples.c.job == job, samples.c.task_id == task_id)
            if (owner := connection.execute(other).scalar()) is not None:
                raise LedgerRefused(f"task {task_id} is about sample {owner}, so it cannot be about {sample_id} too")
            return advance(connection, row, "pushed", task_id=task_id)

    def task_of(self, job: str, sample_id: str) -> int | None:
        """The labelling task of a sample, or None."""
        with self._reading() as connection:
            query = sa.select(samples.c.task_id).where(samples.c.job == job, samples.c.id == sample_id)
            task_id: int | None = connection.execute(query).scalar()
            return task_id

    def sample_of_task(self, job: str, task_id: int) -> Sample | None:
        """The sample a labelling task is about, or None."""
        return self._first(samples.c.job == job, samples.c.task_id == task_id)

    def _first(self, *conditions: sa.ColumnElement[bool]) -> Sample | None:
        with self._reading() as connection:
            row = connection.execute(sa.select(samples).where(*conditions)).first()
        return None if row is None else sample_of(row)


def _signed(difference_hash: int) -> int:
    """The 64 bits as the signed integer that SQL has."""
    return difference_hash - (1 << 64) if difference_hash >> 63 else difference_hash


def _distance(first: int, second: int) -> int:
    """In how many of 64 bits two signed hashes differ."""
    return ((first ^ second) & (1 << 64) - 1).bit_count()


def _bands(difference_hash: int) -> dict[str, int]:
    return {
        column.name: difference_hash >> shift & (1 << width) - 1
        for column, (shift, width) in zip(BANDED, BANDS, strict=True)
    }


def _neighbours(difference_hash: int) -> list[list[int]]:
    """For each band its value, and the values that differ from it in one bit."""
    return [
        [value, *(value ^ 1 << bit for bit in range(width))]
        for value, (_, width) in zip(_bands(difference_hash).values(), BANDS, strict=True)
    ]

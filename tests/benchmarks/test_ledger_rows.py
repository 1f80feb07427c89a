"""The rows of a filled ledger are those that the ledger's own methods write."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from benchmarks.ledger_rows import BLOCK, FATES, PROBLEMS, SHARES, Story, decision_of, fill, story
from data.ledger import Ledger, tables

JOB = "boards"
# Of two blocks each sample with a fate of its own, and some that were passed over.
STORIES = [
    each
    for each in (story(index, 2 * BLOCK) for index in range(2 * BLOCK))
    if each.fate != "passed" or each.index % 100 == 0
]
TIMES = {"arrived", "number", "chosen", "sequence", "claimed_at", "ended_at", "heartbeat"}


def tell(ledger: Ledger, stories: list[Story]) -> None:
    """Let the ledger live through `stories`: block after block, and what is pending after the last training."""
    for block in sorted({each.block for each in stories}):
        told = [each for each in stories if each.block == block]
        for each in told:
            _machines(ledger, each)
            if each.fate != "pending":
                _people(ledger, each)
        run_id = decision_of(block).run_id
        ledger.claim_training(JOB, run_id)
        added, removed = ledger.unversioned(JOB, run_id)
        ledger.record_dataset(JOB, run_id, f"d{block + 1}", added, removed)
        ledger.finish_training(JOB, run_id, dataset_version=f"d{block + 1}", candidate=f"v{block + 1}")
        ledger.record_decision(JOB, decision_of(block))
    for each in stories:
        if each.fate == "pending":
            _people(ledger, each)


def _machines(ledger: Ledger, each: Story) -> None:
    ledger.add_sample(JOB, each.sample, each.difference_hash)
    if each.prediction is None:
        return
    ledger.add_prediction(JOB, each.prediction, each.hardness)
    if each.miner is None:
        ledger.pass_over(JOB, each.sample.id, each.hardness)
        return
    ledger.select(JOB, each.sample.id, each.miner, each.probability, each.hardness, each.model_version)
    if each.task_id is not None:
        ledger.record_push(JOB, each.sample.id, each.task_id)


def _people(ledger: Ledger, each: Story) -> None:
    if each.annotation is not None:
        ledger.record_annotation(JOB, each.annotation, PROBLEMS if each.fate == "quarantined" else [])
    elif each.fate == "skipped":
        ledger.record_skip(JOB, each.sample.id, each.at, f"annotation {each.index}")


def content(ledger: Ledger) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table but for when it was written; tallies that count nothing left out."""
    engine = sa.create_engine(ledger.url)
    with engine.connect() as connection:
        found = {
            name: [
                {column: value for column, value in row._mapping.items() if column not in TIMES}
                for row in connection.execute(sa.select(table).order_by(*table.primary_key))
                if name != "tally" or row._mapping["count"]
            ]
            for name, table in tables.metadata.tables.items()
        }
    engine.dispose()
    return found


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    ledger = Ledger(f"sqlite:///{tmp_path_factory.mktemp('filled')}/ledger.db")
    ledger.upgrade()
    fill(ledger.url.render_as_string(), JOB, STORIES)
    return ledger


def test_each_block_has_its_shares() -> None:
    assert Counter(story(index, BLOCK).fate for index in range(BLOCK, 2 * BLOCK)) == SHARES
    assert len(FATES) == BLOCK


@pytest.mark.slow
def test_filled_rows_are_those_that_the_ledger_writes(tmp_path: Path, filled: Ledger) -> None:
    told = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    told.upgrade()
    tell(told, STORIES)
    expected, found = content(told), content(filled)
    assert {name for name, rows in expected.items() if rows} == {
        "annotation", "decision", "job", "prediction", "sample", "tally", "training", "word",
    }  # fmt: skip
    for name, rows in expected.items():
        assert found[name] == rows, name


def test_order_of_arrival_is_the_order_of_the_stories(filled: Ledger) -> None:
    assert [sample.id for sample in filled.samples(JOB)] == [each.sample.id for each in STORIES]


def test_ledger_answers_from_filled_rows(filled: Ledger) -> None:
    fates = Counter(each.fate for each in STORIES)
    assert filled.pending(JOB) == fates["pending"] == 20
    last = filled.last_training(JOB)
    assert last is not None
    assert (last.run_id, last.samples) == ("run 1", 50)
    drawn = filled.drawn(JOB, "v2")
    by_lot = [each.sample.id for each in STORIES if each.annotation and each.miner == "random" and each.block == 1]
    assert [each.sample.id for each in drawn] == [
        each.sample.id for each in reversed(STORIES) if each.sample.id in set(by_lot) and each.fate != "quarantined"
    ]

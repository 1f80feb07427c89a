"""Migrations, several processes at once, kills, and the cost of a step in a large ledger."""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext

from data.ledger import Decision, Ledger, LedgerRefused, Request, tables
from data.ledger.database import MIGRATIONS
from data.ledger.tables import metadata, predictions, samples, tallies
from data.sample import Annotation, Box, Prediction, Sample

ROOT = Path(__file__).resolve().parents[3]

UPGRADE = """
import sys
from data.ledger import Ledger
Ledger(sys.argv[1]).upgrade()
"""

CLAIM = """
import sys
from data.ledger import Ledger, TrainingActive
url, job, run_id = sys.argv[1:]
try:
    print(Ledger(url).claim_training(job, run_id).samples)
except TrainingActive as error:
    print(error.other.run_id)
"""

WORK = """
import sys
from data.ledger import Ledger
from data.sample import Annotation, Box, Sample
url, job = sys.argv[1:]
ledger = Ledger(url)
print("working", flush=True)
for number in range(100_000):
    name = f"{number:08d}"
    ledger.add_sample(job, Sample(name, 640, 480, "line", name, "holdout" if number % 3 == 0 else "train"), number)
    ledger.record_annotation(job, Annotation(name, (Box(1, 2, 30, 40, "open"),), "ann", "2026-01-01T00:00:00Z"))
    if number % 4 == 0:
        ledger.withdraw_annotation(job, name, "")
"""


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def url_of(ledger: Ledger) -> str:
    return ledger.url.render_as_string(hide_password=False)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://host/ledger"])
def test_a_database_that_cannot_be_a_ledger_is_refused(url: str) -> None:
    with pytest.raises(LedgerRefused, match="use sqlite:///"):
        Ledger(url)


def test_the_revisions_make_the_tables_that_the_code_knows(empty_url: str) -> None:
    ledger = Ledger(empty_url)
    ledger.upgrade()
    ledger.upgrade()
    with ledger._reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    ledger.close()


def upgrade_to(ledger: Ledger, revision: str) -> None:
    """Create the tables as that revision has them."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with ledger._writing_engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def in_the_first_tables(ledger: Ledger) -> None:
    """Enter a job as the first revision left it: two labels pending, one used, one quarantined, some chosen."""
    old = sa.MetaData()
    row = {"width": 9, "height": 9, "domain": "line", "source": "", "difference_hash": 0, "stage": "pushed"}
    row |= {"band_0": 0, "band_1": 0, "band_2": 0, "unversioned": False, "job": "job", "split": "train"}
    known = [
        ("a", "labelled", True, "IBT", ["open", "open", "short"]),
        ("b", "labelled", True, "random", ["open"]),
        ("c", "labelled", False, "IBT", ["open"]),
        ("d", "quarantined", False, "random", ["open"]),
        ("e", "arrived", False, None, []),
    ]
    with ledger._writing_engine.begin() as connection:
        old.reflect(connection)
        for arrived, (name, state, pending, miner, classes) in enumerate(known, start=1):
            said = {"id": name, "state": state, "pending": pending, "miner": miner, "arrived": arrived}
            said |= {"annotation_id": f"said {name}" if classes else None, "hardness": 0.5, "probability": 0.5}
            connection.execute(sa.insert(old.tables["sample"]).values(**row, **said))
            for number, version in enumerate(("v1", "v2")):
                found = {"job": "job", "sample_id": name, "model_version": version, "number": 10 * arrived + number}
                connection.execute(sa.insert(old.tables["prediction"]).values(**found, boxes="[]", hardness=0.5))
            if classes:
                boxes = json.dumps([Box(1, 2, 3, 4, label).to_json() for label in classes])
                values = {"job": "job", "id": f"said {name}", "sample_id": name, "annotator": "ann", "boxes": boxes}
                values |= {"updated_at": "2026-01-01T00:00:00.000000+00:00", "reference": "1", "problems": "[]"}
                connection.execute(sa.insert(old.tables["annotation"]).values(values))
        connection.execute(sa.insert(old.tables["job"]).values(name="job", sequence=99))


def test_what_the_first_tables_hold_is_counted_when_they_are_upgraded(empty_url: str) -> None:
    ledger = Ledger(empty_url)
    upgrade_to(ledger, "0001")
    in_the_first_tables(ledger)
    ledger.upgrade()
    assert (ledger.pending("job"), ledger.pending_by_class("job")) == (2, {"open": 2, "short": 1})
    assert ledger.mined("job") == 4
    chosen = ledger.chosen("job", limit=9)
    assert [(each.number, each.sample.id) for each in chosen] == [(3, "c"), (1, "a")]
    assert [each.prediction for each in chosen] == [Prediction(name, "v2", ()) for name in "ca"]
    assert ledger.drawn("job", "v2") == [], "what was labelled last is no random sample"
    assert {annotation.classes for _, annotation in ledger.labelled("job")} == {None}, "all classes, as they are asked"
    assert ledger.claim_training("job", "run").samples == 2
    assert (ledger.pending("job"), ledger.pending_by_class("job")) == (0, {})
    ledger.fail_training("job", "run")
    assert (ledger.pending("job"), ledger.pending_by_class("job")) == (2, {"open": 2, "short": 1})
    ledger.close()


def test_whatever_is_written_to_a_job_takes_its_next_number(ledger: Ledger, job: str) -> None:
    label = Annotation("a", (Box(1, 2, 30, 40, "open"),), "ann", "2026-01-01T00:00:00Z", "1")
    steps: list[Callable[[], object]] = [
        lambda: ledger.add_sample(job, Sample("a", 640, 480, "line", "a", "train"), 7),
        lambda: ledger.add_prediction(job, Prediction("a", "v1", ()), 0.5),
        lambda: ledger.select(job, "a", "IBT", 1.0, 0.5, "v1"),
        lambda: ledger.record_push(job, "a", 7),
        lambda: ledger.record_annotation(job, label),
        lambda: ledger.claim_training(job, "run"),
        lambda: ledger.record_dataset(job, "run", "d1", [], []),
        lambda: ledger.fail_training(job, "run"),
        lambda: ledger.record_skip(job, "a", "2026-01-02T00:00:00Z", "1"),
        lambda: ledger.withdraw_annotation(job, "a", "1"),
        lambda: ledger.record_decision(job, Decision("promote", "run", "rejected", [], "ada")),
        lambda: ledger.record_request(job, Request("run", "ada", "learn")),
        lambda: ledger.spend(job, "h", "v2 over v1", 0.05, 40),
        lambda: ledger.set_mark(job, "read", "monday"),
    ]
    assert ledger.sequence(job) == 0
    for step in steps:
        before = ledger.sequence(job)
        step()
        assert ledger.sequence(job) > before
    before = ledger.sequence(job)
    ledger.pending(job)
    ledger.trainings(job)
    ledger.add_refusal(f"{job}_b", "a", "00", ["empty"])
    assert ledger.sequence(job) == before


def test_a_ledger_of_a_newer_ratchet_is_refused(empty_url: str) -> None:
    ledger = Ledger(empty_url)
    ledger.upgrade()
    with ledger._writing("job") as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(LedgerRefused, match="run the Ratchet that wrote it"):
        ledger.upgrade()
    ledger.close()


@pytest.mark.slow
def test_processes_upgrade_an_empty_ledger_together(empty_url: str) -> None:
    processes = [start(UPGRADE, empty_url) for _ in range(5)]
    for process in processes:
        assert process.communicate()[1] == ""
        assert process.returncode == 0
    ledger = Ledger(empty_url)
    assert ledger.counts("job") == {}
    ledger.close()


@pytest.mark.slow
def test_of_processes_that_claim_together_one_trains(ledger: Ledger, job: str) -> None:
    for name in "abc":
        ledger.add_sample(job, Sample(name, 640, 480, "line", name, "train"), ord(name))
        ledger.record_annotation(job, Annotation(name, (Box(1, 2, 30, 40, "open"),), "ann", "2026-01-01T00:00:00Z"))
    processes = {f"run_{number}": start(CLAIM, url_of(ledger), job, f"run_{number}") for number in range(4)}
    answers = {run_id: process.communicate()[0].strip() for run_id, process in processes.items()}
    winners = [run_id for run_id, answer in answers.items() if answer == "3"]
    assert len(winners) == 1
    assert set(answers.values()) == {"3", winners[0]}


@pytest.mark.slow
def test_a_process_killed_anywhere_leaves_counts_that_agree(ledger: Ledger, job: str) -> None:
    for seed in range(5):
        process = start(WORK, url_of(ledger), job)
        assert process.stdout is not None
        assert process.stdout.readline() == "working\n"
        time.sleep(random.Random(seed).uniform(0.1, 0.4))
        process.kill()
        process.communicate()
        found = {state: len(list(ledger.samples(job, state))) for state in ("arrived", "labelled")}
        assert ledger.counts(job) == {state: count for state, count in found.items() if count}
        assert sum(ledger.stratum_counts(job, "line")) == sum(found.values())
        boxes = Counter(sample.split for sample, _ in ledger.labelled(job))
        assert ledger.support(job, "holdout").get("open", 0) == boxes["holdout"]
        assert ledger.pending(job) == ledger.support(job, "train").get("open", 0) == boxes["train"]
        # The next process begins again from the first sample, and all that is done already changes nothing.


def used_samples(ledger: Ledger, job: str, count: int, alike: bool = False) -> None:
    """Enter many samples that finished trainings have used, past the methods that would take minutes for them.

    With `alike`, all have the same hash, as those of a fixed camera would.
    """
    ledger.add_sample(job, Sample("first", 640, 480, "line", "first", "train"), 1)
    ledger.claim_training(job, "used all")
    ledger.finish_training(job, "used all", dataset_version="d1", candidate="v1")
    spread = random.Random(0)
    with ledger._writing(job) as connection:
        first = connection.execute(sa.select(samples).where(samples.c.job == job)).one()._asdict()
        rows = [
            {
                **first,
                "id": f"{number:064x}",
                "arrived": number + 10,
                "state": "labelled",
                "chosen": number + 10,
                "miner": "IBT" if number % 2 else "random",
                "probability": 0.5,
                "hardness": 0.5,
                "model_version": "v1",
                "annotation_id": f"said of {number:064x}",
                **({} if alike else {"difference_hash": spread.getrandbits(63), **spread_bands(spread)}),
            }
            for number in range(count)
        ]
        connection.execute(sa.insert(samples), rows)
        said = {"annotator": "ann", "updated_at": "", "reference": "", "boxes": [], "problems": [], "training_id": 1}
        of_sample = [{"job": job, "sample_id": row["id"]} for row in rows]
        found = {"model_version": "v1", "number": 1, "boxes": [], "hardness": 0.5}
        connection.execute(sa.insert(predictions), [{**key, **found} for key in of_sample])
        taken = [{**key, **said, "id": f"said of {key['sample_id']}"} for key in of_sample]
        connection.execute(sa.insert(tables.annotations), taken)
        counted = [("state", "labelled", count), ("domain", "line", count), ("class", "open", count)]
        connection.execute(
            sa.insert(tallies).prefix_with("OR REPLACE"),
            [{"job": job, "kind": kind, "name": name, "split": "train", "count": n} for kind, name, n in counted],
        )


def spread_bands(spread: random.Random) -> dict[str, int]:
    return {f"band_{band}": spread.getrandbits(21) for band in range(3)}


def counting(ledger: Ledger) -> Callable[[Callable[[], Any]], int]:
    """Counts what something costs, in instructions of SQLite's virtual machine: the same on every computer."""
    executed = itertools.count()

    @sa.event.listens_for(ledger._engine, "connect")
    def count_instructions(connection: Any, record: Any) -> None:
        connection.set_progress_handler(lambda: next(executed) < 0, 1)

    def cost(step: Callable[[], Any]) -> int:
        before = next(executed)
        step()
        return next(executed) - before

    return cost


# Each with the ledger, the job, and the name of a new sample and run.
STEPS: dict[str, Callable[[Ledger, str, str], Any]] = {
    "pending": lambda ledger, job, _: ledger.pending(job),
    "pending_by_class": lambda ledger, job, _: ledger.pending_by_class(job),
    "counts": lambda ledger, job, _: ledger.counts(job),
    "stratum_counts": lambda ledger, job, _: ledger.stratum_counts(job, "line"),
    "support": lambda ledger, job, _: ledger.support(job, "holdout"),
    "near_duplicate": lambda ledger, job, _: ledger.near_duplicates(job, 0x0123456789ABCDEF),
    "add_sample": lambda ledger, job, name: ledger.add_sample(job, Sample(name, 9, 9, "line", name, "train"), 7),
    "select": lambda ledger, job, name: ledger.select(job, name, "IBT", 1.0, 0.5),
    "selected": lambda ledger, job, _: ledger.selected(job),
    "push": lambda ledger, job, name: ledger.record_push(job, name, len(name)),
    "annotate": lambda ledger, job, name: ledger.record_annotation(
        job, Annotation(name, (Box(1, 2, 30, 40, "open"),), "ann", "2026-01-01T00:00:00Z")
    ),
    "claim": lambda ledger, job, name: ledger.claim_training(job, name),
    "unversioned": lambda ledger, job, name: ledger.unversioned(job, name),
    "fail": lambda ledger, job, name: ledger.fail_training(job, name),
    "mined": lambda ledger, job, _: ledger.mined(job),
    "drawn": lambda ledger, job, _: ledger.drawn(job, "v1", limit=20),
    "chosen": lambda ledger, job, _: ledger.chosen(job, limit=20),
    "looks": lambda ledger, job, _: ledger.looks(job, "labelled", 20),
    "last_training": lambda ledger, job, _: ledger.last_training(job),
}


# What is looked up without walking through rows, each with the index that finds it.
LOOKUPS: dict[str, tuple[str, Callable[[Ledger], Any]]] = {
    "pending": ("sqlite_autoindex_tally", lambda ledger: ledger.pending("job")),
    "pending_by_class": ("sqlite_autoindex_tally", lambda ledger: ledger.pending_by_class("job")),
    "mined": ("sqlite_autoindex_tally", lambda ledger: ledger.mined("job")),
    "sequence": ("sqlite_autoindex_job", lambda ledger: ledger.sequence("job")),
    "drawn": ("ix_sample_drawn", lambda ledger: ledger.drawn("job", "v1")),
    "chosen": ("ix_sample_chosen", lambda ledger: ledger.chosen("job", 20)),
    "chosen before": ("ix_sample_chosen", lambda ledger: ledger.chosen("job", 20, before=7)),
    "looks": ("ix_sample_state", lambda ledger: ledger.looks("job", "labelled", 20)),
    "selected": ("ix_sample_state", lambda ledger: ledger.selected("job", 20)),
    "last_training": ("ix_training_finished", lambda ledger: ledger.last_training("job")),
    "decision": ("sqlite_autoindex_decision", lambda ledger: ledger.decision("job", "run")),
    "newest decision": ("ix_decision_number", lambda ledger: ledger.decisions("job", limit=1)),
    "newest request": ("ix_request_number", lambda ledger: ledger.requests("job", limit=1)),
    "spending": ("ix_spending_number", lambda ledger: ledger.spending("job", "h")),
}


@pytest.fixture(scope="module")
def empty_ledger(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    ledger = Ledger(f"sqlite:///{tmp_path_factory.mktemp('plans')}/ledger.db")
    ledger.upgrade()
    return ledger


@pytest.mark.parametrize("lookup", LOOKUPS)
def test_what_is_looked_up_is_found_by_an_index(empty_ledger: Ledger, lookup: str) -> None:
    index, look_up = LOOKUPS[lookup]
    asked: list[tuple[str, Any]] = []

    def remember(_c: Any, _k: Any, statement: str, parameters: Any, _x: Any, _m: Any) -> None:
        asked.append((statement, parameters))

    sa.event.listen(empty_ledger._engine, "before_cursor_execute", remember)
    try:
        look_up(empty_ledger)
    finally:
        sa.event.remove(empty_ledger._engine, "before_cursor_execute", remember)
    statement, parameters = next(each for each in reversed(asked) if each[0].startswith("SELECT"))
    with empty_ledger._reading() as connection:
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
    plan = [row.detail for row in rows]
    assert index in plan[0]
    assert [step for step in plan if step.startswith("SCAN")] == []
    # What waits to be pushed is sorted: it is never more than the budget.
    assert [step for step in plan if "TEMP B-TREE" in step] == [] or lookup == "selected"


@pytest.mark.slow
def test_no_step_costs_more_in_a_large_ledger(tmp_path: Path) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    ledger.upgrade()
    count_of = counting(ledger)
    cost: dict[str, dict[str, int]] = {}
    for job, count in (("small", 100), ("large", 20_000)):
        used_samples(ledger, job, count)
        cost[job] = {name: count_of(partial(step, ledger, job, f"new_in_{job}")) for name, step in STEPS.items()}
    grown = {name: (cost["small"][name], cost["large"][name]) for name in STEPS}
    assert {name: costs for name, costs in grown.items() if costs[1] > 1.5 * costs[0] + 200} == {}


@pytest.mark.slow
def test_near_duplicates_cost_the_same_however_many_look_alike(tmp_path: Path) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    ledger.upgrade()
    count_of = counting(ledger)
    for job, count in (("small", 100), ("large", 20_000)):
        used_samples(ledger, job, count, alike=True)
    for looked_for in (0b1, 0b11, 0b111_1111):
        costs = [count_of(partial(ledger.near_duplicates, job, looked_for)) for job in ("small", "large")]
        assert costs[1] <= 1.5 * costs[0]

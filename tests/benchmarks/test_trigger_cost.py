"""The benchmark measures the gate that a run waits at, and keeps what it says; how fast, only a run of it can say."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.trigger_cost import (
    JOB,
    SENSOR_NAME,
    TRIGGERS,
    Cost,
    Costs,
    Size,
    goals,
    growth,
    measure,
    ratio,
    reached,
    record,
    table,
    write_job,
)
from pipelines.gates.rule import Trigger
from pipelines.job import load_job

SIZE = Size(samples=(10, 1000), turns=1, checks=1, pokes=1)


@pytest.fixture
def costs() -> Costs:
    """Checks of 4 ms, on PostgreSQL of 5 and 6 ms, beside pokes of 20 ms and of 2 s that saw 900 objects."""
    found: Costs = defaultdict(Cost)
    for trigger in TRIGGERS:
        for samples in SIZE.samples:
            found["SQLite", trigger, samples] = Cost([0.004], [0.003], 2048)
        found["PostgreSQL", trigger, 10] = Cost([0.005], [0.003], 8192)
        found["PostgreSQL", trigger, 1000] = Cost([0.001, 0.006, 0.030], [0.003], 8192)
    found[SENSOR_NAME, "", 10] = Cost([0.02], [0.01], 1024, {"objects": 10})
    found[SENSOR_NAME, "", 1000] = Cost([2.0], [1.0], 102400, {"objects": 900})
    return found


def printed(shown: object) -> str:
    console = Console(width=160)
    with console.capture() as capture:
        console.print(shown)
    return capture.get()


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_each_trigger_is_one_that_a_job_may_have(tmp_path: Path, trigger: str) -> None:
    write_job(tmp_path, TRIGGERS[trigger])
    written = load_job(tmp_path / f"{JOB}.yaml").train_spec.trigger
    assert written == Trigger.model_validate(TRIGGERS[trigger])
    assert written.check_period_seconds == 60


def test_growth_and_ratio_are_of_medians(costs: Costs) -> None:
    assert growth(costs, "SQLite", "count", 10, 1000) == 1
    assert growth(costs, "PostgreSQL", "count", 10, 1000) == pytest.approx(1.2)
    assert ratio(costs, "SQLite", "count", 1000) == pytest.approx(500)


def test_tables_show_every_trigger_and_how_many_objects_were_read(costs: Costs) -> None:
    shown = printed(table(costs, SIZE))
    for word in (*TRIGGERS, "1,000", "SQLite", "PostgreSQL", "2,000.0 over 900", "500 / 333"):
        assert word in shown
    assert "20.0 over" not in shown
    shown = printed(reached(costs, SIZE))
    for word in (*TRIGGERS, "1.00 times", "1.20 times", "0.18", "2 KiB", "with 1,000 samples as with 10"):
        assert word in shown


def test_without_postgresql_and_sensor_the_rest_is_shown(costs: Costs) -> None:
    costs = {key: cost for key, cost in costs.items() if key[0] == "SQLite"}
    shown = printed(table(costs, SIZE)) + printed(reached(costs, SIZE))
    assert "PostgreSQL" not in shown
    assert ratio(costs, "SQLite", "count", 10) is None
    assert record(SIZE, costs, {})["s3_key_sensor"] == {}


def test_what_is_kept_says_every_figure(costs: Costs) -> None:
    kept = json.loads(json.dumps(record(SIZE, costs, {"objects": {1000: 900}})))
    assert kept["filled"] == {"objects": {"1000": 900}}
    assert kept["checks"]["PostgreSQL"]["count"]["1000"] == {
        "median_ms": 6.0,
        "slowest_ms": 30.0,
        "cpu_seconds_per_hour": 0.18,
        "read_kib": 8.0,
    }
    assert kept["s3_key_sensor"]["1000"]["objects"] == 900
    assert kept["poke_over_check"]["SQLite"]["count"] == {"10": 5.0, "1000": 500.0}
    assert kept["most_over_fewest_samples"]["PostgreSQL"]["combined"] == 1.2
    goal = goals(kept)[0]
    assert goal.reached == "1.00 on SQLite, 1.20 on PostgreSQL (1,000 to 10)"
    assert goal.met
    kept["most_over_fewest_samples"]["PostgreSQL"]["precision"] = 2.1
    assert {goal.what.split(" by ")[1].removesuffix(", most to fewest samples"): goal.met for goal in goals(kept)} == {
        trigger: trigger != "precision" for trigger in TRIGGERS
    }


@pytest.mark.slow
def test_checks_are_made_at_the_real_gate(tmp_path: Path) -> None:
    environment = dict(os.environ)
    said: list[str] = []
    size = Size(samples=(1000, 2000), turns=1, checks=2, pokes=0)
    costs, filled = measure(size, tmp_path, 10, said.append)
    assert os.environ == environment
    assert filled["objects"] == {}
    assert said[-1] == "turn 1 of 1"
    for database in {database for database, _, _ in costs}:
        sentences = {trigger: costs[database, trigger, 2000].facts["sentence"] for trigger in TRIGGERS}
        assert "20 of 100000 labels" in sentences["count"]
        for words in (
            "20 of 100000 labels",
            "num_of_samples >= 1 in every class",
            "days since the last training",
            "window",
        ):
            assert words in sentences["combined"]
        assert sentences["precision"] == sentences["precision, changed"]
        assert "precision is 0." in sentences["precision"]
        for trigger in TRIGGERS:
            cost = costs[database, trigger, 1000]
            assert len(cost.seconds) == 2
            assert cost.read_bytes > 0
    assert {database for database, _, _ in costs} >= {"SQLite"}

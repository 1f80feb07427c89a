r"""What one check of a trigger costs, with a thousand samples and with a million, beside Airflow's own S3KeySensor.

Ledgers of 10^3 to 10^6 samples on SQLite and PostgreSQL, one job, and the very call that a waiting run makes:
`pipelines.steps.check_gate("train", …)`, once for each kind of trigger. Beside them `S3KeySensor` pokes with a wildcard
and a `check_fn` that counts, over as many objects in this project's SeaweedFS. All sizes take turns, so that a busy
machine is busy for each of them; every time is a median.

The objects are empty and are put through SeaweedFS's filer, which is faster than its S3 server and lists the same. They
are put for at most `--fill-seconds`; where that was too short, the table says how many the sensor has read.
PostgreSQL is started from what is installed here (`initdb` on the PATH or in /usr/lib/postgresql); without it, or
without the sensor's environment, the rest is measured all the same.

Takes half an hour on two busy cores, and 6 GB of disk in the folder for temporary files. What to expect: a check takes
as long with a million samples as with a thousand, 5 to 40 ms, and 150 ms where 500 images are judged anew; a poke takes
0.1 s over a thousand objects and a minute or two over a million. `--short` takes a minute, stops at 10,000 samples and
keeps its figures under .cache alone.

Command to run:

    .venv/bin/python -m benchmarks.trigger_cost
"""

from __future__ import annotations

import itertools
import os
import re
import resource
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from inspect import signature
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import psutil
import sqlalchemy as sa
import typer
import yaml
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Column, Table

from benchmarks.goals import Goal, keep
from benchmarks.ledger_rows import CLASSES, fill, story
from benchmarks.servers import Environment, Poke, postgresql, put_objects, s3_key_sensor, seaweedfs
from data.ledger import Ledger
from pipelines import steps
from pipelines.settings import Settings
from pipelines.train import code_version
from pipelines.workspace import Workspace

JOB = "boards"
DATABASES = ("SQLite", "PostgreSQL")
SENSOR_NAME = "S3KeySensor"
GOAL = 2.0
COMMAND = ".venv/bin/python -m benchmarks.trigger_cost"
ENOUGH = 100_000
PRECISION = {"condition": {"metric": "precision", "operator": "<", "threshold": 0.1}}
CHANGED = "precision, changed"
NIGHT = {"start": "02:00", "end": "04:00", "timezone": "Europe/Berlin", "days": ["mon", "tue", "wed", "thu", "fri"]}
TRIGGERS: dict[str, dict[str, Any]] = {
    "count": {"condition": {"metric": "num_of_samples", "operator": ">=", "threshold": ENOUGH}},
    "combined": {
        "timer": NIGHT,
        "condition": {"metric": "num_of_samples[*]", "operator": ">=", "threshold": 1},
        "any": [
            {"condition": {"metric": "num_of_samples", "operator": ">=", "threshold": ENOUGH}},
            {
                "all": [
                    {"condition": {"metric": "num_of_samples", "operator": ">=", "threshold": 5}},
                    {"condition": {"metric": "days_since_training", "operator": ">=", "threshold": ENOUGH}},
                ]
            },
        ],
    },
    "precision": PRECISION,
    # As long as nothing changes in the ledger the estimate is kept; here each check finds that something did.
    CHANGED: PRECISION,
}
RUN = "a run that waits"
PERIOD = 60  # seconds between checks, and between pokes
WARM_UP = 2
CHECKS_READ = 40
LIMIT = signature(Ledger.drawn).parameters["limit"].default
TABLE_WIDTH = 110
PAGE = 8192


@dataclass(frozen=True)
class Size:
    """How many samples, how often everything takes its turn, checks in one turn, and pokes of the sensor in all."""

    samples: tuple[int, ...]
    turns: int
    checks: int
    pokes: int


FULL = Size(samples=(10**3, 10**4, 10**5, 10**6), turns=10, checks=20, pokes=3)
SHORT = Size(samples=(10**3, 10**4), turns=2, checks=5, pokes=2)


@dataclass
class Cost:
    """What checks or pokes cost: each one's seconds, CPU seconds with the servers', and the bytes that one reads."""

    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    read_bytes: int = 0
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def median_ms(self) -> float:
        return 1000 * median(self.seconds)

    def to_json(self) -> dict[str, Any]:
        """Medians, rounded; the CPU seconds per hour are those of a wait with a pause of `PERIOD` after each look."""
        looks = 3600 / (PERIOD + median(self.seconds))
        return {
            "median_ms": round(self.median_ms, 2),
            "slowest_ms": round(1000 * max(self.seconds), 2),
            "cpu_seconds_per_hour": round(looks * median(self.cpu_seconds), 2),
            "read_kib": round(self.read_bytes / 1024, 1),
            **self.facts,
        }


# By database, trigger and number of samples.
Costs = dict[tuple[str, str, int], Cost]
Say = Callable[[str], None]


def serve_a_model(workspace: Workspace) -> None:
    """Publish and promote v1 and v2, with what a gate may ask of them."""
    workspace.store.ensure_bucket()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "model.json").write_text("{}")
        serving = None
        for version in ("v1", "v2"):
            run = {"run_id": f"run of {version}"}
            made_from = {"run_key": version, "dataset_version": "d1", "parent": serving}
            workspace.registry.publish_model(JOB, Path(folder), made_from)
            workspace.registry.promote(
                JOB, version, instead_of=serving, actor="schedule", reason="better", decision=run
            )
            serving = version


@contextmanager
def deployed(environment: Environment) -> Iterator[None]:
    """Make this process one of the deployment that `environment` describes."""
    before = dict(os.environ)
    os.environ.update(environment)
    steps.deployment.cache_clear()
    try:
        yield
    finally:
        steps.deployment().ledger.close()
        steps.deployment.cache_clear()
        os.environ.clear()
        os.environ.update(before)


def write_job(folder: Path, trigger: Mapping[str, Any]) -> None:
    """The job file, with a trigger before its training."""
    folder.mkdir(exist_ok=True)
    job = {
        "name": JOB,
        "classes": list(CLASSES),
        "estimator": {"name": "FPN"},
        "trainSpec": {"trigger": {**trigger, "checkPeriodSeconds": PERIOD}},
    }
    (folder / f"{JOB}.yaml").write_text(yaml.safe_dump(job))


def check(cost: Cost, trigger: str, checks: int, servers: Sequence[psutil.Process]) -> None:
    """Time `checks` checks of the gate before train, as the run that waits there makes them."""
    cpu_seconds = 0.0
    for number in range(WARM_UP + checks):
        _before_a_check(trigger, number)
        cpu, started = _cpu_seconds(servers), time.perf_counter()
        verdict = steps.check_gate("train", JOB, RUN)
        seconds = time.perf_counter() - started
        if verdict.met:
            raise RuntimeError(f"the gate opened, so that nothing waits: {verdict.sentence}")
        if number >= WARM_UP:
            cost.seconds.append(seconds)
            cpu_seconds += _cpu_seconds(servers) - cpu
    cost.cpu_seconds.append(cpu_seconds / checks)
    cost.facts["sentence"] = verdict.sentence


def _before_a_check(trigger: str, number: int) -> None:
    if trigger == CHANGED:
        steps.deployment().ledger.set_mark(JOB, "benchmark", str(number))


def read_by_a_check(trigger: str, environment: Environment, server: str | None) -> int:
    """How many bytes one check reads: of files, with git's, and of pages where the PostgreSQL at `server` keeps them.

    Only on Linux. The change before each check of a changed ledger is counted with it.
    """
    with deployed(environment):
        ledger = steps.deployment().ledger
        for number in range(WARM_UP + CHECKS_READ):
            if number == WARM_UP:
                ledger.close()
                before = _read_bytes(server, ledger.url.database)
            _before_a_check(trigger, number)
            steps.check_gate("train", JOB, RUN)
        ledger.close()
        return (_read_bytes(server, ledger.url.database) - before) // CHECKS_READ


def _read_bytes(server: str | None, database: str | None) -> int:
    files = int(re.findall(r"rchar: (\d+)", Path("/proc/self/io").read_text())[0])
    if server is None:
        return files
    time.sleep(0.5)  # A backend reports when it ends, which is after its connection is closed.
    engine = sa.create_engine(server)
    with engine.connect() as connection:
        query = sa.text("SELECT blks_read + blks_hit FROM pg_stat_database WHERE datname = :database")
        pages = int(connection.execute(query, {"database": database}).scalar_one())
    engine.dispose()
    return files + PAGE * pages


def _cpu_seconds(servers: Sequence[psutil.Process]) -> float:
    """Of this process, the children it has waited for, and the servers."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime + _cpu_seconds_of(servers)


def _cpu_seconds_of(servers: Sequence[psutil.Process]) -> float:
    """Of the servers and their children."""
    seconds = 0.0
    for member in itertools.chain.from_iterable((server, *server.children(recursive=True)) for server in servers):
        with suppress(psutil.NoSuchProcess):
            times = member.cpu_times()
            seconds += times.user + times.system
    return seconds


def measure(size: Size, folder: Path, fill_seconds: float, say: Say) -> tuple[Costs, dict[str, Any]]:
    """Fill everything in `folder`, then let all sizes take turns: what each check and poke cost, and what was filled.

    Without PostgreSQL, or without the sensor's environment, it says so and measures the rest.
    """
    with ExitStack() as stack:
        environment, store = stack.enter_context(seaweedfs(folder))
        server, postmaster = stack.enter_context(postgresql()) or (None, None)
        if server is None:
            say("no PostgreSQL: there is neither initdb on the PATH nor /usr/lib/postgresql/*/bin")
        poke: Poke | None = None
        try:
            poke = stack.enter_context(s3_key_sensor(environment, folder)) if size.pokes else None
        except subprocess.CalledProcessError as error:
            say(f"no {SENSOR_NAME}, its environment cannot be made: {error.stderr}")
        deployments = {
            (database, samples): {**environment, "AIRFLOW__RATCHET__LEDGER_URL": url}
            for database, samples, url in _empty_ledgers(size, folder, server)
        }
        ledger_seconds = {" ".join(map(str, key)): fill_ledger(*key, deployments[key], say) for key in deployments}
        serve_a_model(Workspace(Settings.load(next(iter(deployments.values())))))
        objects = fill_store(environment, size.samples if poke else (), fill_seconds, say)
        costs: Costs = defaultdict(Cost)
        for turn in range(size.turns):
            for trigger, rule in TRIGGERS.items():
                write_job(folder / "jobs", rule)
                for (database, samples), deployment in deployments.items():
                    with deployed(deployment):
                        servers = [store, postmaster] if postmaster and database == "PostgreSQL" else [store]
                        check(costs[database, trigger, samples], trigger, size.checks, servers)
            if poke is not None and turn < size.pokes:
                for samples, put in objects.items():
                    wait_for_objects(costs[SENSOR_NAME, "", samples], poke, samples, put, store)
            say(f"turn {turn + 1} of {size.turns}")
        for trigger, rule in TRIGGERS.items():
            write_job(folder / "jobs", rule)
            for (database, samples), deployment in deployments.items():
                read = read_by_a_check(trigger, deployment, server if database == "PostgreSQL" else None)
                costs[database, trigger, samples].read_bytes = read
        return costs, {"ledger_seconds": ledger_seconds, "objects": objects}


def fill_ledger(database: str, samples: int, deployment: Environment, say: Say) -> float:
    """Make a deployment's ledger one of `samples` samples; the seconds it took."""
    started = time.monotonic()
    ledger = Workspace(Settings.load(deployment)).ledger
    ledger.close()
    fill(deployment["AIRFLOW__RATCHET__LEDGER_URL"], JOB, (story(index, samples) for index in range(samples)))
    seconds = round(time.monotonic() - started, 1)
    say(f"{database}: {samples:,} samples in {seconds:g} s")
    return seconds


def fill_store(environment: Environment, counts: Sequence[int], seconds: float, say: Say) -> dict[int, int]:
    """Put as many objects under a prefix of its own for each of `counts`; how many it were after `seconds` at most."""
    started = time.monotonic()
    objects = {}
    for count in counts:
        objects[count] = put_objects(environment, _prefix(count), count, started + seconds)
        say(f"SeaweedFS: {objects[count]:,} of {count:,} objects after {time.monotonic() - started:.0f} s")
    return {count: put for count, put in objects.items() if put}


def _prefix(samples: int) -> str:
    return f"labels-{samples}/"


def _empty_ledgers(size: Size, folder: Path, server: str | None) -> Iterator[tuple[str, int, str]]:
    """The URL of an empty database for each number of samples, on each kind of database."""
    for samples in size.samples:
        yield "SQLite", samples, f"sqlite:///{folder}/ledger_{samples}.db"
    if server is None:
        return
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    for samples in size.samples:
        with engine.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE ledger_{samples}")
        url = engine.url.set(database=f"ledger_{samples}")
        yield "PostgreSQL", samples, url.render_as_string(hide_password=False)
    engine.dispose()


def wait_for_objects(cost: Cost, poke: Poke, samples: int, objects: int, store: psutil.Process) -> None:
    """Time one poke of the sensor, which must see every one of the `objects` that were put."""
    before = _cpu_seconds_of([store])
    answer = poke(f"{_prefix(samples)}*.json", samples + 1)
    if answer["met"] or answer["objects"] != objects:
        raise RuntimeError(f"the sensor found {answer['objects']} objects where {objects} were put")
    cost.seconds.append(answer["seconds"])
    cost.cpu_seconds.append(answer["cpu_seconds"] + _cpu_seconds_of([store]) - before)
    cost.read_bytes = answer["read_bytes"]
    # The first time: later on the peak is that of what was poked at in between.
    cost.facts = cost.facts or {
        "objects": objects,
        "requests": answer["requests"],
        "peak_memory_mib": round(answer["peak_bytes"] / 2**20),
    }


def growth(costs: Costs, database: str, trigger: str, few: int, many: int) -> float:
    """How many times longer a check takes with `many` samples than with `few`."""
    return costs[database, trigger, many].median_ms / costs[database, trigger, few].median_ms


def ratio(costs: Costs, database: str, trigger: str, samples: int) -> float | None:
    """How many times longer one poke of the sensor takes than one check; None where the sensor was not measured."""
    poked = costs.get((SENSOR_NAME, "", samples))
    return None if poked is None else poked.median_ms / costs[database, trigger, samples].median_ms


def databases(costs: Costs) -> list[str]:
    return [name for name in DATABASES if any(database == name for database, _, _ in costs)]


def table(costs: Costs, size: Size) -> Table:
    """Every median in milliseconds, and how many times longer one poke takes than one check."""
    measured = databases(costs)
    shown = Table(
        "trigger",
        *(Column(title, justify="right") for title in ("samples", *measured, SENSOR_NAME, "ratio")),
        title="One check of the gate before train, one poke over as many objects: milliseconds, medians",
        caption=f"ratio: the poke over the check on {' / '.join(measured)}",
        box=SIMPLE,
    )
    for trigger in TRIGGERS:
        for samples in size.samples:
            shown.add_row(
                trigger,
                f"{samples:,}",
                *(f"{costs[name, trigger, samples].median_ms:.1f}" for name in measured),
                _poked(costs.get((SENSOR_NAME, "", samples)), samples),
                " / ".join(_times(ratio(costs, name, trigger, samples)) for name in measured),
            )
        shown.add_section()
    return shown


def _poked(cost: Cost | None, samples: int) -> str:
    if cost is None:
        return "-"
    over = "" if cost.facts["objects"] == samples else f" over {cost.facts['objects']:,}"
    return f"{cost.median_ms:,.1f}{over}"


def _times(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def reached(costs: Costs, size: Size) -> Table:
    """The goal, and what each trigger reached on each database."""
    few, many = size.samples[0], size.samples[-1]
    fewer = list(dict.fromkeys((few, size.samples[-2])))
    titles = (*(f"{before:,} to {many:,}" for before in fewer), "CPU s an hour", "a check reads")
    shown = Table(
        "trigger",
        "database",
        *(Column(title, justify="right") for title in titles),
        title=f"Goal: at most {GOAL:g} times as long with {many:,} samples as with {few:,}",
        caption=f"{COMMAND}\nCPU: of a run that waits for an hour, looking every {PERIOD} s, with {many:,} samples\n"
        f"{CHANGED}: each time that something changed, up to {LIMIT} images are judged anew",
        box=SIMPLE,
    )
    for trigger in TRIGGERS:
        for name in databases(costs):
            cost = costs[name, trigger, many].to_json()
            shown.add_row(
                trigger,
                name,
                *(f"{growth(costs, name, trigger, before, many):.2f} times" for before in fewer),
                f"{cost['cpu_seconds_per_hour']:.2f}",
                f"{cost['read_kib']:,.0f} KiB",
            )
    return shown


def record(size: Size, costs: Costs, filled: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of a run."""
    measured = databases(costs)

    def each(value: Callable[[str, str, int], Any]) -> dict[str, Any]:
        return {
            name: {
                trigger: {samples: value(name, trigger, samples) for samples in size.samples} for trigger in TRIGGERS
            }
            for name in measured
        }

    return {
        "command": f"{COMMAND} --short" if size == SHORT else COMMAND,
        "cores": os.cpu_count(),
        "code_version": code_version(),
        "size": asdict(size),
        "filled": filled,
        "checks": each(lambda *key: costs[key].to_json()),
        "s3_key_sensor": {
            samples: costs[SENSOR_NAME, "", samples].to_json()
            for samples in size.samples
            if (SENSOR_NAME, "", samples) in costs
        },
        "poke_over_check": each(lambda *key: None if (times := ratio(costs, *key)) is None else round(times, 1)),
        "most_over_fewest_samples": {
            name: {
                trigger: round(growth(costs, name, trigger, size.samples[0], size.samples[-1]), 2)
                for trigger in TRIGGERS
            }
            for name in measured
        },
    }


def goals(record: Mapping[str, Any]) -> list[Goal]:
    """How much longer a check takes with the most samples than with the fewest, for each trigger."""
    few, *_, many = record["size"]["samples"]
    found = []
    for trigger in TRIGGERS:
        times = {database: each[trigger] for database, each in record["most_over_fewest_samples"].items()}
        reached = ", ".join(f"{value:.2f} on {database}" for database, value in times.items())
        found.append(
            Goal(
                f"Time of a check by {trigger}, most to fewest samples",
                f"at most {GOAL:g} times",
                f"{reached} ({many:,} to {few:,})",
                all(value <= GOAL for value in times.values()),
            )
        )
    return found


def run(
    fill_seconds: Annotated[float, typer.Option(help="For how long objects are put at most.")] = 240,
    short: Annotated[bool, typer.Option("--short", help="Up to 10,000 samples, in a minute.")] = False,
) -> None:
    """Measure checks and pokes, print them, and keep the result."""
    size = SHORT if short else FULL
    console = Console()
    console.width = max(console.width, TABLE_WIDTH)
    with tempfile.TemporaryDirectory(prefix="trigger-cost-") as folder:
        costs, filled = measure(size, Path(folder), fill_seconds, console.print)
    console.print(table(costs, size))
    console.print(reached(costs, size))
    keep("trigger_cost", record(size, costs, filled), short=short)


if __name__ == "__main__":
    typer.run(run)

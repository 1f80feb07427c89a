r"""A short version of every benchmark, one after the other, and what the full ones reach beside their goals.

Takes about 12 minutes on two cores. Those that are judged on real boards are left out where there is no clone of
DeepPCB. What each says goes to .cache/benchmarks/short, and so do its figures: they show that everything works, and how
far the goals are depends on the full runs, whose figures are committed in benchmarks/results.

Command to run:

    .venv/bin/python -m benchmarks ../shared/datasets/deeppcb
"""

from __future__ import annotations

import os
import resource
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from benchmarks import (
    accuracy,
    forgetting,
    inference,
    label_cost,
    promotion_rule,
    synthetic_to_real,
    trigger_cost,
    updates,
)
from benchmarks.boards import DEEPPCB, listed
from benchmarks.goals import NOT_MEASURED, SHORT_RESULTS, Goal, recorded
from data.formats import FormatRefused

PYTHON = ".venv/bin/python"
TABLE_WIDTH = 140
LAST_LINES = 10
MARKS = {True: "✓ ", False: "✗ ", None: ""}
Goals = Callable[[Mapping[str, Any]], list[Goal]]


@dataclass(frozen=True)
class Benchmark:
    """A module of this package: its goals, whether it needs real boards, and the options of its short and full runs."""

    name: str
    goals: Goals
    on_real_boards: bool = True
    short: str = "--short"
    full: str = ""

    def command(self, deeppcb: Path, options: str) -> str:
        """What a shell is told to run it."""
        boards = shlex.quote(str(deeppcb)) if self.on_real_boards else ""
        return " ".join(filter(None, (PYTHON, "-m", f"benchmarks.{self.name}", boards, options)))


BENCHMARKS: tuple[Benchmark, ...] = (
    Benchmark("synthetic_to_real", synthetic_to_real.goals),
    Benchmark(
        "accuracy",
        accuracy.goals,
        short="--budget short",
        full="--budget long --seed 0  # then --seed 1 and 2; the same with --budget middle",
    ),
    Benchmark("promotion_rule", promotion_rule.goals),
    Benchmark("trigger_cost", trigger_cost.goals, on_real_boards=False),
    Benchmark("inference", inference.goals, on_real_boards=False),
    Benchmark("label_cost", label_cost.goals, on_real_boards=False),
    Benchmark("forgetting", forgetting.goals),
    Benchmark("updates", updates.goals),
)


def run_short(benchmark: Benchmark, deeppcb: Path, console: Console) -> bool:
    """Run the short version of a benchmark, and whether it ended well; what it prints goes to a log of its own."""
    log = SHORT_RESULTS / f"{benchmark.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    console.print(f"{benchmark.name}: begins")
    began, cpu = time.monotonic(), _cpu_seconds()
    command = [sys.executable, *shlex.split(benchmark.command(deeppcb, benchmark.short))[1:]]
    with log.open("w") as output:
        environment = {**os.environ, "COLUMNS": str(TABLE_WIDTH)}
        ended = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, env=environment, check=False)
    seconds = f"after {time.monotonic() - began:.0f} s, {_cpu_seconds() - cpu:.0f} CPU s"
    if ended.returncode == 0:
        console.print(f"{benchmark.name}: ended {seconds}")
        return True
    console.print(f"{benchmark.name}: failed with exit status {ended.returncode} {seconds}; {log} ends with")
    console.print(escape("\n".join(f"    {line}" for line in log.read_text().splitlines()[-LAST_LINES:])))
    return False


def _cpu_seconds() -> float:
    """Of all processes that were started here and have ended, with theirs."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def table(ran: Iterable[Benchmark]) -> Table:
    """For every goal what the short run reached, of those that `ran`, and what the full run did."""
    shown = Table(
        Column("benchmark", no_wrap=True),
        "what",
        "goal",
        "short run",
        "full run",
        title="Benchmarks and their goals",
        caption="✓ the goal is met, ✗ it is not. Short runs show that everything works, not how far the goals are.",
        box=SIMPLE,
    )
    ran = set(ran)
    for benchmark in BENCHMARKS:
        short, full = (
            {goal.what: goal for goal in benchmark.goals(record)} if record else {}
            for record in (recorded(benchmark.name, short=True) if benchmark in ran else {}, recorded(benchmark.name))
        )
        name = benchmark.name
        for what in {**full, **short}:
            reached = full.get(what)
            shown.add_row(
                name,
                what,
                (full.get(what) or short[what]).goal,
                short[what].reached if what in short else "did not run",
                MARKS[reached.met] + reached.reached if reached else NOT_MEASURED,
            )
            name = ""
        if not short and not full:
            shown.add_row(name, "", "", "did not run", NOT_MEASURED)
        shown.add_section()
    return shown


def run(
    deeppcb: Annotated[Path, typer.Argument(help="A clone of DeepPCB.")] = DEEPPCB,
) -> None:
    """Run the short version of every benchmark; exit with 1 if one failed."""
    console = Console(highlight=False)
    console.width = console.width if console.is_terminal else TABLE_WIDTH
    chosen = BENCHMARKS
    try:
        next(listed(deeppcb))
    except (FileNotFoundError, FormatRefused) as error:
        chosen = tuple(benchmark for benchmark in BENCHMARKS if not benchmark.on_real_boards)
        left_out = ", ".join(benchmark.name for benchmark in BENCHMARKS if benchmark not in chosen)
        console.print(f"{left_out} are left out, they need real boards: {escape(str(error))}")
    ended = [benchmark for benchmark in chosen if run_short(benchmark, deeppcb, console)]
    console.print(table(ended))
    console.print("Full runs:")
    for benchmark in BENCHMARKS:
        console.print(f"    {escape(benchmark.command(deeppcb, benchmark.full))}", soft_wrap=True)
    sys.exit(len(ended) < len(chosen))


if __name__ == "__main__":
    typer.run(run)

"""Every benchmark is in the list, its goals are read from what is committed, and what failed or did not run is said."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from benchmarks import __main__ as bench
from benchmarks import goals
from benchmarks.__main__ import BENCHMARKS, Benchmark, run, run_short, table
from benchmarks.boards import DEEPPCB
from benchmarks.goals import NOT_MEASURED, RESULTS, Goal, keep, recorded

PACKAGE = Path(bench.__file__).parent
app = typer.Typer()
app.command()(run)


def read(record: Mapping[str, Any]) -> list[Goal]:
    return [Goal("Pairs", "at least 5", f"{record['pairs']} pairs", record["pairs"] >= 5)]


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No result of anything, and nothing to keep one in but a folder of the test."""
    short = tmp_path / "short"
    monkeypatch.setattr(goals, "RESULTS", tmp_path / "full")
    for module in (goals, bench):
        monkeypatch.setattr(module, "SHORT_RESULTS", short)
    return short


def printed(shown: object) -> str:
    console = Console(width=140)
    with console.capture() as capture:
        console.print(shown)
    return capture.get()


def test_every_module_that_runs_is_in_the_list() -> None:
    runs = {path.stem for path in PACKAGE.glob("[!_]*.py") if "\ndef run(" in path.read_text()}
    assert runs == {benchmark.name for benchmark in BENCHMARKS}
    for benchmark in BENCHMARKS:
        assert benchmark.goals.__module__ == f"benchmarks.{benchmark.name}"


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda benchmark: benchmark.name)
def test_options_of_a_short_run_and_of_a_full_one_exist(benchmark: Benchmark, tmp_path: Path) -> None:
    source = (PACKAGE / f"{benchmark.name}.py").read_text()
    options = [word for line in (benchmark.short, benchmark.full) for word in line.split() if word.startswith("--")]
    for option in options:
        assert f'"{option}"' in source or f"\n    {option[2:]}: Annotated" in source
    command = benchmark.command(tmp_path / "a folder", benchmark.short)
    assert command.startswith(f".venv/bin/python -m benchmarks.{benchmark.name} ")
    assert (f"'{tmp_path}/a folder'" in command) == benchmark.on_real_boards


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_goals_are_read_from_every_committed_result(path: Path) -> None:
    name = path.stem.removesuffix("_deeppcb")
    (benchmark,) = (each for each in BENCHMARKS if each.name == name)
    found = benchmark.goals(recorded(path.stem))
    assert found
    assert len({goal.what for goal in found}) == len(found)
    for goal in found:
        assert goal.what
        assert goal.goal
        assert goal.reached
        assert "None" not in goal.reached


@pytest.mark.usefixtures("folders")
def test_the_table_shows_both_runs_and_which_goal_is_met(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("first", "second", "third", "fourth")
    first, second, _, fourth = benchmarks = tuple(Benchmark(name, read) for name in names)
    monkeypatch.setattr(bench, "BENCHMARKS", benchmarks)
    keep("first", {"pairs": 1}, short=True)
    keep("first", {"pairs": 6}, short=False)
    keep("second", {"pairs": 2}, short=True)
    keep("third", {"pairs": 3}, short=True)
    keep("third", {"pairs": 4}, short=False)
    lines = printed(table([first, second, fourth])).splitlines()

    def line(name: str) -> str:
        return next(line for line in lines if name in line)

    assert all(word in line("first") for word in ("Pairs", "at least 5", " 1 pairs", "✓ 6 pairs"))
    assert all(word in line("second") for word in ("Pairs", "at least 5", " 2 pairs", NOT_MEASURED))
    # What an earlier run has left is not what this one reached.
    assert all(word in line("third") for word in ("did not run", "✗ 4 pairs"))
    assert "did not run" in line("fourth")
    assert NOT_MEASURED in line("fourth")


@pytest.mark.usefixtures("folders")
def test_every_benchmark_has_a_line_before_anything_is_measured() -> None:
    shown = printed(table([]))
    for benchmark in BENCHMARKS:
        assert benchmark.name in shown


def test_a_benchmark_that_fails_is_said_with_the_end_of_its_log(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "benchmarks"
    package.mkdir()
    (package / "broken.py").write_text(
        "for number in range(20): print(f'[line] {number}')\nraise SystemExit('no boards')"
    )
    (package / "good.py").write_text("import sys; print(sys.argv[1:])")
    monkeypatch.chdir(tmp_path)
    console = Console(width=200)
    with console.capture() as capture:
        ended = [run_short(Benchmark(name, read), tmp_path / "a b", console) for name in ("broken", "good")]
    shown = capture.get()
    assert ended == [False, True]
    for words in ("broken: begins", "failed with exit status 1", "broken.log", "[line] 19", "no boards", "good: ended"):
        assert words in shown
    assert "[line] 5" not in shown
    assert (folders / "good.log").read_text() == f"['{tmp_path}/a b', '--short']\n"


@pytest.mark.usefixtures("folders")
def test_without_real_boards_the_others_run_and_one_that_fails_is_the_exit_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = Benchmark("good", read, on_real_boards=False)
    broken = Benchmark("broken", read, on_real_boards=False)
    begun: list[str] = []

    def noted(benchmark: Benchmark, *_: object) -> bool:
        begun.append(benchmark.name)
        return benchmark is not broken

    monkeypatch.setattr(bench, "run_short", noted)
    for benchmarks, status in (((Benchmark("real", read), good), 0), ((broken, good), 1)):
        monkeypatch.setattr(bench, "BENCHMARKS", benchmarks)
        result = CliRunner().invoke(app, [str(tmp_path)])
        assert result.exit_code == status
        assert f".venv/bin/python -m benchmarks.{benchmarks[0].name}" in result.output
        if status == 0:
            assert "real are left out" in result.output
            assert "clone https://github.com/tangsanli5201/DeepPCB" in result.output
    assert begun == ["good", "broken", "good"]


def test_the_interpreter_of_the_full_runs_is_the_one_of_make() -> None:
    assert Path(bench.PYTHON).parts[-2:] == Path(sys.executable).parts[-2:]
    assert not DEEPPCB.is_absolute()

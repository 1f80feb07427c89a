"""`python -m demo`: install nothing, start everything, turn the loop, and say what truly happened."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from data.formats import FormatRefused
from demo.airflow_api import AirflowApi, AirflowRefused
from demo.loop import Loop, LoopStopped, Say, Watch
from demo.report import draw_boards, draw_rounds
from demo.scenario import Scenario, deeppcb, synthetic
from demo.verdict import shortcomings
from pipelines.check import check
from pipelines.cli import show_rounds
from pipelines.history import rounds
from pipelines.settings import SettingsRefused, home
from pipelines.workspace import Workspace
from services import airflow
from services.__main__ import show_addresses
from services.deployment import CannotStart, Deployment
from services.ports import PortTaken
from services.process import ServerFailed

JOB = "pcb_defects"
MARK = "demo"
console = Console(highlight=False)


def begin_anew(place: Path) -> None:
    """Forget the last demo; a deployment that holds anything else is left alone.

    Raises:
        CannotStart: there is a deployment here that no demo made.
    """
    if (place / "ledger.db").exists() and not (place / MARK).exists():
        raise CannotStart(
            f"{place} holds a deployment with data of its own and the demo begins from nothing: "
            "run it in another clone, or `make clean` if you want to lose that data"
        )
    if (place / MARK).exists():
        Deployment.here(place).down(lambda _: None)
        shutil.rmtree(place)
    (place / MARK).mkdir(parents=True)


def drawn_boards(folder: Path) -> Scenario:
    """Boards of our own, drawn into `folder`."""
    return synthetic(folder, known=("signal", "mixed"), arriving=("flex", "round"), initial=60, night=80, left=24)


def real_boards(data: Path) -> Scenario:
    """The boards of DeepPCB, below `data`."""
    return deeppcb(
        data,
        known={"group00041": 60, "group13000": 60},
        arriving=({"group20085": 120, "group00041": 30}, {"group92000": 70, "group77000": 60, "group13000": 20}),
        bad={"group20085": 40, "group50600": 50},
        left={"group44000": 24},
    )


def main(data: Annotated[Path | None, typer.Option(help="DeepPCB's folder; drawn boards without it.")] = None) -> None:
    """Turn the loop from nothing to several promoted models, and a rejected one."""
    began = time.monotonic()

    def say(sentence: str) -> None:
        passed = int(time.monotonic() - began)
        console.print(f"[dim]{passed // 60:3d}:{passed % 60:02d}[/]  {escape(sentence)}", soft_wrap=True)

    try:
        place = home()
        say("drawing boards" if data is None else f"reading the boards of {data}")
        real = None if data is None else real_boards(data)
        begin_anew(place)
        plan = real or drawn_boards(place / MARK / "boards")
        say("starting the servers; their logs are in .ratchet/logs")
        deployment = Deployment.here(place)
        deployment.up(say)
        workspace = Workspace.open(deployment.settings)
        problems = turn(workspace, deployment, plan, say)
    except (AirflowRefused, CannotStart, FormatRefused, LoopStopped, PortTaken, ServerFailed, SettingsRefused) as error:
        console.print(f"[red]The demo stopped:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(1)
    minutes = (time.monotonic() - began) / 60
    show_addresses(deployment)
    if problems:
        console.print(f"[red]The loop did not keep its promises[/] ({minutes:.0f} minutes):")
        for problem in problems:
            console.print(f"  - {problem}", soft_wrap=True, markup=False)
        sys.exit(1)
    console.print(f"[green]The loop turned and kept its promises[/] ({minutes:.0f} minutes). Everything still runs:")
    console.print("look around, `make status`, and `make down` when you have seen enough.")


def turn(workspace: Workspace, deployment: Deployment, plan: Scenario, say: Say) -> list[str]:
    """Turn the loop for every night of the plan, report it, and return every promise that was not kept."""
    job = workspace.job(JOB)
    api = AirflowApi(airflow.url(), airflow.USER, deployment.secrets["RATCHET_AIRFLOW_PASSWORD"])
    api.wait_for_dags({f"{JOB}.{verb}" for verb in ("collect", "sync", "learn")}, timeout=120)
    loop = Loop(workspace, job, api, say)
    loop.begin(plan)
    watch = Watch(f"{workspace.settings.serving_url}/jobs/{JOB}/predict", plan.initial[0])
    watch.start()
    try:
        for night in plan.nights:
            loop.night(night)
            if night.mood == "bad":
                loop.correct(night)
    finally:
        watch.stop()
    loop.leave(plan.left)
    found = rounds(workspace, job)
    serving = [turn.serving for turn in found if turn.serving is not None]
    folder = workspace.settings.home / MARK
    show_rounds(found)
    draw_rounds(found, folder / "rounds.png")
    draw_boards(workspace, job, serving[0], serving[-1], folder / "boards.png")
    console.print(f"  {'Rounds':18} {folder / 'rounds.png'}\n  {'Boards':18} {folder / 'boards.png'}", soft_wrap=True)
    return [*shortcomings(found, plan, watch), *check(workspace, job)]


if __name__ == "__main__":
    typer.run(main)

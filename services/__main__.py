"""`python -m services up|down|status|clean`: what the Makefile's targets of these names run."""

from __future__ import annotations

import shutil
import sys

import typer
from rich.console import Console
from rich.markup import escape

from pipelines.settings import SettingsRefused, home
from services.deployment import CannotStart, Deployment
from services.ports import PortTaken
from services.process import ServerFailed

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console(highlight=False)


@app.command()
def up() -> None:
    """Start what does not run yet and print where everything is."""
    deployment = Deployment.here(home())
    deployment.up(say)
    show_addresses(deployment)


@app.command()
def down() -> None:
    """Stop exactly what was started."""
    if was_started():
        Deployment.here(home()).down(say)


@app.command()
def status() -> None:
    """Say which servers run, and where."""
    if not was_started():
        return
    deployment = Deployment.here(home())
    for server in deployment.servers():
        state = "[green]runs[/]" if deployment.is_running(server) else "[red]does not run[/]"
        console.print(f"{server.name:24} {state}")
    show_addresses(deployment)


@app.command()
def clean() -> None:
    """Forget everything this deployment has stored."""
    if was_started():
        place = home()
        Deployment.here(place).down(say)
        shutil.rmtree(place, ignore_errors=True)
        say(f"{place} is gone")


def was_started() -> bool:
    """Whether there is a deployment to ask or to stop; says so where there is none, and makes none."""
    if Deployment.exists(home()):
        return True
    say(f"nothing was ever started here: {home()} holds no deployment; `make up` starts one")
    return False


def say(sentence: str) -> None:
    """Tell a person one thing."""
    console.print(sentence, soft_wrap=True, markup=False)


def show_addresses(deployment: Deployment) -> None:
    """Say where a person goes and how to log in."""
    for name, address, login in deployment.addresses():
        console.print(f"  {name:18} [link={address}]{address}[/]  {login}", soft_wrap=True)


def main() -> None:
    """Run a command; what stands in its way is one clear message and exit status 1."""
    try:
        app()
    except (CannotStart, PortTaken, ServerFailed, SettingsRefused) as error:
        Console(stderr=True, highlight=False).print(f"[red]Ratchet:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    main()

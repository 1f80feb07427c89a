"""The command line: `ratchet`, the same steps as Airflow's tasks, by hand."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from getpass import getuser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from pipelines.history import Round

app = typer.Typer(
    help="Continual learning for vision models, on Airflow. It only turns one way.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
console = Console(highlight=False)
VERDICT_COLOURS = {"promoted": "green", "rejected": "red", "undecided": "yellow"}

JobName = Annotated[str, typer.Argument(help="The job's name.", show_default=False)]
Reason = Annotated[str, typer.Option(help="Kept with the decision, with your name.")]
Dataset = Annotated[str | None, typer.Option("--dataset", help="A dataset version such as d3; by default the newest.")]
Model = Annotated[str | None, typer.Option("--version", help="A model version such as v3; by default the newest.")]


@app.command()
def jobs() -> None:
    """List the jobs and what serves of each."""
    from pipelines.job import JobRefused
    from pipelines.steps import deployment

    workspace = deployment()
    table = Table("job", "serves", "since", "description")
    refusals = []
    for path in sorted(workspace.settings.jobs.glob("*.yaml")):
        try:
            job = workspace.job(path.stem)
        except JobRefused as refusal:
            refusals.append(str(refusal))
            continue
        served = workspace.served(job.name)
        since = (served.version, served.at) if served else ("nothing", "")
        table.add_row(job.name, *since, escape(job.description))
    console.print(table)
    for problem in refusals:
        _say(problem)


@app.command()
def status(job: JobName, check: Annotated[bool, typer.Option("--check", help="Verify everything.")] = False) -> None:
    """Show what serves, how far it is to the next training, and how many samples are where."""
    from pipelines import check as checking
    from pipelines import holdout, production, steps

    workspace = steps.deployment()
    specification = workspace.job(job)
    served = workspace.served(job)
    console.print(f"[bold]{job}[/]  {escape(specification.description)}")
    _say(f"serves    {f'{served.version} since {served.at} (promotion {served.number})' if served else 'nothing yet'}")
    _say(f"training  {steps.check_gate('train', job, run_id='').sentence}")
    if specification.deploy_spec.rule.name == "bound":
        _say(f"holdout   {holdout.state(workspace, specification).sentence}")
    precision = production.estimate(workspace, specification).get("precision")
    if precision is not None:
        interval = f"95 % interval {precision.low:.3f} to {precision.high:.3f}, from {precision.images} images"
        _say(f"precision {precision.value:.3f} in production ({interval})")
    counts = workspace.ledger.counts(job)
    _say(f"samples   {', '.join(f'{number} {state}' for state, number in counts.items()) or 'none yet'}")
    if check:
        problems = checking.check(workspace, specification)
        if problems:
            console.print(f"[red]{len(problems)} problem(s)[/]")
            for problem in problems:
                _say(f"  - {problem}")
            raise typer.Exit(1)
        _say("checked   ledger, store, registry, pointer and Label Studio agree; every hash is right")


@app.command()
def history(job: JobName) -> None:
    """Show every decision: who was compared with whom on what, the verdict and why, and who served from then on."""
    from pipelines.history import rounds
    from pipelines.steps import deployment

    workspace = deployment()
    show_rounds(rounds(workspace, workspace.job(job)))
    for asked in workspace.ledger.requests(job):
        wanted = {**asked.parameters, **asked.parameters.get("parameters", {})}
        about = ", ".join(f"{name} {value}" for name, value in sorted(wanted.items()) if name != "parameters")
        told = f"by hand: {asked.at[:16]} {asked.actor} asked to {asked.verb}"
        told += f" ({about})" if about else ""
        told += f", bypassing {' and '.join(asked.bypass)}" if asked.bypass else ""
        _say(told + (f", because {asked.reason}" if asked.reason else ""))


@app.command()
def served(
    job: JobName,
    at: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"], help="Only who served then, in UTC."),
    ] = None,
) -> None:
    """Show who served when, by whose word and why."""
    from pipelines.history import reigns, serving
    from pipelines.steps import deployment

    workspace = deployment()
    workspace.job(job)
    found = reigns(workspace, job) if at is None else [serving(workspace, job, at.replace(tzinfo=UTC))]
    told = [reign for reign in found if reign is not None]
    if not told:
        _say(f"nothing of {job} has served{f' by {at:%Y-%m-%dT%H:%M:%S} UTC' if at else ' yet'}")
        return
    table = Table("version", "from", "until", "by", "why")
    for reign in told:
        table.add_row(reign.version, reign.since, reign.until or "now", escape(reign.actor), escape(reign.reason))
    console.print(table)


@app.command()
def gate(
    job: JobName, name: Annotated[str, typer.Argument(metavar="[train|evaluate]", help="Which gate.")] = "train"
) -> None:
    """Say what a gate would say now, without doing anything; exit status 1 where it is closed."""
    from pipelines import steps

    if name not in ("train", "evaluate"):
        raise typer.BadParameter(f"{name!r} is none of train, evaluate", param_hint="name")
    verdict = steps.check_gate(name, job, run_id="")  # type: ignore[arg-type]
    _say(f"{name}: {'open' if verdict.met else 'closed' if verdict.met is False else 'undecided'}: {verdict.sentence}")
    if not verdict.met:
        raise typer.Exit(1)


def show_rounds(found: Sequence[Round]) -> None:
    """The rounds of a job, for a terminal: what was compared as a table, and why each was decided so below it."""
    table = Table(box=None, padding=(0, 1, 0, 0))
    for heading in (
        "round",
        "seen",
        "mined",
        "labelled",
        "dataset",
        "candidate",
        "served",
        "delta",
        "verdict",
        "serves",
    ):
        table.add_column(heading, no_wrap=True)
    for turn in found:
        decision = turn.decision
        colour = VERDICT_COLOURS[decision.verdict]
        table.add_row(
            str(turn.number),
            str(turn.seen),
            str(turn.mined),
            f"{turn.labelled}" + (f" -{turn.quarantined}" if turn.quarantined > 0 else ""),
            decision.dataset_version or "",
            f"{decision.candidate} {_score(turn.candidate.get('ap'))}",
            f"{decision.served} {_score(turn.served.get('ap'))}" if decision.served else "nothing",
            _score(turn.deltas.get("ap"), signed=True),
            f"[{colour}]{turn.verdict}[/]",
            turn.serving or "nothing",
        )
    console.print(table)
    _say("AP at IoU 0.33 on the round's own holdout, the same for both; labelled -n: n quarantined.")
    for turn in found:
        reasons = "; ".join(turn.decision.reasons)
        _say(f"round {turn.number}: {turn.verdict} by {turn.decision.actor}, because {reasons}")


@app.command("import")
def import_(
    job: JobName,
    path: Annotated[Path, typer.Argument(help="A data set of labelled images.", exists=True)],
    form: Annotated[str, typer.Option("--format", help="deeppcb, coco, voc, yolo, folder or index.")],
    classes: Annotated[
        str | None,
        typer.Option(metavar="A,B,...", help="The classes that the labels cover, where that is not all of the job's."),
    ] = None,
) -> None:
    """Take in images that are labelled already."""
    from data.formats import FORMATS
    from pipelines.importing import import_labelled
    from pipelines.steps import deployment

    if form not in FORMATS:
        raise typer.BadParameter(f"{form!r} is none of {', '.join(FORMATS)}", param_hint="--format")
    workspace = deployment()
    covered = None if classes is None else [name for part in classes.split(",") if (name := part.strip())]
    imported = import_labelled(
        workspace, workspace.job(job), FORMATS[form].read(path), annotator=f"import by {getuser()}", classes=covered
    )
    _say(f"{imported.labelled} labelled images are in")
    for problem in imported.refused:
        _say(f"  - refused: {problem}")
    for problem in imported.quarantined:
        _say(f"  - quarantined: {problem}")
    if imported.refused or imported.quarantined:
        raise typer.Exit(1)


@app.command()
def train(
    job: JobName,
    dataset: Dataset = None,
    parent: Annotated[
        str | None, typer.Option(help="The model version to start from; by default the served one.")
    ] = None,
    parameters: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE", help="A setting of the recipe, such as steps=500; or seed=1, method=joint, memory=50."
        ),
    ] = None,
    reason: Reason = "",
) -> None:
    """Train a candidate now, whatever the gate says."""
    from pipelines import steps

    run_id = _run_id()
    asked = {"dataset_version": dataset, "parent": parent, "parameters": _recipe(parameters or []), "reason": reason}
    try:
        _run(job, run_id, {"start_at": "train", **asked}, "curate", "train")
    except BaseException:
        steps.give_up(job, run_id, f"given up by {getuser()}")
        raise


@app.command()
def evaluate(job: JobName, version: Model = None, dataset: Dataset = None) -> None:
    """Compare a model version with the served one on the holdout."""
    asked = {"start_at": "evaluate", "model_version": version, "dataset_version": dataset}
    result = _run(job, _run_id(), asked, "evaluate")
    table = Table("metric", "candidate", "served", "delta")
    for name, value in result["candidate"].items():
        table.add_row(
            name, _score(value), _score((result["served"] or {}).get(name)), _score(result["delta"].get(name), True)
        )
    console.print(table)


@app.command()
def promote(
    job: JobName,
    version: Model = None,
    dataset: Dataset = None,
    force: Annotated[bool, typer.Option(help="Promote even where the job's rule says no; needs a reason.")] = False,
    reason: Reason = "",
) -> None:
    """Let a model version serve, if the job's rule says so; where the job asks for approval, this is yours."""
    from pipelines.approval import Answer

    if force and not reason:
        raise typer.BadParameter("a promotion against the rule needs a reason", param_hint="--reason")
    params = {
        "start_at": "promote",
        "model_version": version,
        "dataset_version": dataset,
        "bypass": ["promote"] if force else [],
        "reason": reason,
        "answer": Answer.said(True, getuser(), reason).to_json(),
    }
    _run(job, _run_id(), params, "evaluate", "promote", "deploy")


@app.command()
def rollback(job: JobName, version: Annotated[str, typer.Argument(help="Such as v3.")], reason: Reason = "") -> None:
    """Let an earlier version serve again."""
    _run(job, _run_id(), {"version": version, "reason": reason}, "rollback", "deploy")


@app.command()
def predict(
    job: JobName,
    images: Annotated[Path, typer.Option(help="A folder of images.", exists=True, file_okay=False)],
    out: Annotated[Path, typer.Option(help="The file to write.")],
    form: Annotated[str, typer.Option("--format", help="coco or deeppcb.")] = "coco",
    version: Annotated[str | None, typer.Option(help="A model version; by default the one that serves.")] = None,
    model: Annotated[
        Path | None, typer.Option(help="The folder of a saved model, instead of a version.", exists=True)
    ] = None,
) -> None:
    """Predict a folder of images with a stored model version or a saved model; no inference server need run."""
    from models.version import load_predictor
    from pipelines.job import find_job
    from pipelines.predict import predict as predict_folder
    from pipelines.settings import jobs_folder
    from pipelines.steps import deployment

    if form not in ("coco", "deeppcb"):
        raise typer.BadParameter(f"{form!r} is none of coco, deeppcb", param_hint="--format")
    if model is not None and version is not None:
        raise typer.BadParameter(f"{model} is a model by itself; leave one of the two out", param_hint="--version")
    # A saved model needs no deployment.
    if model is not None:
        specification = find_job(jobs_folder(), job)
        predictor, name = load_predictor(model), str(model)
    else:
        workspace = deployment()
        specification = workspace.job(job)
        served = workspace.served(job) if version is None else None
        chosen = version or (served.version if served else None)
        if chosen is None:
            raise typer.BadParameter(f"nothing serves for {job} yet; name a version", param_hint="--version")
        predictor, name = workspace.predictor(job, chosen), chosen
    count = predict_folder(predictor, specification, images, out, form)  # type: ignore[arg-type]
    _say(f"{count} images predicted with {name}: {out}")


def _run_id() -> str:
    return f"cli__{datetime.now(UTC).isoformat()}"


def _run(job: str, run_id: str, params: dict[str, Any], *names: str) -> dict[str, Any]:
    """Run steps one after the other as one run of this person; returns what the last one says.

    What was asked for is checked and remembered first. A step that finds nothing to do ends it, with exit status 1.
    """
    from pipelines import steps

    params = {**params, "actor": getuser()}
    if "start_at" in params:
        steps.run("start", job, run_id, params)
    result: dict[str, Any] = {}
    for name in names:
        result = steps.run(name, job, run_id, params)
        if "skip" in result:
            _say(f"{name}: {result['skip']}")
            raise typer.Exit(1)
        _say(f"{name}: {_shown(result)}")
    return result


def _recipe(settings: Sequence[str]) -> dict[str, Any]:
    """`steps=500` as a setting called steps with the number 500; what is no JSON is text."""
    pairs = [setting.partition("=") for setting in settings]
    if wrong := [name for name, equals, _ in pairs if not (name and equals)]:
        raise typer.BadParameter(f"{', '.join(wrong)} has no value; write KEY=VALUE", param_hint="--parameters")
    return {name: _value(text) for name, _, text in pairs}


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _shown(result: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in result.items() if not isinstance(value, dict)) or "done"


def _say(sentence: str) -> None:
    """Print a sentence as it is: what stands in brackets, such as ap[open], is no colour."""
    console.print(sentence, soft_wrap=True, markup=False)


def _score(value: float | None, signed: bool = False) -> str:
    return "" if value is None else f"{value:+.3f}" if signed else f"{value:.3f}"


def main() -> None:
    """Run the command line; a refusal is one clear message and exit status 1."""
    try:
        app()
    except Exception as error:
        if not isinstance(error, _refusals()) or type(error) is KeyError:
            raise
        Console(stderr=True, highlight=False).print(f"[red]ratchet:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(1)


def _refusals() -> tuple[type[Exception], ...]:
    """What says in words what is wrong; anything else is an error in Ratchet and shows where."""
    import httpx
    from sqlalchemy.exc import OperationalError

    return (ValueError, LookupError, RuntimeError, OSError, httpx.HTTPError, OperationalError)

"""Request: what a person asks of a run, checked as a whole before anything is claimed, and remembered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from data.ledger import Request
from models.recipe import recipe_problems
from pipelines.job import Job, method_problems
from pipelines.workspace import Workspace

VERBS = ("train", "evaluate", "promote")
ONLY_WHEN_TRAINING = ("parent", "parameters")


class NothingToDo(RuntimeError):
    """A step that was asked for something that does not exist yet; the message says what must happen first."""


class RequestRefused(ValueError):
    """A request that cannot be meant; `problems` names everything that is wrong with it, and nothing has happened."""

    def __init__(self, problems: Sequence[str]):
        self.problems = list(problems)
        listed = "\n".join(f"  - {problem}" for problem in problems)
        super().__init__(f"this run cannot be what is meant:\n{listed}\nNothing was done; ask again with that mended.")


def accept(workspace: Workspace, job: Job, run_id: str, params: Mapping[str, Any]) -> Request:
    """Check what was asked of a run, fix which versions it is about, and remember it if a person asked.

    `params` may have start_at (train, evaluate or promote), bypass, reason, dataset_version, parent, model_version,
    parameters and actor. A run that evaluates or promotes is from now on about the versions that are the newest now,
    where none were named. The same run asks once.

    Raises:
        RequestRefused: it cannot be meant; with everything that is wrong.
        NothingToDo: there is no version yet to evaluate or promote.
    """
    asked = {name: value for name, value in params.items() if value not in (None, "", [], {})}
    verb = str(asked.get("start_at", VERBS[0]))
    problems = [] if verb in VERBS else [f"start_at is {verb!r}; a run starts at {', '.join(VERBS)}"]
    bypass, reason = list(asked.get("bypass", [])), str(asked.get("reason", "")).strip()
    problems += [f"{gate!r} is no gate; the gates are {', '.join(VERBS)}" for gate in bypass if gate not in VERBS]
    if bypass and not reason:
        problems.append(f"a bypassed gate ({', '.join(bypass)}) needs a reason; say why")
    named = [name for name in ("parent", "model_version", "dataset_version") if name in asked]
    models, datasets = _versions(workspace, job) if named or verb != "train" else ([], [])
    for name in named:
        known = datasets if name == "dataset_version" else models
        if asked[name] not in known:
            there = f"there are {', '.join(known)}" if known else "there is none yet"
            problems.append(f"{name} is {asked[name]}, which does not exist; {there}")
    problems += _training_problems(job, asked) if verb == "train" else _comparison_problems(asked)
    if problems:
        raise RequestRefused(problems)
    parameters = {
        name: asked[name] for name in (*ONLY_WHEN_TRAINING, "model_version", "dataset_version") if name in asked
    }
    if verb != "train":
        if not models:
            raise NothingToDo(f"{job.name} has no model version yet; train one first")
        parameters = {"model_version": models[-1], "dataset_version": datasets[-1], **parameters}
    request = Request(run_id, str(asked.get("actor", "")), verb, bypass, reason, parameters)
    if request.actor:
        workspace.ledger.record_request(job.name, request)
    return of_run(workspace, job.name, run_id) or request


def of_run(workspace: Workspace, job: str, run_id: str) -> Request | None:
    """What a person asked of a run; None if nobody did."""
    return next((asked for asked in workspace.ledger.requests(job) if asked.run_id == run_id), None)


def _versions(workspace: Workspace, job: Job) -> tuple[list[str], list[str]]:
    """The model and the dataset versions there are, the newest last."""
    models = [model.version for model in workspace.registry.models(job.name)]
    return models, [dataset.version for dataset in workspace.registry.datasets(job.name)]


def _training_problems(job: Job, asked: Mapping[str, Any]) -> list[str]:
    problems = []
    if "model_version" in asked:
        problems.append(
            f"model_version is {asked['model_version']}, but a run that trains makes a new one; leave it empty, or "
            "start at evaluate or promote"
        )
    parameters = asked.get("parameters", {})
    if not isinstance(parameters, Mapping):
        return [*problems, f'parameters are {parameters!r}; give an object, such as {{"steps": 500}}']
    recipe = dict(parameters)
    seed = recipe.pop("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        problems.append(f"seed is {seed!r}; it must be a whole number from 0 on")
    memory = recipe.pop("memory", job.train_spec.memory)
    if not isinstance(memory, int) or isinstance(memory, bool) or memory < 1:
        problems.append(f"memory is {memory!r}; it must be a whole number from 1 on")
    problems += method_problems(job.estimator.name, recipe.pop("method", job.train_spec.method))
    return [*problems, *recipe_problems(job.estimator.name, recipe)]


def _comparison_problems(asked: Mapping[str, Any]) -> list[str]:
    return [
        f"{name} is {asked[name]}, but nothing is trained; leave it empty, or start at train"
        for name in ONLY_WHEN_TRAINING
        if name in asked
    ]

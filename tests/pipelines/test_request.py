"""Requests: what cannot be meant is refused as a whole and before anything happens; what is meant is kept once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from data.ledger import Request
from pipelines.job import Job
from pipelines.request import NothingToDo, RequestRefused, accept, of_run
from pipelines.workspace import Workspace


class Versions:
    """A registry of which only the versions' names are asked."""

    def __init__(self, models: int, datasets: int):
        self._models = [SimpleNamespace(version=f"v{number + 1}") for number in range(models)]
        self._datasets = [SimpleNamespace(version=f"d{number + 1}") for number in range(datasets)]

    def models(self, _: str) -> list[SimpleNamespace]:
        return self._models

    def datasets(self, _: str) -> list[SimpleNamespace]:
        return self._datasets


def known(workspace: Workspace, models: int = 2, datasets: int = 3) -> Workspace:
    vars(workspace)["registry"] = Versions(models, datasets)
    return workspace


def problems(workspace: Workspace, job: Job, **params: Any) -> list[str]:
    with pytest.raises(RequestRefused) as refused:
        accept(known(workspace), job, "run", {"actor": "ada", **params})
    assert workspace.ledger.requests(job.name) == []
    assert all(problem in str(refused.value) for problem in refused.value.problems)
    return refused.value.problems


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"start_at": "deploy"}, ["start_at is 'deploy'; a run starts at train, evaluate, promote"]),
        ({"bypass": ["train"]}, ["a bypassed gate (train) needs a reason; say why"]),
        ({"bypass": ["train"], "reason": "  "}, ["a bypassed gate (train) needs a reason; say why"]),
        ({"bypass": ["all"], "reason": "x"}, ["'all' is no gate; the gates are train, evaluate, promote"]),
        ({"parent": "v9"}, ["parent is v9, which does not exist; there are v1, v2"]),
        ({"dataset_version": "d7"}, ["dataset_version is d7, which does not exist; there are d1, d2, d3"]),
        (
            {"model_version": "v1"},
            [
                "model_version is v1, but a run that trains makes a new one; leave it empty, or start at evaluate or "
                "promote"
            ],
        ),
        ({"parameters": {"seed": "one"}}, ["seed is 'one'; it must be a whole number from 0 on"]),
        (
            {"parameters": {"memory": 0, "method": "ewc"}},
            [
                "memory is 0; it must be a whole number from 1 on",
                "method is 'ewc'; it must be one of finetune, replay, lwf, replay+lwf, joint",
            ],
        ),
        ({"parameters": [1]}, ['parameters are [1]; give an object, such as {"steps": 500}']),
        (
            {"start_at": "promote", "parent": "v1", "parameters": {"steps": 5}},
            [
                "parent is v1, but nothing is trained; leave it empty, or start at train",
                "parameters is {'steps': 5}, but nothing is trained; leave it empty, or start at train",
            ],
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_can(
    offline: Workspace, job: Job, params: dict[str, Any], said: list[str]
) -> None:
    assert problems(offline, job, **params) == said


def test_all_that_is_wrong_is_said_at_once(offline: Workspace, job: Job) -> None:
    said = problems(offline, job, bypass=["promote"], parent="v9", parameters={"stepz": 5, "steps": "many"})
    assert said == [
        "a bypassed gate (promote) needs a reason; say why",
        "parent is v9, which does not exist; there are v1, v2",
        "'stepz' is not a setting of FPN; known are steps, batch_size, crop, zoom, inherited, learning_rate, "
        "weight_decay, warm_up_share, validations, patience, checkpoint_every",
        "steps is 'many'; it must be of type int",
    ]


def test_what_a_person_asked_is_kept_once(offline: Workspace, job: Job) -> None:
    params = {
        "start_at": "train",
        "bypass": ["train"],
        "reason": "the fair is tomorrow",
        "parent": "v1",
        "dataset_version": "",
        "parameters": {"steps": 5, "seed": 3, "method": "lwf", "memory": 7},
        "actor": "ada",
    }
    asked = accept(known(offline), job, "run", params)
    assert accept(offline, job, "run", params) == asked
    assert offline.ledger.requests(job.name) == [asked]
    wanted = {"parent": "v1", "parameters": params["parameters"]}
    assert asked == Request("run", "ada", "train", ["train"], "the fair is tomorrow", wanted, asked.at)


def test_what_nobody_asked_is_not_kept(offline: Workspace, job: Job) -> None:
    assert accept(known(offline), job, "run", {"start_at": "train", "bypass": None}).verb == "train"
    assert of_run(offline, job.name, "run") is None


@pytest.mark.parametrize("verb", ["evaluate", "promote"])
def test_a_comparison_stays_about_the_versions_that_were_the_newest_when_it_was_asked_for(
    offline: Workspace, job: Job, verb: str
) -> None:
    params = {"start_at": verb, "actor": "ada"}
    asked = accept(known(offline), job, "run", params)
    assert asked.parameters == {"model_version": "v2", "dataset_version": "d3"}
    assert accept(known(offline, models=5, datasets=5), job, "run", params) == asked
    named = accept(offline, job, "another run", {**params, "model_version": "v1", "dataset_version": "d2"})
    assert named.parameters == {"model_version": "v1", "dataset_version": "d2"}


def test_without_a_model_there_is_nothing_to_compare(offline: Workspace, job: Job) -> None:
    with pytest.raises(NothingToDo, match="boards has no model version yet; train one first"):
        accept(known(offline, models=0, datasets=0), job, "run", {"start_at": "evaluate", "actor": "ada"})
    assert offline.ledger.requests(job.name) == []

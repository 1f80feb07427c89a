"""A job's specification: one YAML file in the field's vocabulary, refused with everything that is wrong in it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, field_validator
from pydantic.alias_generators import to_snake

from models.recipe import learns_by_distillation
from pipelines.gates.rule import LIVE_METRICS, Condition, TimeZone, Trigger, metric_problems
from pipelines.miners import MiningRefused, create_miner
from pipelines.specification import Specification

Method = Literal["finetune", "replay", "lwf", "replay+lwf", "joint"]
METHODS: tuple[Method, ...] = get_args(Method)
REPLAYING: tuple[Method, ...] = ("replay", "replay+lwf")
DISTILLING: tuple[Method, ...] = ("lwf", "replay+lwf")
PRODUCTION_METRICS = ("precision", "recall", "f1")
# Where the rule of each gate stands, and what it may ask; before promote that is whatever an evaluation reports.
GATES: dict[str, tuple[str, tuple[str, ...]]] = {
    "train": ("trainSpec", (*LIVE_METRICS, *PRODUCTION_METRICS)),
    "evaluate": ("evalSpec", (*LIVE_METRICS, *PRODUCTION_METRICS)),
    "promote": ("deploySpec", ()),
}


class JobRefused(ValueError):
    """A job file that cannot be used; `problems` names everything that is wrong in it."""

    def __init__(self, path: Path, problems: list[str]):
        self.path = path
        self.problems = problems
        listed = "\n".join(f"  - {problem}" for problem in problems)
        super().__init__(
            f"{path} has {len(problems)} problem(s):\n{listed}\nMend them in the file; nothing else is affected."
        )


class UnknownJob(LookupError):
    """There is no job of that name."""

    def __init__(self, name: str, known: Sequence[str], folder: Path):
        listed = f"the jobs are {', '.join(known)}" if known else f"add a file {name}.yaml to {folder}"
        super().__init__(f"there is no job {name!r}; {listed}")


class TemplateRule(Specification):
    """How a sample's defect-free template is found beside it: the same name with `sample` replaced by `template`."""

    sample: str = "_test"
    template: str = "_temp"
    wait_seconds: int = Field(default=600, ge=0)

    def template_of(self, name: str) -> str | None:
        """The name of the template that belongs to the image called `name`; None if that name is no sample's."""
        stem, dot, extension = name.rpartition(".")
        if not stem.endswith(self.sample):
            return None
        return f"{stem.removesuffix(self.sample)}{self.template}{dot}{extension}"


class Source(Specification):
    """Where images arrive, and which are too large or too small to be images of this job."""

    template: TemplateRule | None = None
    max_bytes: int = Field(default=64 * 1024 * 1024, ge=1)
    max_pixels: int = Field(default=50_000_000, ge=1)
    min_side: int = Field(default=32, ge=1)


class DatasetSpecification(Specification):
    """How new samples are divided: `trainProb` is the share that goes to training, the rest to the holdout."""

    train_prob: float = Field(default=0.8, gt=0, lt=1)


class HardExampleMining(Specification):
    """Which images people are asked about: a miner's choice and a random share, within a budget."""

    name: str = "Informative"
    parameters: dict[str, float] = Field(default_factory=dict)
    mine_empty: bool = True
    random_share: float = Field(default=0.1, ge=0, le=1)
    budget: int = Field(default=200, ge=1)


class EstimatorSpecification(Specification):
    """The registered estimator and what it is constructed with."""

    name: str
    parameters: dict[str, Any] = Field(default_factory=dict)


class TrainSpecification(Specification):
    """When and how to train: `parameters` are the recipe's, those of `updateParameters` differ once a model serves.

    `method` says what keeps an update from forgetting, `memory` how many of the samples that its parent learnt from
    it is shown again, at most, by a method that replays. `validation` is the share of what a training is shown that
    chooses its weights and threshold instead of being learnt from.
    """

    trigger: Trigger = Trigger(condition=Condition(metric="num_of_samples", operator=">=", threshold=500))
    method: Method = "replay"
    memory: int = Field(default=500, ge=1)
    validation: float = Field(default=0.1, ge=0, lt=1)
    parameters: dict[str, Any] = Field(default_factory=dict)
    update_parameters: dict[str, Any] = Field(default_factory=dict)
    seed: int = 0


class EvalSpecification(Specification):
    """When and how to evaluate; by default as soon as every class has `minSupport` boxes in the holdout."""

    trigger: Trigger = Trigger()
    min_support: int = Field(default=1, ge=0)


class Floors(Specification):
    """How far `metric` may fall in a class, a domain, and on the holdout `known` since the served model learnt.

    A night of wrong labels cannot have touched the last. What has fewer than `minSupport` boxes is not judged.
    """

    metric: str = "ap"
    known: float = Field(default=0.02, ge=0)
    classes: float = Field(default=0.05, ge=0)
    domains: float = Field(default=0.05, ge=0)
    min_support: int = Field(default=20, ge=1)


class PromotionRule(Specification):
    """How much better a candidate must be: `bound` by its lower confidence bound, `point` by the numbers as they are.

    Under `bound` the lower confidence bound of what the candidate has more of `metric`, on the same images, must be
    above `margin`. `errorBudget` is the probability that a holdout, in its whole life, lets a candidate serve that is
    not better; each decision spends one of `decisions` parts of what is left of it. A holdout of which a tenth is left
    is due: it grows no more, and the next one begins as soon as `refreshImages` were held out since.
    """

    name: Literal["bound", "point"] = "bound"
    metric: Literal["ap", "precision", "recall", "f1"] = "ap"
    margin: float = Field(default=0.0, ge=0, lt=1)
    error_budget: float = Field(default=0.1, gt=0, lt=0.5)
    decisions: int = Field(default=40, ge=1)
    refresh_images: int = Field(default=200, ge=2)


class Approval(Specification):
    """Whose word a promotion needs besides the rule's: nobody's (`none`), or a person's within `waitSeconds`."""

    by: Literal["none", "human"] = "none"
    wait_seconds: int = Field(default=24 * 3600, ge=1)


class DeploySpecification(Specification):
    """When a candidate may serve, and how often the server looks for it."""

    trigger: Trigger = Trigger(condition=Condition(metric="ap_delta", operator=">", threshold=0.0))
    rule: PromotionRule = PromotionRule()
    floors: Floors = Floors()
    approval: Annotated[Approval, BeforeValidator(lambda word: {"by": word} if isinstance(word, str) else word)] = (
        Approval()
    )
    poll_period_seconds: float = Field(default=5, ge=0.1)


def _cron(expression: str) -> str:
    from croniter import croniter

    fields = len(expression.split())
    if not (fields == 5 or expression.startswith("@")) or not croniter.is_valid(expression, strict=True):
        raise ValueError(
            "it is no cron expression, or one that never comes; write minute, hour, day of month, month and day of "
            "week, as in '0 2 * * *' for 02:00 every day, or null"
        )
    return expression


class Schedule(Specification):
    """Cron of the nightly run, in a named time zone; none where the job learns only when labels arrive or by hand."""

    nightly: Annotated[str, AfterValidator(_cron)] | None = "0 2 * * *"
    timezone: TimeZone = "UTC"


class Job(Specification):
    """One continual-learning job."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{1,48}[a-z0-9]$")
    description: str = ""
    classes: list[str] = Field(min_length=1)
    source: Source = Source()
    dataset: DatasetSpecification = DatasetSpecification()
    estimator: EstimatorSpecification
    initial_model: str | None = None
    hard_example_mining: HardExampleMining = HardExampleMining()
    train_spec: TrainSpecification = TrainSpecification()
    eval_spec: EvalSpecification = EvalSpecification()
    deploy_spec: DeploySpecification = DeploySpecification()
    schedule: Schedule = Schedule()

    @field_validator("classes")
    @classmethod
    def _distinct(cls, classes: list[str]) -> list[str]:
        doubled = sorted({name for name in classes if classes.count(name) > 1})
        if doubled:
            raise ValueError(f"{', '.join(doubled)} stands more than once; name each class once")
        return classes

    @property
    def inbox(self) -> str:
        """The prefix in the bucket where this job's images arrive."""
        return f"inbox/{self.name}/"

    @property
    def hash(self) -> str:
        """SHA-256 over the specification, the same for the same meaning."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


def find_job(folder: Path, name: str) -> Job:
    """The job of that name among the files of a folder.

    Raises:
        UnknownJob: none of them has that name.
        JobRefused: its file cannot be used.
    """
    path = folder / f"{name}.yaml"
    if not path.exists():
        raise UnknownJob(name, sorted(file.stem for file in folder.glob("*.yaml")), folder)
    return load_job(path)


def load_job(path: Path) -> Job:
    """Read one job file.

    Raises:
        JobRefused: with every problem of the file, each with its place and what is allowed there.
    """
    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise JobRefused(path, [f"it cannot be read as YAML: {error}"]) from None
    if not isinstance(document, dict):
        raise JobRefused(
            path, [f"it holds a {type(document).__name__}; a job is a mapping with at least name, classes, estimator"]
        )
    problems = []
    if document.get("name", path.stem) != path.stem:
        problems.append(f"name is {document['name']!r}; a job's file is called after it, {document['name']}.yaml")
    try:
        job = Job.model_validate(document)
    except ValidationError as error:
        problems += (_problem(detail) for detail in error.errors())
        job = None
    problems += _metric_problems(document)
    if job is not None:
        problems += _mining_problems(job.hard_example_mining)
        problems += method_problems(job.estimator.name, job.train_spec.method, place="trainSpec.method")
    if job is None or problems:
        raise JobRefused(path, problems)
    return job


def method_problems(estimator: str, method: str, *, place: str = "method") -> list[str]:
    """What is wrong with updating an estimator by a method, as far as the estimator is known here."""
    if method not in METHODS:
        return [f"{place} is {method!r}; it must be one of {', '.join(METHODS)}"]
    if method in DISTILLING and learns_by_distillation(estimator) is False:
        allowed = ", ".join(each for each in METHODS if each not in DISTILLING)
        return [f"{place} is {method!r}, but the training of {estimator} takes no distil; choose one of {allowed}"]
    return []


def _metric_problems(document: Mapping[str, Any]) -> Iterator[str]:
    """Metrics that a gate does not know, looked for in the file itself: whatever else is wrong with it."""
    classes = document.get("classes")
    named = [name for name in classes if isinstance(name, str)] if isinstance(classes, list) else []
    for gate, (specification, known) in GATES.items():
        written = document.get(specification) or document.get(to_snake(specification))
        trigger = written.get("trigger") if isinstance(written, dict) else None
        yield from metric_problems(trigger, f"{specification}.trigger", gate=gate, known=known, classes=named)


def _mining_problems(mining: HardExampleMining) -> list[str]:
    try:
        create_miner(mining.name, mining.parameters)
    except MiningRefused as refusal:
        return [f"hardExampleMining: {problem}" for problem in refusal.problems]
    return []


def _problem(detail: Any) -> str:
    place = ".".join(str(part) for part in detail["loc"]) or "the file"
    if detail["type"] == "missing":
        return f"{place} is missing; it is required"
    if detail["type"] == "extra_forbidden":
        return f"{place} is not a key of a job; take it out or mend its name"
    message = detail["msg"].removeprefix("Value error, ")
    return f"{place} is {detail['input']!r}: {message[0].lower()}{message[1:]}"

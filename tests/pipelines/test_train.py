"""Train: each method of updating shows its estimator what it should, and starts it from what it should."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest

from data.sample import Annotation, Example, Sample, Split, sha256
from models.estimator import ClassFactory, ClassType, TrainingRefused, TrainingReport
from pipelines.job import Job, TrainSpecification
from pipelines.train import train
from pipelines.workspace import Workspace
from tests.pipelines.tiny import SIZE, Tiny, labelled, tiny_job

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Told:
    """What one training was told, and by an estimator of which skill and classes."""

    skill: float
    classes: list[str]
    shown: set[str]
    fresh: set[str]
    distil: bool
    steps: int
    seed: int
    validating: set[str]


@ClassFactory.register(ClassType.GENERAL, alias="Pupil")
class Pupil(Tiny):
    """Remembers what each training was told; each adds one to its skill."""

    lessons: ClassVar[list[Told]] = []

    def train(  # type: ignore[override]
        self,
        train_data: Sequence[Example],
        valid_data: Sequence[Example] | None = None,
        *,
        checkpoint_dir: Path | None = None,  # noqa: ARG002
        seed: int = 0,
        fresh_ids: Collection[str] = (),
        distil: bool = False,
        steps: int = 0,
    ) -> TrainingReport:
        shown = {example.sample_id for example in train_data}
        validating = {example.sample_id for example in valid_data or ()}
        self.lessons.append(Told(self.skill, self.classes, shown, set(fresh_ids), distil, steps, seed, validating))
        self.skill += 1
        return TrainingReport(steps=steps, best_step=0, seconds=0.0, loss=0.0, threshold=self.threshold)

    def extend(self, classes: Sequence[str]) -> None:
        self.classes = list(classes)
        self.parameters = {"classes": self.classes}


@dataclass
class School:
    """A job of two dataset versions; v1 has learnt from the first."""

    workspace: Workspace
    job: Job
    old: set[str] = field(default_factory=set)
    new: set[str] = field(default_factory=set)

    def update(self, run_id: str, job: Job | None = None, **asked: Any) -> tuple[Told, dict[str, Any]]:
        """Train from v1 on the newest dataset version; what the estimator was told, and the metadata."""
        version = train(
            self.workspace, job or self.job, run_id, dataset_version="d2", parent="v1", parameters=asked or None
        )
        return Pupil.lessons[-1], version.metadata


@pytest.fixture
def school(workspace: Workspace) -> School:
    Pupil.lessons.clear()
    tiny = tiny_job(workspace)
    specification = TrainSpecification(
        trigger=tiny.train_spec.trigger, parameters={"steps": 9}, update_parameters={"steps": 3}, memory=4
    )
    job = tiny.model_copy(
        update={
            "estimator": tiny.estimator.model_copy(update={"name": "Pupil"}),
            "train_spec": specification,
        }
    )
    found = School(workspace, job)
    found.old = publish(workspace, range(12))
    train(workspace, job, "first", dataset_version="d1")
    found.new = publish(workspace, range(12, 20))
    return found


def publish(workspace: Workspace, numbers: range) -> set[str]:
    """A dataset version with these images more, every fourth of them held out; the ids of the others."""
    rows, contents = [], {}
    for number, image in zip(numbers, labelled(numbers), strict=True):
        sample_id = sha256(image.read())
        contents[sample_id] = image.read()
        split: Split = "train" if number % 4 else "holdout"
        sample = Sample(sample_id, SIZE, SIZE, f"line {number % 2}", image.name, split)
        rows.append((sample, Annotation(sample_id, image.boxes, "ada", "2026-01-01")))
    workspace.registry.publish_dataset("tiny", rows, read_bytes=contents.__getitem__, checks={})
    return {sample.id for sample, _ in rows if sample.split == "train"}


def by_method(job: Job, method: str) -> Job:
    """The job with another method in its file."""
    return job.model_copy(update={"train_spec": job.train_spec.model_copy(update={"method": method})})


def test_without_a_parent_the_method_plays_no_part(school: School) -> None:
    lesson = Pupil.lessons[0]
    assert (lesson.shown, lesson.fresh, lesson.distil, lesson.steps) == (school.old, set(), False, 9)
    metadata = school.workspace.registry.model("tiny", "v1").metadata
    assert (metadata["method"], metadata["memory"]) == (None, None)


@pytest.mark.parametrize(
    ("method", "replayed", "distil"),
    [("finetune", 0, False), ("lwf", 0, True), ("replay", 4, False), ("replay+lwf", 4, True)],
)
def test_an_update_is_shown_what_is_new_and_a_memory_of_the_rest(
    school: School, method: str, replayed: int, distil: bool
) -> None:
    lesson, metadata = school.update("update", by_method(school.job, method))
    assert (lesson.skill, lesson.steps, lesson.distil, lesson.fresh) == (1, 3, distil, school.new)
    assert lesson.shown >= school.new
    assert len(lesson.shown & school.old) == replayed
    assert (metadata["method"], metadata["memory"]) == (method, 4 if replayed else None)
    assert metadata["recipe"] == {"steps": 3}


def test_joint_trains_anew_on_everything_by_the_recipe_of_a_first_training(school: School) -> None:
    lesson, metadata = school.update("update", method="joint", seed=5)
    assert lesson == Told(0.0, ["open", "short"], school.old | school.new, set(), False, 9, 5, set())
    assert (metadata["parent"], metadata["method"], metadata["recipe"]) == ("v1", "joint", {"steps": 9})


def test_a_run_may_have_a_method_and_memory_of_its_own_and_its_candidate_another_key(school: School) -> None:
    keys = set()
    asking: list[dict[str, Any]] = [{}, {"memory": 5}, {"method": "lwf"}, {"method": "finetune"}, {"method": "joint"}]
    for number, asked in enumerate(asking):
        lesson, metadata = school.update(f"run {number}", **asked)
        keys.add(metadata["run_key"])
        if asked == {"memory": 5}:
            assert len(lesson.shown & school.old) == 5
    assert len(keys) == 5
    taught = len(Pupil.lessons)
    assert school.update("again", method="finetune")[1]["run_key"] in keys
    assert len(Pupil.lessons) == taught


def test_with_nothing_new_only_a_method_that_replays_can_learn(school: School) -> None:
    school.workspace.ledger.claim_training("tiny", "update", with_samples=False)
    with pytest.raises(TrainingRefused, match=r"v1 has learnt from all of d1; choose the method replay or replay\+lwf"):
        train(
            school.workspace,
            by_method(school.job, "finetune"),
            "update",
            dataset_version="d1",
            parent="v1",
        )
    train(school.workspace, school.job, "update", dataset_version="d1", parent="v1")
    assert (len(Pupil.lessons[-1].shown), Pupil.lessons[-1].fresh) == (4, set())


def test_classes_that_the_parent_does_not_know_are_added_to_it(school: School) -> None:
    grown = school.job.model_copy(update={"classes": ["spur", "open"]})
    lesson, _ = school.update("update", grown)
    assert (lesson.skill, lesson.classes) == (1, ["open", "short", "spur"])
    lesson, _ = school.update("anew", grown, method="joint")
    assert lesson.classes == ["spur", "open"]


def test_an_estimator_that_cannot_do_it_is_refused_before_it_trains(school: School) -> None:
    job = school.job.model_copy(update={"estimator": school.job.estimator.model_copy(update={"name": "Tiny"})})
    train(school.workspace, job, "other", dataset_version="d1", parameters={"method": "replay"})
    grown = job.model_copy(update={"classes": ["open", "short", "spur"]})
    with pytest.raises(TrainingRefused, match=r"v2 does not know the class spur, and Tiny has no extend.* joint"):
        train(school.workspace, grown, "update", dataset_version="d2", parent="v2")
    with pytest.raises(TrainingRefused, match=r"'lwf', but the training of Tiny takes no distil; choose .*replay"):
        train(school.workspace, by_method(job, "lwf"), "update", dataset_version="d2", parent="v2")
    with pytest.raises(TrainingRefused, match="method is 'ewc'; it must be one of finetune, replay, lwf"):
        school.update("update", method="ewc")


def test_a_share_of_many_validates_and_is_not_learnt_from(school: School, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.train.FEWEST_VALIDATING", 2)
    specification = school.job.train_spec.model_copy(update={"validation": 0.4})
    job = school.job.model_copy(update={"train_spec": specification})
    lesson, metadata = school.update("update", job, method="joint")
    assert len(lesson.validating) >= 2
    assert lesson.shown | lesson.validating == school.old | school.new
    assert not lesson.shown & lesson.validating
    assert metadata["validation"] == 0.4
    again, _ = school.update("replayed", job)
    assert again.validating <= lesson.validating
    assert again.fresh == school.new - lesson.validating

"""The ledger's law: whatever happens in whatever order, what it counts is what a recount finds."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from data.ledger import Ledger, TrainingActive, TrainingLost
from data.ledger.tables import trainings
from data.sample import Annotation, Box, Prediction, Sample

STAGES = ("arrived", "passed", "selected", "pushed")
# Few of each, so that the same sample is said the same of again, and trained again.
names = st.sampled_from("aaabc")
references = st.sampled_from("1123")
delays = st.sampled_from([1, 1, 1, 0, -2])
labels = st.sampled_from([["open"], ["open"], ["short", "open"], ["unknown"], []])


@dataclass
class ModelSample:
    """One sample as simply as it can be told."""

    sample: Sample
    stage: str = "arrived"
    words: list[tuple[str, int, Annotation | None]] = field(default_factory=list)
    withdrawn: set[str] = field(default_factory=set)
    predicted: bool = False
    miner: str | None = None

    @property
    def word(self) -> tuple[str, int, Annotation | None] | None:
        standing = [word for word in self.words if word[0] not in self.withdrawn]
        newest: dict[str, Any] = {}
        for word in sorted(standing, key=lambda word: (word[1], word[2].id if word[2] else "")):
            newest[word[0]] = word
        return max(newest.values(), key=lambda word: (word[1], word[2].id if word[2] else ""), default=None)

    @property
    def state(self) -> str:
        if self.word is None:
            return self.stage
        annotation = self.word[2]
        return "skipped" if annotation is None else "quarantined" if problems(annotation) else "labelled"

    @property
    def annotation(self) -> Annotation | None:
        return self.word[2] if self.word is not None and self.state == "labelled" else None


@dataclass
class ModelTraining:
    """One attempt to train, with what it claimed: the annotation of each sample."""

    run_id: str
    claimed: dict[str, str]
    state: str = "active"
    dataset_version: str | None = None


def problems(annotation: Annotation) -> list[str]:
    return ["unknown class" for box in annotation.boxes if box.label == "unknown"]


def instant(time: int) -> str:
    return f"2026-01-01T00:{time // 60:02d}:{time % 60:02d}.000000+00:00"


class LedgerMachine(RuleBasedStateMachine):
    """Every step of a job in any order, beside a model that recounts everything from the beginning."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self.ledger = ledger
        self.job = uuid.uuid4().hex
        self.samples: dict[str, ModelSample] = {}
        self.attempts: list[ModelTraining] = []
        self.versioned: dict[str, str] = {}
        self.chosen: list[str] = []
        self.done: list[Callable[[], object]] = []
        self.time = 10

    def do(self, step: Callable[[], object]) -> object:
        self.done.append(step)
        return step()

    @property
    def active(self) -> ModelTraining | None:
        return next((each for each in self.attempts if each.state == "active"), None)

    def pending(self) -> dict[str, str]:
        held = {said for each in self.attempts if each.state != "failed" for said in each.claimed.values()}
        return {
            name: each.annotation.id
            for name, each in self.samples.items()
            if each.sample.split == "train" and each.annotation is not None and each.annotation.id not in held
        }

    @initialize()
    def begin(self) -> None:
        for name in "abc":
            self.arrive(name)

    def arrive(self, name: str) -> None:
        sample = Sample(name, 640, 480, "line", name, "holdout" if name == "c" else "train")
        new = name not in self.samples
        self.samples.setdefault(name, ModelSample(sample))
        assert self.do(lambda: self.ledger.add_sample(self.job, sample, ord(name))) is new

    @rule(name=names, step=st.sampled_from(["arrive", "predict", "pass", "draw", "mine", "push"]))
    def advance(self, name: str, step: str) -> None:
        model = self.samples[name]
        if step == "arrive":
            self.arrive(name)
            return
        if step == "predict":
            model.predicted = True
            self.do(lambda: self.ledger.add_prediction(self.job, Prediction(name, "v1", ()), 0.5))
            return
        steps: dict[str, tuple[str, Callable[[], object]]] = {
            "pass": ("passed", lambda: self.ledger.pass_over(self.job, name, 0.1)),
            "draw": ("selected", lambda: self.ledger.select(self.job, name, "random", 0.5, 0.7, "v1")),
            "mine": ("selected", lambda: self.ledger.select(self.job, name, "IBT", 1.0, 0.7, "v1")),
            "push": ("pushed", lambda: self.ledger.record_push(self.job, name, ord(name))),
        }
        stage, call = steps[step]
        further = STAGES.index(stage) > STAGES.index(model.stage)
        model.stage = stage if further else model.stage
        if stage == "selected" and further:
            model.miner = "random" if step == "draw" else "IBT"
            self.chosen.insert(0, name)
        assert self.do(call) is further

    @rule(words=st.lists(st.tuples(names, references, delays, labels), min_size=1, max_size=3))
    def annotate(self, words: list[tuple[str, str, int, list[str]]]) -> None:
        for name, reference, delay, boxes in words:
            self.time += 1
            drawn = tuple(Box(1, 2, 30, 40, label) for label in boxes)
            annotation = Annotation(name, drawn, "ann", instant(self.time + 2 * delay), reference)
            self.samples[name].words.append((reference, self.time + 2 * delay, annotation))
            self.do(partial(self.ledger.record_annotation, self.job, annotation, problems(annotation)))

    @rule(name=names, reference=references, delay=delays)
    def skip(self, name: str, reference: str, delay: int) -> None:
        self.time += 1
        time = self.time + 2 * delay
        self.samples[name].words.append((reference, time, None))
        self.do(lambda: self.ledger.record_skip(self.job, name, instant(time), reference))

    @rule(name=names, reference=st.sampled_from("23"))
    def withdraw(self, name: str, reference: str) -> None:
        self.samples[name].withdrawn.add(reference)
        self.do(lambda: self.ledger.withdraw_annotation(self.job, name, reference))

    @precondition(lambda self: self.active is None)
    @rule(again=st.booleans())
    def claim(self, again: bool) -> None:
        failed = [each.run_id for each in self.attempts[-1:] if each.state == "failed"]
        run_id = failed[0] if again and failed else f"run {len(self.attempts)}"
        claimed = self.pending()
        self.attempts.append(ModelTraining(run_id, claimed))
        claim = self.ledger.claim_training(self.job, run_id)
        assert (claim.samples, claim.state) == (len(claimed), "active")
        assert self.ledger.claim_training(self.job, run_id) == claim
        with pytest.raises(TrainingActive):
            self.ledger.claim_training(self.job, "another run")

    @precondition(lambda self: self.active is not None and self.active.dataset_version is None)
    @rule()
    def curate(self) -> None:
        own = self.active
        assert own is not None
        wanted = dict(self.versioned)
        pending = self.pending()
        for name, model in self.samples.items():
            if model.annotation is None:
                wanted.pop(name, None)
            elif name not in pending:
                wanted[name] = model.annotation.id
            elif name in own.claimed and self.versioned.get(name) != model.annotation.id:
                wanted[name] = own.claimed[name]
        added, removed = self.ledger.unversioned(self.job, own.run_id)
        own.dataset_version = f"d{len(self.attempts)}"
        self.versioned.update({sample.id: annotation.id for sample, annotation in added})
        for name in removed:
            del self.versioned[name]
        assert self.versioned == wanted
        record = partial(self.ledger.record_dataset, self.job, own.run_id, own.dataset_version)
        assert record(added, removed) is True
        assert record([], list(self.samples)) is False

    @precondition(lambda self: self.active is not None)
    @rule(how=st.sampled_from(["finish", "finish", "fail", "fall silent"]))
    def end(self, how: str) -> None:
        own = self.active
        assert own is not None
        finish = partial(
            self.ledger.finish_training,
            self.job,
            own.run_id,
            dataset_version=own.dataset_version or "d0",
            candidate="v",
        )
        if how == "finish":
            own.state = "finished"
            assert self.do(finish) is True
            assert self.ledger.fail_training(self.job, own.run_id) is False
            return
        own.state = "failed"
        if how == "fail":
            assert self.ledger.fail_training(self.job, own.run_id, "killed") is True
            assert self.ledger.fail_training(self.job, own.run_id, "killed") is False
        else:
            with self.ledger._writing(self.job) as connection:
                here = (trainings.c.job == self.job, trainings.c.state == "active")
                connection.execute(sa.update(trainings).where(*here).values(heartbeat=0.0))
            assert self.ledger.training(self.job, own.run_id) is None
        with pytest.raises(TrainingLost):
            finish()

    @precondition(lambda self: self.active is None and self.pending())
    @rule()
    def learn(self) -> None:
        self.claim(again=False)
        self.curate()
        self.end("finish")

    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.done))()

    @invariant()
    def pending_is_what_is_yet_to_be_learnt_from(self) -> None:
        pending = self.pending()
        assert self.ledger.pending(self.job) == len(pending)
        found = {sample.id: annotation.id for sample, annotation in self.ledger.pending_samples(self.job)}
        assert found == pending

    @invariant()
    def what_is_counted_is_what_a_recount_finds(self) -> None:
        said = {each.id: each for model in self.samples.values() for _, _, each in model.words if each is not None}
        shown = [{box.label for box in said[annotation_id].boxes} for annotation_id in self.pending().values()]
        assert self.ledger.pending_by_class(self.job) == Counter(label for labels in shown for label in labels)
        assert self.ledger.mined(self.job) == len(self.chosen)

    @invariant()
    def the_drawn_are_the_labelled_lots_of_the_version(self) -> None:
        drawn = [name for name, each in self.samples.items() if each.miner == "random" and each.predicted]
        labelled = [name for name in reversed(drawn) if self.samples[name].annotation is not None]
        assert [each.sample.id for each in self.ledger.drawn(self.job, "v1")] == labelled
        assert self.ledger.drawn(self.job, "v2") == []

    def teardown(self) -> None:
        mined = [name for name in self.chosen if self.samples[name].miner == "IBT"]
        found_mined = self.ledger.chosen(self.job, limit=9)
        assert [each.sample.id for each in found_mined] == mined
        for each in found_mined:
            model = self.samples[each.sample.id]
            said = model.annotation
            assert (each.state, each.prediction is not None) == (model.state, model.predicted)
            assert (each.annotation and each.annotation.id) == (said and said.id)
        assert self.ledger.counts(self.job) == Counter(each.state for each in self.samples.values())
        labelled = [each for each in self.samples.values() if each.annotation is not None]
        found = {sample.id: annotation.id for sample, annotation in self.ledger.labelled(self.job)}
        assert found == {each.sample.id: each.annotation.id for each in labelled if each.annotation}
        for split in ("train", "holdout"):
            boxes = Counter(
                box.label
                for each in labelled
                if each.annotation and each.sample.split == split
                for box in each.annotation.boxes
            )
            assert self.ledger.support(self.job, split) == boxes  # type: ignore[arg-type]


@pytest.mark.slow
def test_the_ledger_keeps_its_law_in_every_order_of_steps(ledger: Ledger) -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        lambda: LedgerMachine(ledger),  # type: ignore[arg-type]
        settings=settings(
            max_examples=60, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )

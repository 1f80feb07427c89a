"""The job's specification: what it accepts, and that it names everything that it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.job import Condition, JobRefused, TemplateRule, Timer, load_job

SMALLEST = "name: boards\nclasses: [open, short]\nestimator: {name: FPN}\n"


def written(folder: Path, text: str, name: str = "boards.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_the_smallest_job_has_sensible_defaults(tmp_path: Path) -> None:
    job = load_job(written(tmp_path, SMALLEST))

    assert job.inbox == "inbox/boards/"
    assert str(job.train_spec.trigger.condition) == "num_of_samples >= 500"
    assert str(job.deploy_spec.trigger.condition) == "ap_delta > 0"
    assert job.schedule.nightly == "0 2 * * *"


def test_a_job_with_five_mistakes_is_refused_with_all_five(tmp_path: Path) -> None:
    text = (
        "name: Boards!\n"
        "classes: [open, open]\n"
        "estimatr: {name: FPN}\n"
        "dataset: {trainProb: 1.5}\n"
        "trainSpec: {trigger: {timer: {start: '02:00', end: '25:00'}, condition: {metric: ap, operator: '~', "
        "threshold: 1}}}\n"
    )

    with pytest.raises(JobRefused) as refusal:
        load_job(written(tmp_path, text))

    places = [
        "called after it",
        "name",
        "classes",
        "estimator",
        "estimatr",
        "dataset.trainProb",
        "timer.end",
        "condition.operator",
    ]
    assert all(any(place in problem for problem in refusal.value.problems) for place in places)
    assert len(refusal.value.problems) == len(places)
    assert "'>', '>='" in str(refusal.value)


@pytest.mark.parametrize("text", ["[1, 2]", "name: [", ""])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(JobRefused):
        load_job(written(tmp_path, text))


def test_a_job_is_called_like_its_file_and_its_miner_is_known(tmp_path: Path) -> None:
    text = SMALLEST + "hardExampleMining: {name: Guessing}\n"

    with pytest.raises(JobRefused) as refusal:
        load_job(written(tmp_path, text, "other.yaml"))

    assert len(refusal.value.problems) == 2
    assert "boards.yaml" in refusal.value.problems[0]
    assert "IBT" in refusal.value.problems[1]


@pytest.mark.parametrize(("word", "operator"), [("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<="), ("eq", "==")])
def test_the_predecessors_words_for_operators_are_understood(word: str, operator: str) -> None:
    assert Condition(metric="precision_delta", operator=word, threshold=0.1).operator == operator  # type: ignore[arg-type]


@pytest.mark.parametrize("metric", ["num_of_samples", "precision[open]", "ap[pin-hole]_delta", "f1_delta"])
def test_metrics_are_scalar_or_of_a_class_or_a_difference(metric: str) -> None:
    assert Condition(metric=metric, operator=">", threshold=0).metric == metric


def test_an_unquoted_clock_time_is_the_time_it_looks_like(tmp_path: Path) -> None:
    text = SMALLEST + "trainSpec: {trigger: {timer: {start: 02:00, end: 23:30}}}\n"

    timer = load_job(written(tmp_path, text)).train_spec.trigger.timer

    assert timer == Timer(start="02:00", end="23:30")


def test_the_hash_is_of_the_meaning(tmp_path: Path) -> None:
    first = load_job(written(tmp_path, SMALLEST))
    same = load_job(written(tmp_path, "# a comment\nestimator:\n  name: FPN\nclasses: [open, short]\nname: boards\n"))
    other = load_job(written(tmp_path, SMALLEST.replace("short", "spur")))

    assert first.hash == same.hash != other.hash


@pytest.mark.parametrize(
    ("name", "template"),
    [("a/b_test.jpg", "a/b_temp.jpg"), ("b_test.png", "b_temp.png"), ("b_temp.png", None), ("b.jpg", None)],
)
def test_a_template_lies_beside_its_sample(name: str, template: str | None) -> None:
    assert TemplateRule().template_of(name) == template

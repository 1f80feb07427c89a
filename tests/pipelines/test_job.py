"""The job's specification: what it accepts, and that it names everything that it does not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from pipelines.gates.rule import Condition, Timer
from pipelines.job import JobRefused, TemplateRule, load_job
from pipelines.settings import ROOT
from tests.airflow_home import prepare
from tests.pipelines.tiny import Tiny

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


def test_a_job_with_many_mistakes_is_refused_with_all_of_them(tmp_path: Path) -> None:
    text = (
        "name: Boards!\n"
        "classes: [open, open]\n"
        "estimatr: {name: FPN}\n"
        "dataset: {trainProb: 1.5}\n"
        "trainSpec:\n"
        "  trigger:\n"
        "    timer: {start: '02:00', end: '25:00', days: [sat, sunday], timezone: Mars}\n"
        "    condition: {metric: ap, operator: '~', threshold: .inf}\n"
        "    any: [{}, {condition: {metric: 'precision[spur]', operator: '<', threshold: 0.8}}]\n"
        "evalSpec:\n"
        "  trigger: {all: [{all: [{condition: {metric: days_since_training_delta, operator: '>', threshold: 1}}]}]}\n"
        "deploySpec: {trigger: {condition: {metric: 'hours_since_training[open]', operator: '>', threshold: 1}}}\n"
        "schedule: {nightly: 0 25 * * *}\n"
    )

    with pytest.raises(JobRefused) as refusal:
        load_job(written(tmp_path, text))

    places = [
        "called after it",
        "name is 'Boards!'",
        "classes",
        "estimator is missing",
        "estimatr",
        "dataset.trainProb",
        "trainSpec.trigger.timer.end",
        "trainSpec.trigger.timer.days.1",
        "trainSpec.trigger.timer.timezone",
        "trainSpec.trigger.condition.operator",
        "trainSpec.trigger.condition.threshold",
        "trainSpec.trigger.any",
        "schedule.nightly",
        "trainSpec.trigger.condition.metric is 'ap': ap is not known before train; there are num_of_samples, "
        "hours_since_training, days_since_training, precision, recall, f1",
        "trainSpec.trigger.any.1.condition.metric is 'precision[spur]': spur is no class of the job; there are open",
        "evalSpec.trigger.all.0.all.0.condition.metric is 'days_since_training_delta': days_since_training has no",
        "deploySpec.trigger.condition.metric is 'hours_since_training[open]': hours_since_training is one number",
    ]
    for place in places:
        assert any(place in problem for problem in refusal.value.problems), place
    assert len(refusal.value.problems) == len(places)
    assert "'>', '>='" in str(refusal.value)
    assert "'mon', 'tue'" in str(refusal.value)


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


def test_rules_combine_conditions_and_windows_and_may_stand_at_any_gate(tmp_path: Path) -> None:
    trigger = (
        "    any:\n"
        "      - condition: {metric: num_of_samples, operator: '>=', threshold: 500}\n"
        "      - all:\n"
        "          - condition: {metric: 'num_of_samples[*]', operator: '>=', threshold: 5}\n"
        "          - condition: {metric: 'precision[open]_delta', operator: '<', threshold: -0.05}\n"
        "            timer: {start: '22:00', end: '06:00', days: [sat, sun]}\n"
    )
    specifications = "".join(f"{part}:\n  trigger:\n{trigger}" for part in ("trainSpec", "evalSpec", "deploySpec"))

    job = load_job(written(tmp_path, SMALLEST + specifications))

    for rule in (job.train_spec.trigger, job.eval_spec.trigger, job.deploy_spec.trigger):
        assert [str(part) for part in rule.parts() if isinstance(part, Condition)] == [
            "num_of_samples >= 500",
            "num_of_samples[*] >= 5",
            "precision[open]_delta < -0.05",
        ]
        assert [part.days for part in rule.parts() if isinstance(part, Timer)] == [["sat", "sun"]]


@pytest.mark.parametrize("empty", ["all: [{}]", "any: [{all: []}]", "all: [{any: [{}]}]"])
def test_a_part_that_asks_for_nothing_is_refused(tmp_path: Path, empty: str) -> None:
    with pytest.raises(JobRefused, match="number 1 asks for nothing; give it a condition, a timer, all or any"):
        load_job(written(tmp_path, SMALLEST + f"trainSpec: {{trigger: {{{empty}}}}}\n"))


def test_predecessor_defect_a_train_prob_of_one_leaves_nothing_to_judge_by(tmp_path: Path) -> None:
    with pytest.raises(JobRefused, match=r"dataset\.trainProb is 1"):
        load_job(written(tmp_path, SMALLEST + "dataset: {trainProb: 1}\n"))


def test_predecessor_defect_a_timer_of_type_daily_has_no_format(tmp_path: Path) -> None:
    timer = "{type: daily, start: '02:00', end: '04:00'}"
    with pytest.raises(JobRefused, match=r"timer\.type is not a key of a job"):
        load_job(written(tmp_path, SMALLEST + f"trainSpec: {{trigger: {{timer: {timer}}}}}\n"))


def test_only_a_trigger_says_how_often_and_how_long(tmp_path: Path) -> None:
    part = "{checkPeriodSeconds: 5, condition: {metric: num_of_samples, operator: '>', threshold: 5}}"
    with pytest.raises(JobRefused, match=r"any\.0\.checkPeriodSeconds is not a key"):
        load_job(written(tmp_path, SMALLEST + f"trainSpec: {{trigger: {{any: [{part}]}}}}\n"))


def examples(page: str) -> list[str]:
    """The YAML on a page of the documentation."""
    return re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)


def test_the_documentation_shows_every_key_with_its_default(tmp_path: Path) -> None:
    whole, *_ = examples("jobs.md")
    shown = load_job(written(tmp_path, whole, "pcb_defects.yaml"))
    text = f"name: pcb_defects\nclasses: {shown.classes}\nestimator: {{name: FPN}}\n"
    default = load_job(written(tmp_path, text, "pcb_defects.yaml")).model_dump()
    written_out = shown.model_dump(exclude_unset=True)

    def compare(place: str, said: Any, meant: Any) -> None:
        if place.endswith((".template", ".timer", ".parameters", ".update_parameters", ".description")):
            return
        if isinstance(meant, dict):
            missing = set(meant) - set(said)
            assert not missing or place.endswith(("eval_spec.trigger", "deploy_spec.trigger", ".approval")), missing
            for key, value in said.items():
                compare(f"{place}.{key}", value, meant[key])
        else:
            assert said == meant, place

    compare("", written_out, default)


def test_the_recipes_of_the_documentation_are_rules(tmp_path: Path) -> None:
    recipes = examples("when-does-it-train.md") + examples("jobs.md")[1:]
    assert len(recipes) >= 7
    for recipe in recipes:
        indented = "".join(f"  {line}\n" for line in recipe.splitlines())
        job = load_job(written(tmp_path, f"{SMALLEST}trainSpec:\n{indented}"))
        assert next(job.train_spec.trigger.parts())


def test_an_estimator_that_is_known_not_to_distil_is_refused_with_the_methods_it_has(tmp_path: Path) -> None:
    assert Tiny.__name__ == "Tiny"
    text = "name: boards\nclasses: [open]\nestimator: {name: %s}\ntrainSpec: {method: %s}\n"
    for estimator, method in (("FPN", "replay+lwf"), ("Tiny", "joint"), ("NotImportedYet", "lwf")):
        assert load_job(written(tmp_path, text % (estimator, method))).train_spec.method == method
    with pytest.raises(JobRefused) as refusal:
        load_job(written(tmp_path, text % ("Tiny", "lwf")))
    assert refusal.value.problems == [
        "trainSpec.method is 'lwf', but the training of Tiny takes no distil; choose one of finetune, replay, joint"
    ]
    with pytest.raises(JobRefused, match=r"trainSpec\.method is 'ewc': input should be 'finetune', 'replay', 'lwf'"):
        load_job(written(tmp_path, text % ("FPN", "ewc")))


def test_a_rule_that_contains_itself_is_refused(tmp_path: Path) -> None:
    circle = (
        "trainSpec:\n  trigger: &circle\n    condition: {metric: ap, operator: '>', threshold: 5}\n    all: [*circle]\n"
    )
    with pytest.raises(JobRefused) as refusal:
        load_job(written(tmp_path, SMALLEST + circle))
    assert "trainSpec.trigger.condition.metric is 'ap'" in str(refusal.value)


def test_before_promote_an_evaluation_names_its_metrics(tmp_path: Path) -> None:
    of_promote = "deploySpec: {trigger: {condition: {metric: mean_iou_delta, operator: '>', threshold: 0}}}\n"
    assert load_job(written(tmp_path, SMALLEST + of_promote))
    with pytest.raises(JobRefused, match="mean_iou is not known before evaluate; there are"):
        load_job(written(tmp_path, SMALLEST + of_promote.replace("deploySpec", "evalSpec")))


@pytest.mark.parametrize("cron", ["0 2 * * *", "*/15 1-4 * * mon-fri", "@daily", "0 2 L * *", "0 2 * * 1#3"])
def test_a_cron_expression_is_one_that_airflow_understands(tmp_path: Path, cron: str) -> None:
    prepare()
    from airflow.timetables.trigger import CronTriggerTimetable

    CronTriggerTimetable(cron, timezone="UTC").validate()
    assert load_job(written(tmp_path, SMALLEST + f"schedule: {{nightly: '{cron}'}}\n")).schedule.nightly == cron


@pytest.mark.parametrize(
    "cron", ["", "nightly", "0 2 * *", "61 2 * * *", "0 2 * * * *", "0 2 30 2 *", "H 2 * * *", "@sometimes"]
)
def test_a_cron_expression_that_never_comes_is_refused(tmp_path: Path, cron: str) -> None:
    with pytest.raises(JobRefused, match=r"schedule\.nightly is .*: it is no cron expression, or one that never comes"):
        load_job(written(tmp_path, SMALLEST + f"schedule: {{nightly: '{cron}'}}\n"))


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

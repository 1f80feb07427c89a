"""Holdouts: which images decide, what a decision costs, and when the next one begins."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from data.sample import Annotation, Box, Sample, sha256
from pipelines.holdout import Claim, HoldoutState, claim, state
from pipelines.job import DeploySpecification, EstimatorSpecification, Job, PromotionRule
from pipelines.workspace import Workspace

# After the second of them a quarter is left, after the fourth a sixteenth.
RULE = PromotionRule(error_budget=0.04, decisions=2, refresh_images=3)


def with_rule(rule: PromotionRule = RULE) -> Job:
    return Job(
        name="boards",
        classes=["open", "short"],
        estimator=EstimatorSpecification(name="Tiny"),
        deploy_spec=DeploySpecification(rule=rule),
    )


def content(name: str) -> bytes:
    return name.encode()


def held_out(workspace: Workspace, names: Iterable[str], labels: Sequence[str] = ("open", "short")) -> str:
    """Publish a dataset version with these images in the holdout, and one more to train on; what it is called."""
    pairs = []
    for name, split in [*((name, "holdout") for name in names), (f"train {names}", "train")]:
        sample = Sample(sha256(content(name)), 40, 40, "line", name, split)  # type: ignore[arg-type]
        boxes = tuple(Box(1, 1, 9, 9, label) for label in labels)
        pairs.append((sample, Annotation(sample.id, boxes, "ada", "2026-01-01T00:00:00Z")))
    contents = {sample.id: content(sample.source) for sample, _ in pairs}
    published = workspace.registry.publish_dataset("boards", pairs, read_bytes=contents.__getitem__, checks={})
    return published.version


def removed(workspace: Workspace, name: str) -> str:
    gone = [sha256(content(name))]
    return workspace.registry.publish_dataset("boards", [], gone, read_bytes=content, checks={}).version


def names(made: Claim, known: Iterable[str]) -> set[str]:
    return {name for name in known if sha256(content(name)) in made.images}


def spend_until_due(workspace: Workspace, job: Job, version: str) -> Claim:
    claims = [claim(workspace, job, version, f"v{number}") for number in range(2, 6)]
    assert [made.state.due for made in claims] == [False, False, False, True]
    return claims[-1]


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        (
            {"decided": 41, "left": 0.0354, "since": "d12", "images": 312, "due": True, "new_images": 40},
            "this holdout (312 images since d12) has decided 41 times; 3.5 % of its error budget is left; "
            "refresh due: 40 of 100 new images",
        ),
        (
            {},
            "this holdout (1 image from the start) has decided nothing yet; 100 % of its error budget is left",
        ),
        (
            {"decided": 1, "left": 0.5, "images": 20},
            "this holdout (20 images from the start) has decided once; 50.0 % of its error budget is left",
        ),
        (
            {"decided": 300, "left": 0.00051, "due": True, "new_images": 120, "missing": ("spur", "open")},
            "this holdout (1 image from the start) has decided 300 times; 0.051 % of its error budget is left; "
            "refresh due: 120 of 100 new images, none of which shows spur or open",
        ),
    ],
)
def test_the_state_is_one_sentence(facts: dict, sentence: str) -> None:
    nothing = {"number": 1, "since": "", "images": 1, "decided": 0, "left": 1.0, "due": False, "new_images": 0}
    found = HoldoutState(**{**nothing, **facts}, refresh_images=100)
    assert found.sentence == sentence
    assert found.to_json()["sentence"] == sentence


@pytest.mark.slow
def test_before_there_is_a_dataset_there_is_no_image(workspace: Workspace) -> None:
    assert state(workspace, with_rule()) == HoldoutState(1, "", 0, 0, 1.0, False, 0, 3)


@pytest.mark.slow
def test_without_a_bound_there_is_no_budget(workspace: Workspace) -> None:
    held_out(workspace, ["a", "b"])
    said = state(workspace, with_rule(PromotionRule(name="point"))).sentence
    assert said == (
        "the holdout (2 images from the start) decides as often as it is asked: "
        "the rule is point, without an error budget"
    )


@pytest.mark.slow
def test_it_grows_until_its_budget_is_due_and_the_next_begins_with_enough_new_images(workspace: Workspace) -> None:
    job = with_rule()
    first = held_out(workspace, ["a", "b"])
    assert names(claim(workspace, job, first, "v2"), "ab") == {"a", "b"}
    second = held_out(workspace, ["c"])
    assert names(claim(workspace, job, second, "v3"), "abc") == {"a", "b", "c"}
    claim(workspace, job, second, "v4")
    due = claim(workspace, job, second, "v5")
    assert (due.state.decided, due.state.due, due.state.new_images) == (4, True, 0)
    assert due.state.left == pytest.approx(1 / 16)

    third = held_out(workspace, ["d", "e"])
    waits = claim(workspace, job, third, "v6")
    assert names(waits, "abcde") == {"a", "b", "c"}
    assert (waits.state.number, waits.state.new_images) == (1, 2)
    assert waits.alpha == pytest.approx(0.04 / 32)

    fourth = held_out(workspace, ["f"])
    found = state(workspace, job)
    assert (found.number, found.since, found.images, found.decided, found.left) == (2, second, 3, 0, 1.0)
    fresh = claim(workspace, job, fourth, "v7")
    assert names(fresh, "abcdef") == {"d", "e", "f"}
    assert (fresh.alpha, fresh.state.decided, fresh.state.due) == (0.02, 1, False)
    # What was compared on an older version is still decided by the holdout that decided on it then.
    assert claim(workspace, job, third, "v6").images == waits.images
    assert claim(workspace, job, first, "v2").images == {sha256(content(name)) for name in "ab"}


@pytest.mark.slow
def test_the_same_comparison_costs_once_and_another_one_again(workspace: Workspace) -> None:
    job, version = with_rule(), held_out(workspace, ["a", "b"])
    first, again, other = (claim(workspace, job, version, asked) for asked in ("v2", "v2", "v3"))
    assert (first.alpha, again.alpha, other.alpha) == (0.02, 0.02, 0.01)
    assert (again.state, other.state.decided) == (first.state, 2)


@pytest.mark.slow
def test_less_than_two_images_cost_nothing(workspace: Workspace) -> None:
    made = claim(workspace, with_rule(), held_out(workspace, ["a"]), "v2")
    assert (made.alpha, len(made.images), made.state.decided) == (None, 1, 0)
    assert workspace.ledger.spending("boards", "") is None


@pytest.mark.slow
def test_the_next_holdout_must_show_every_class_of_the_one_before(workspace: Workspace) -> None:
    job = with_rule()
    spend_until_due(workspace, job, held_out(workspace, ["a", "b"]))
    held_out(workspace, ["c", "d", "e"], labels=["open"])
    waits = state(workspace, job)
    assert (waits.number, waits.new_images, waits.missing) == (1, 3, ("short",))
    assert waits.sentence.endswith("refresh due: 3 of 3 new images, none of which shows short")
    held_out(workspace, ["f"], labels=["short"])
    assert (state(workspace, job).number, state(workspace, job).images) == (2, 4)


@pytest.mark.slow
def test_no_image_decides_in_two_holdouts(workspace: Workspace) -> None:
    """Not even one that was published, though never compared on, when the first one was closed."""
    job, first = with_rule(), held_out(workspace, ["a", "b"])
    held_out(workspace, ["c"])
    spend_until_due(workspace, job, first)
    last = held_out(workspace, ["d", "e", "f"])
    assert names(claim(workspace, job, last, "v9"), "abcdef") == {"d", "e", "f"}


@pytest.mark.slow
def test_an_image_that_was_taken_out_is_no_longer_asked(workspace: Workspace) -> None:
    job = with_rule()
    first = held_out(workspace, ["a", "b", "c"])
    assert names(claim(workspace, job, removed(workspace, "b"), "v2"), "abc") == {"a", "c"}
    spend_until_due(workspace, job, first)
    last = held_out(workspace, ["d"])
    assert names(claim(workspace, job, last, "v9"), "abcd") == {"a", "c"}


@pytest.mark.slow
def test_whoever_asks_at_the_same_time_gets_the_same_answer(workspace: Workspace) -> None:
    job, version = with_rule(), held_out(workspace, ["a", "b"])
    for number in range(2, 5):
        claim(workspace, job, version, f"v{number}")

    def ask(_: int) -> Claim:
        return claim(workspace, job, version, "v5")

    with ThreadPoolExecutor(4) as pool:
        claims = list(pool.map(ask, range(4)))
    assert len({made.alpha for made in claims}) == 1
    assert state(workspace, job).due
    assert {made.images for made in claims} == {claims[0].images}

"""Paired differences: a jackknife by hand, one by leaving out image after image, and the laws a gate relies on."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from data.sample import Box
from models.metrics import POOLED, EvaluationReport, evaluate
from models.paired import Incomparable, PairedDelta, fewest_differing, paired_delta
from tests.models.strategies import CLASSES, found_boxes, true_boxes

compared = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=2),
    st.tuples(st.lists(true_boxes, max_size=4), st.lists(found_boxes, max_size=6), st.lists(found_boxes, max_size=6)),
    min_size=3,
    max_size=7,
)
metrics = st.sampled_from(POOLED)


def reports(images, names=None) -> tuple[EvaluationReport, EvaluationReport]:
    """What two models get on those of the images, each given as (true boxes, the one's boxes, the other's)."""
    chosen = {name: images[name] for name in (images if names is None else names)}
    truth = {name: boxes for name, (boxes, _, _) in chosen.items()}
    domains = dict.fromkeys(chosen, "line")
    first, second = (
        evaluate(truth, {name: each[number] for name, each in chosen.items()}, domains, CLASSES, 0.5)
        for number in (1, 2)
    )
    return first, second


def test_a_model_that_does_not_know_a_class_is_compared_with_one_that_does():
    open_, spur = Box(0, 0, 9, 9, "open"), Box(20, 0, 29, 9, "spur")
    found = [replace(box, score=0.9) for box in (open_, spur)]
    truth = {"a": [open_, spur], "b": [open_], "c": [open_, spur], "d": [spur]}
    domains, labelled = dict.fromkeys(truth, "line"), {"b": {"open"}}
    wider = evaluate(truth, dict.fromkeys(truth, found), domains, ["open", "spur"], 0.5, labelled)
    narrow = evaluate(truth, dict.fromkeys(truth, found[:1]), domains, ["open"], 0.5, labelled)
    difference = paired_delta(wider, narrow, "recall")
    assert (difference.value, difference.images, difference.differing) == (0.5, 4, 3)


def delta(images, metric, names=None) -> PairedDelta:
    try:
        return paired_delta(*reports(images), metric, names)
    except Incomparable:
        assume(False)
        raise


def row(found: list[bool], other: list[bool]):
    """An image with a true box for each entry, which the one model and the other find or not."""
    truth = [Box(20 * place, 0, 20 * place + 9, 9, "open") for place in range(len(found))]
    seen = ([replace(box, score=0.9) for box, hit in zip(truth, hits, strict=True) if hit] for hits in (found, other))
    return truth, *seen


def test_the_jackknife_by_hand():
    """Recall 3/4 and 2/4; without the images in turn 2/3 and 1/3, 2/3 and 2/3, 2/2 and 1/2."""
    images = {"a": row([True], [True]), "b": row([True], [False]), "c": row([True, False], [True, False])}
    found = paired_delta(*reports(images), "recall")
    pseudo_values = [3 / 4 - 2 * difference for difference in (1 / 3, 0, 1 / 2)]
    mean = sum(pseudo_values) / 3
    variance = sum((value - mean) ** 2 for value in pseudo_values) / 2
    assert (found.images, found.differing) == (3, 1)
    assert found.value == pytest.approx(1 / 4)
    assert found.standard_error == pytest.approx(math.sqrt(variance / 3)) == pytest.approx(0.293972, abs=1e-6)
    # The 5 % quantile of Student's t with 2 degrees of freedom is -2.919986.
    assert found.lower_bound(0.05) == pytest.approx(1 / 4 - 2.919986 * found.standard_error, abs=1e-6)


@given(compared, metrics)
def test_it_is_what_leaving_out_image_after_image_gives(images, metric):
    found = delta(images, metric)

    def difference(names) -> float:
        new, old = (report.metrics[metric] or 0.0 for report in reports(images, names))
        return new - old

    count, whole = len(images), difference(images)
    pseudo_values = [
        count * whole - (count - 1) * difference([name for name in images if name != left_out]) for left_out in images
    ]
    mean = sum(pseudo_values) / count
    variance = sum((value - mean) ** 2 for value in pseudo_values) / (count - 1)
    assert found.value == pytest.approx(whole, abs=1e-12)
    assert found.standard_error == pytest.approx(math.sqrt(variance / count), abs=1e-9)


@given(compared, metrics)
def test_a_model_differs_from_itself_in_nothing(images, metric):
    same, _ = reports(images)
    try:
        found = paired_delta(same, same, metric)
    except Incomparable:
        assume(False)
    assert (found.value, found.standard_error, found.differing) == (0, 0, 0)
    assert found.lower_bound(0.001) == 0


@given(compared, metrics)
def test_the_other_way_round_it_is_the_opposite(images, metric):
    found = delta(images, metric)
    first, second = reports(images)
    opposite = paired_delta(second, first, metric)
    assert opposite.value == pytest.approx(-found.value, abs=1e-12)
    assert opposite.standard_error == pytest.approx(found.standard_error, abs=1e-12)


@given(compared, metrics, st.data())
def test_on_some_images_it_is_what_these_alone_would_give(images, metric, data):
    names = data.draw(st.lists(st.sampled_from(sorted(images)), min_size=2, unique=True))
    assert delta(images, metric, names) == paired_delta(*reports(images, names), metric)


@given(compared, metrics, st.integers(1, 20))
def test_images_with_nothing_in_them_change_no_difference(images, metric, count):
    found = delta(images, metric)
    more = delta({**images, **{f"empty {number}": ([], [], []) for number in range(count)}}, metric)
    assert more.value == pytest.approx(found.value, abs=1e-12)
    assert (more.images, more.differing) == (found.images + count, found.differing)


@given(compared)
def test_images_on_which_both_do_equally_well_make_a_difference_in_recall_smaller_and_keep_its_sign(images):
    found = delta(images, "recall")
    support = sum(len(truth) for truth, _, _ in images.values())
    more = delta({**images, "both": row([True, False], [True, False])}, "recall")
    assert more.value == pytest.approx(found.value * support / (support + 2), abs=1e-12)


@given(st.floats(-1, 1), st.floats(1e-6, 1), st.integers(2, 5000), st.floats(1e-9, 0.49), st.floats(1e-9, 0.49))
def test_more_confidence_takes_a_lower_bound(value, standard_error, images, first, second):
    found = PairedDelta("ap", images, images, value, standard_error)
    low, high = sorted((first, second))
    assert found.lower_bound(low) <= found.lower_bound(high) < value


@pytest.mark.parametrize("alpha", [0, 0.5, -0.1, math.nan])
def test_an_error_probability_that_is_none_is_refused(alpha):
    with pytest.raises(ValueError, match=r"must be between 0 and 0\.5"):
        PairedDelta("ap", 10, 10, 0.1, 0.1).lower_bound(alpha)


def test_as_many_images_must_differ_as_coins_must_fall_alike():
    assert [fewest_differing(alpha) for alpha in (0.25, 0.05, 0.00125)] == [2, 5, 10]


def test_what_cannot_be_compared_is_said_all_at_once():
    images = {"a": row([True], [False]), "b": row([True], [True])}
    new, old = reports(images)
    with pytest.raises(Incomparable, match=r"there are 1 images to compare on, and it takes at least 2"):
        paired_delta(new, old, "ap", ["a"])
    with pytest.raises(Incomparable, match=r"the served model's report lacks 1 of 2 images, the first b"):
        paired_delta(new, reports(images, ["a"])[1], "ap")
    other = {**images, "b": row([True, True], [True, True])}
    with pytest.raises(Incomparable, match=r"other true boxes in 1 images, the first b"):
        paired_delta(new, reports(other)[1], "ap")


def test_what_one_image_alone_defines_says_nothing_of_how_sure_it_is():
    images = {"a": row([True], [True]), "b": ([], [], [])}
    with pytest.raises(Incomparable, match="recall is undefined without one of these images"):
        paired_delta(*reports(images), "recall")
    with pytest.raises(Incomparable, match="ap is undefined on these images"):
        paired_delta(*reports({"a": ([], [], []), "b": ([], [], [])}), "ap")

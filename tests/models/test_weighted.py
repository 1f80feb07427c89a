"""Ratios over images drawn with known probabilities: the estimate, and an interval that keeps what it promises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from models.weighted import WeightedRatio, weighted_ratio


def ratio(*images: tuple[float, float, float]) -> WeightedRatio | None:
    """Of images given as (part, whole, probability)."""
    parts, wholes, probabilities = np.array(images, float).reshape(-1, 3).T
    return weighted_ratio(parts, wholes, probabilities)


def test_an_image_counts_as_many_as_it_stands_for() -> None:
    found = ratio((3, 4, 1.0), (1, 2, 0.25), (0, 0, 0.01))
    assert found is not None
    assert found.value == pytest.approx((3 + 4) / (4 + 8))
    assert found.images == 2


def test_the_interval_by_hand() -> None:
    # One more image of (16 + 64) / 12 = 6.66667 makes it 7 of 18.66667 or 0.375, with residuals 1.5, 1 and -2.5, the
    # variance 9.5 / 18.66667 ** 2 = 0.0272640 and the effective size 0.375 * 0.625 / 0.0272640 = 8.59649.
    # At the other end it is 13.66667 of 18.66667 or 0.7321429, with the residuals 0.0714286, -1.8571429 and 1.7857143,
    # the variance 6.6428571 / 18.66667 ** 2 = 0.0190643 and the effective size 10.28674.
    found = ratio((3, 4, 1.0), (1, 2, 0.25))
    assert found is not None
    assert found.low == pytest.approx(beta.ppf(0.025, 0.375 * 8.59649, 0.625 * 8.59649), abs=1e-6)
    assert found.high == pytest.approx(beta.ppf(0.975, 0.7321429 * 10.28674, 0.2678571 * 10.28674), abs=1e-6)


@pytest.mark.parametrize(
    ("right", "images", "low", "high"),
    # R: binom.test(right, images)$conf.int
    [(18, 20, 0.6830173, 0.9876515), (20, 20, 0.8315665, 1.0), (0, 20, 0.0, 0.1684335), (1, 2, 0.0125791, 0.9874209)],
)
def test_images_of_one_box_have_the_interval_of_clopper_and_pearson(
    right: int, images: int, low: float, high: float
) -> None:
    found = ratio(*[(1, 1, 0.2)] * right, *[(0, 1, 0.2)] * (images - right))
    assert found is not None
    assert found.low == pytest.approx(low, abs=1e-6)
    assert found.high == pytest.approx(high, abs=1e-6)


def test_boxes_of_one_image_are_no_more_than_the_image_where_all_are_right() -> None:
    many, one = ratio(*[(50, 50, 0.2)] * 20), ratio(*[(1, 1, 0.2)] * 20)
    assert many is not None
    assert one is not None
    assert (many.value, many.high, many.images) == (1.0, 1.0, 20)
    assert many.low == pytest.approx(one.low)


def test_fewer_than_two_images_that_bear_on_it_tell_nothing() -> None:
    assert ratio() is None
    assert ratio((5, 9, 1.0)) is None
    assert ratio((5, 9, 1.0), (0, 0, 1.0)) is None


@pytest.mark.parametrize("image", [(2, 1, 0.5), (-1, 1, 0.5), (1, 1, 0.0), (1, 1, 1.5)])
def test_what_is_no_ratio_is_refused(image: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="parts must be between 0 and their wholes"):
        ratio((1, 1, 1.0), image)


images = st.tuples(st.integers(0, 9), st.integers(0, 9), st.sampled_from([0.01, 0.1, 0.3, 1.0]))


@given(st.lists(images, min_size=2, max_size=12))
def test_an_interval_has_its_value_inside_and_knows_more_from_twice_as_many(
    found: list[tuple[int, int, float]],
) -> None:
    drawn = [(right, right + wrong, probability) for right, wrong, probability in found]
    once, twice = ratio(*drawn), ratio(*drawn, *drawn)
    if once is None or twice is None:
        assert sum(whole > 0 for _, whole, _ in drawn) < 2
        return
    assert 0 <= once.low <= once.value <= once.high <= 1
    assert twice.value == pytest.approx(once.value)
    assert twice.high - twice.low < once.high - once.low


@pytest.mark.parametrize("count", [20, 50, 200])
@pytest.mark.parametrize("true", [0.7, 0.9, 0.98])
def test_the_interval_holds_the_truth_as_often_as_it_says(count: int, true: float) -> None:
    """Boxes of one image are alike (intraclass correlation 0.3), and some images stand for ten times as many."""
    random, trials, alike = np.random.default_rng(count), 2000, 0.3
    wholes = 1 + random.poisson(5, (trials, count))
    image = random.beta(true * (1 - alike) / alike, (1 - true) * (1 - alike) / alike, (trials, count))
    parts = random.binomial(wholes, image)
    probabilities = random.choice([0.1, 1.0], (trials, count), p=[0.3, 0.7])
    found = [weighted_ratio(*each) for each in zip(parts, wholes, probabilities, strict=True)]
    assert np.mean([each is not None and each.low <= true <= each.high for each in found]) >= 0.93


def test_it_is_right_on_average_although_the_hard_are_drawn_ten_times_as_often() -> None:
    random, trials, arrived = np.random.default_rng(0), 400, 1000
    hard = random.random((trials, arrived)) < 0.3
    wholes = 1 + random.poisson(3, (trials, arrived)) + 2 * hard
    parts = random.binomial(wholes, np.where(hard, 0.4, 0.95))
    probabilities = np.where(hard, 0.5, 0.05)
    drawn = random.random((trials, arrived)) < probabilities
    true = parts.sum() / wholes.sum()
    found = [
        weighted_ratio(*(values[trial][drawn[trial]] for values in (parts, wholes, probabilities)))
        for trial in range(trials)
    ]
    assert np.mean([each.value for each in found if each]) == pytest.approx(true, abs=0.005)
    assert parts[drawn].sum() / wholes[drawn].sum() < true - 0.15

"""The split is for ever: by hash, with both sides in every stratum that is large enough, near the wanted share."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.sample import Split, sha256
from data.split import assign, stratum_size

shares = st.floats(0.02, 0.98)


def arrive(samples: Iterable[str], share: float) -> dict[str, Split]:
    """A stratum to which samples come one by one."""
    sides: dict[str, Split] = {}
    for sample in samples:
        assigned = list(sides.values())
        sides[sample] = assign(sample, share, assigned.count("holdout"), assigned.count("train"))
    return sides


def names(seed: int, count: int) -> list[str]:
    return [sha256(f"{seed}/{number}".encode()) for number in range(count)]


@given(shares, st.integers(), st.randoms(use_true_random=False))
def test_a_large_enough_stratum_has_both_sides_in_every_order(share: float, seed: int, dice: random.Random) -> None:
    samples = names(seed, stratum_size(share))
    dice.shuffle(samples)
    assert set(arrive(samples, share).values()) == {"train", "holdout"}


@given(shares, st.integers(0, 100))
def test_even_where_every_hash_says_the_same(share: float, extra: int) -> None:
    for digit in "0f":
        samples = [digit * 64] * 1
        counts = {"train": 0, "holdout": 0}
        for _ in range(stratum_size(share) + extra):
            counts[assign(samples[0], share, counts["holdout"], counts["train"])] += 1
        assert all(counts.values())
        assert min(counts.values()) == 1


@given(shares, st.integers(), st.integers(1, 60), st.randoms(use_true_random=False))
def test_the_order_of_arrival_moves_at_most_one_sample_to_each_side(
    share: float, seed: int, count: int, dice: random.Random
) -> None:
    by_hash = {name: assign(name, share, 10**6, 10**6) for name in names(seed, count)}
    shuffled = dice.sample(list(by_hash), count)
    moved = [side for name, side in arrive(shuffled, share).items() if side != by_hash[name]]
    assert moved.count("train") <= 1
    assert moved.count("holdout") <= 1


@given(shares, st.integers(), st.integers(0, 50), st.integers(0, 50))
def test_the_same_sample_in_the_same_place_has_the_same_side(share: float, seed: int, train: int, holdout: int) -> None:
    name = sha256(str(seed).encode())
    assert assign(name, share, holdout, train) == assign(name, share, holdout, train)


@given(shares, shares, st.integers())
def test_a_larger_share_never_takes_a_sample_out_of_train(one: float, other: float, seed: int) -> None:
    name = sha256(str(seed).encode())
    if assign(name, min(one, other), 1, 1) == "train":
        assert assign(name, max(one, other), 1, 1) == "train"


@settings(max_examples=20)
@given(st.sampled_from([0.5, 0.7, 0.8, 0.9]), st.integers())
def test_the_share_of_train_converges_to_the_wanted_one(share: float, seed: int) -> None:
    count = 4000
    sides = list(arrive_counted(names(seed, count), share))
    five_sigma = 5 * (share * (1 - share) / count) ** 0.5
    assert sides.count("train") / count == pytest.approx(share, abs=five_sigma + 1 / count)


def arrive_counted(samples: Iterable[str], share: float) -> Iterable[Split]:
    counts: dict[Split, int] = {"train": 0, "holdout": 0}
    for sample in samples:
        side = assign(sample, share, counts["holdout"], counts["train"])
        counts[side] += 1
        yield side


@pytest.mark.parametrize(("share", "size"), [(0.8, 5), (0.5, 2), (0.9, 10), (0.2, 5), (0.7, 4), (0.99, 100)])
def test_how_large_is_large_enough(share: float, size: int) -> None:
    assert stratum_size(share) == size


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, float("nan")])
def test_a_share_that_leaves_a_side_empty_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="it must be above 0 and below 1"):
        assign("0" * 64, share, 0, 0)

"""The choice of a set that teaches most, against its laws."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.ledger import Look
from data.sample import Box, Prediction
from pipelines.informative import Surroundings, binary_entropy, hardness_of, pick

UNLIKE = [0x0000000000000000, 0xFFFFFFFFFFFFFFFF, 0x00000000FFFFFFFF, 0xFFFF0000FFFF0000, 0x00FF00FF00FF00FF]


def found(name: str, *boxes: tuple[str, float]) -> Prediction:
    return Prediction(name, "v1", tuple(Box(0, 0, 9, 9, label, score) for label, score in boxes))


def around(looks: dict[str, tuple[str, int]], **known: Any) -> Surroundings:
    return Surroundings({name: Look(name, *look) for name, look in looks.items()}, **known)


def on_one_line(*names: str) -> dict[str, tuple[str, int]]:
    """Images of one domain that look nothing like each other."""
    return {name: ("line", UNLIKE[number]) for number, name in enumerate(names)}


@given(st.floats(0, 1))
def test_the_entropy_is_that_of_a_choice_of_two(score: float) -> None:
    expected = -sum(p * math.log2(p) for p in (score, 1 - score) if p > 0)
    (bits,) = binary_entropy(np.array([score]))
    assert bits == pytest.approx(expected, abs=1e-12)
    assert 0 <= bits <= 1


@given(st.lists(st.floats(0, 1), min_size=1, max_size=300))
def test_hardness_grows_with_doubt_and_never_reaches_1(scores: list[float]) -> None:
    bits = np.cumsum(binary_entropy(np.array(scores)))
    hardness = hardness_of(bits)
    assert (np.diff(hardness) >= 0).all()
    assert ((hardness >= 0) & (hardness < 1)).all()


def test_a_rare_class_comes_first_and_counts_less_with_each_that_is_chosen() -> None:
    names = ("rare", "rare too", "common", "common too")
    boxes = [(name, [("open" if "rare" in name else "short", 0.5)]) for name in names]
    candidates = [found(name, *each) for name, each in boxes]
    looks = around(on_one_line(*names), support={"open": 3, "short": 80})
    assert pick(candidates, 2, looks, diversity=0).order == ["rare", "rare too"]
    assert pick(candidates[::-1], 2, looks, diversity=0, balance=0).order == ["common too", "common"]
    even = around(on_one_line(*names), support={"open": 3, "short": 3})
    assert pick(candidates, 4, even, diversity=0).order == ["rare", "common", "rare too", "common too"]


def test_the_domain_that_people_were_asked_least_about_comes_first() -> None:
    looks = {"a": ("known", UNLIKE[0]), "b": ("known", UNLIKE[1]), "c": ("new", UNLIKE[2])}
    asked = [Look(f"asked {number}", "known", UNLIKE[3]) for number in range(5)]
    candidates = [found(name, ("open", 0.5)) for name in looks]
    assert pick(candidates, 1, around(looks, asked=asked)).order == ["c"]
    assert pick(candidates, 1, around(looks, asked=asked), diversity=0).order == ["a"]


def test_what_looks_like_one_that_is_chosen_is_worth_half() -> None:
    looks = {"a": ("line", 0), "alike": ("line", 0b1), "unlike": ("line", UNLIKE[1])}
    candidates = [found(name, ("open", 0.5)) for name in looks]
    picked = pick(candidates, 3, around(looks), balance=0)
    assert picked.order == ["a", "unlike", "alike"]
    assert picked.hardness["a"] == pytest.approx(1 / 3)
    assert picked.hardness["alike"] == pytest.approx(1 / 3 * math.sqrt(1 / 3) * (1 - 15 / 16 / 2))
    assert picked.near_duplicates == set()


def test_a_near_duplicate_is_one_by_what_it_shows_not_by_its_hash() -> None:
    looks = {"a": ("line", 0), "frame": ("line", 0b11), "defect": ("line", 0b1), "other line": ("another", 0)}
    candidates = [found(name, ("open", 0.5)) for name in looks]
    compared = []

    def same(first: str, second: str) -> bool:
        compared.append((first, second))
        return first == "frame"

    picked = pick(candidates, 4, around(looks, same_frame=same))
    assert sorted(picked.order) == ["a", "defect", "other line"]
    assert picked.near_duplicates == {"frame"}
    assert all("other line" not in pair for pair in compared)


def test_an_image_that_waits_or_was_drawn_leaves_no_place_for_its_near_duplicates() -> None:
    looks = {"drawn": ("line", UNLIKE[0]), "a": ("line", UNLIKE[0]), "b": ("line", UNLIKE[1]), "c": ("line", UNLIKE[2])}
    candidates = [found(name, ("open", 0.5)) for name in "abc"]
    asked = [Look("waits", "line", UNLIKE[1])]
    known = around(looks, asked=asked, same_frame=lambda _first, _second: True)
    picked = pick(candidates, 3, known, [found("drawn", ("open", 0.9))])
    assert (picked.order, picked.near_duplicates) == (["c"], {"a", "b"})


def test_without_places_nothing_is_compared() -> None:
    def same(_first: str, _second: str) -> bool:
        raise AssertionError("no images are to be read")

    looks = {"a": ("line", 0), "b": ("line", 0)}
    picked = pick([found("b", ("open", 0.5))], 0, around(looks, same_frame=same), [found("a")])
    assert (picked.order, picked.near_duplicates) == ([], set())
    assert picked.hardness["b"] > 0
    assert pick([], 5, around({})).order == []


images = st.lists(
    st.tuples(
        st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.floats(0, 1)), max_size=4),
        st.sampled_from(["line", "other"]),
        st.integers(0, 2**64 - 1),
    ),
    max_size=12,
)


@given(images, st.lists(st.sampled_from(["line", "other", "gone"]), max_size=4), st.integers(0, 14))
def test_the_choice_is_that_of_the_plain_formula(
    images: list[tuple[list[tuple[str, float]], str, int]], asked_domains: list[str], places: int
) -> None:
    names = [f"{number:02d}" for number in range(len(images))]
    candidates = {name: found(name, *boxes) for name, (boxes, _, _) in zip(names, images, strict=True)}
    looks = {name: (domain, look) for name, (_, domain, look) in zip(names, images, strict=True)}
    asked = [Look(f"asked {number}", domain, number << 7) for number, domain in enumerate(asked_domains)]
    support = {"a": 7, "b": 2}
    picked = pick(list(candidates.values()), places, around(looks, asked=asked, support=support))

    labelled = {
        label: float(support.get(label, 0)) for p in candidates.values() for label in {b.label for b in p.boxes}
    }
    rarest = min(labelled.values(), default=0)
    counted = {domain: asked_domains.count(domain) for domain, _ in looks.values()}
    least = min(counted.values(), default=0)
    hashes = [look.difference_hash for look in asked]

    def worth(name: str) -> float:
        domain, look = looks[name]
        bits = sum(
            float(binary_entropy(np.array([box.score]))[0]) * math.sqrt((rarest + 1) / (labelled[box.label] + 1))
            for box in candidates[name].boxes
        )
        hardness = float(hardness_of(np.array(bits if candidates[name].boxes else 1.0)))
        likeness = max([0.0, *(1 - (look ^ other).bit_count() / 16 for other in hashes)])
        return hardness * math.sqrt((least + 1) / (counted[domain] + 1)) * (1 - likeness / 2)

    assert len(picked.order) == min(places, len(images))
    left = list(names)
    for name in picked.order:
        assert picked.hardness[name] == pytest.approx(worth(name), abs=1e-9)
        assert worth(name) == pytest.approx(max(map(worth, left)), abs=1e-9)
        left.remove(name)
        for box in candidates[name].boxes:
            labelled[box.label] += box.score or 0
        counted[looks[name][0]] += 1
        hashes.append(looks[name][1])
    assert all(picked.hardness[name] == pytest.approx(worth(name), abs=1e-9) for name in left)


@pytest.mark.slow
def test_two_hundred_of_a_hundred_thousand_are_picked_in_seconds() -> None:
    random = np.random.default_rng(0)
    counts = random.poisson(8, 100_000)
    scores = iter(random.beta(0.6, 0.6, counts.sum()).tolist())
    labels = iter(random.choice(["open", "short", "spur", "copper"], counts.sum()).tolist())
    candidates = [
        found(f"{number:06d}", *((next(labels), next(scores)) for _ in range(count)))
        for number, count in enumerate(counts)
    ]
    # Every fourth image is a frame of the one before it.
    hashes = random.integers(0, 2**63, 100_000, dtype=np.uint64)
    hashes[3::4] = hashes[2::4]
    looks = {p.sample_id: (f"line {n % 7}", int(h)) for n, (p, h) in enumerate(zip(candidates, hashes, strict=True))}
    asked = [Look(f"asked {number}", "line 0", int(hashes[5 * number])) for number in range(2000)]
    known = around(looks, asked=asked, same_frame=lambda _first, _second: True)

    started = time.process_time()
    picked = pick(candidates, 200, known)
    seconds = time.process_time() - started

    assert len(picked.order) == 200
    assert seconds < 5

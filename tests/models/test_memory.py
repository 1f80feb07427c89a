"""The memory: even over classes and domains, the same whatever the order, a larger one around the smaller."""

from __future__ import annotations

import random
import time
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from models.memory import remember

Shown = dict[str, tuple[frozenset[str], str]]

samples = st.dictionaries(
    st.text("0123456789abcdef", min_size=1, max_size=6),
    st.tuples(st.frozensets(st.sampled_from(["open", "short", "spur"])), st.sampled_from(["line", "lab"])),
    max_size=40,
)


def memory(shown: Shown, size: int) -> list[str]:
    labels = {sample_id: classes for sample_id, (classes, _) in shown.items()}
    return remember(labels, {sample_id: domain for sample_id, (_, domain) in shown.items()}, size)


@given(samples, st.integers(0, 50), st.randoms())
def test_it_has_each_once_is_independent_of_the_order_and_nested(
    shown: Shown, size: int, random: random.Random
) -> None:
    kept = memory(shown, size)
    shuffled = list(shown.items())
    random.shuffle(shuffled)
    assert len(set(kept)) == len(kept) == min(size, len(shown))
    assert set(kept) <= set(shown)
    assert memory(dict(shuffled), size) == kept
    assert memory(shown, size + 1)[: len(kept)] == kept


@given(samples, st.integers(1, 50))
def test_every_class_and_domain_is_there_where_there_is_room(shown: Shown, size: int) -> None:
    kept = memory(shown, size)
    groups = {group for classes, domain in shown.values() for group in (classes or {""}) | {domain}}
    if size >= len(groups):
        assert {group for name in kept for group in (shown[name][0] or {""}) | {shown[name][1]}} == groups


def numbered(counts: dict[tuple[str, str], int]) -> Shown:
    """So many samples that show one class in one domain."""
    return {
        f"{label} {domain} {number}": (frozenset({label} if label else ()), domain)
        for (label, domain), count in counts.items()
        for number in range(count)
    }


def test_rare_classes_and_domains_are_kept_whole_and_the_rest_evenly() -> None:
    shown = numbered(
        {
            ("open", "line"): 900,
            ("short", "line"): 300,
            ("spur", "line"): 4,
            ("open", "lab"): 30,
            ("", "line"): 100,
        }
    )
    kept = memory(shown, 100)
    classes = Counter(next(iter(shown[name][0]), "") for name in kept)
    assert classes["spur"] == 4
    assert max(classes.values()) - min(classes[label] for label in ("open", "short", "")) <= 3
    assert Counter(shown[name][1] for name in kept)["lab"] >= 28


def test_it_keeps_other_samples_than_the_first_ones() -> None:
    kept = memory(numbered({("open", "line"): 1000}), 100)
    numbers = [int(name.split()[-1]) for name in kept]
    assert 350 < sum(numbers) / len(numbers) < 650


def test_a_hundred_thousand_samples_take_seconds() -> None:
    draw = random.Random(0)
    names = [f"class {number}" for number in range(30)]
    labels = {str(number): draw.sample(names, draw.randint(0, 5)) for number in range(100_000)}
    domains = {sample_id: f"domain {draw.randint(0, 20)}" for sample_id in labels}
    began = time.process_time()
    assert len(remember(labels, domains, 20_000)) == 20_000
    assert time.process_time() - began < 5

"""Golden values of Ianvs's two metrics, counted by hand, and where they flatter."""

from __future__ import annotations

import pytest

from benchmarks.ianvs import Transferred, f1_score, labelled_share, samples_transfer_ratio
from data.sample import Box


def box(label: str, left: float, score: float | None = None) -> Box:
    return Box(left, 0, left + 10, 10, label, score)


IMAGES = [
    ([box("bad", 0), box("bad", 50), box("bridge", 100)], [box("bad", 0, 0.9), box("bad", 200, 0.8)]),
    ([box("bad", 0), box("bridge", 50)], [box("bridge", 51, 0.7), box("bridge", 50, 0.6), box("bad", 0, 0.4)]),
]


def test_f1_counts_every_true_box() -> None:
    # bad: one right of two found, three are there; bridge: one right of two found, two are there.
    assert f1_score(IMAGES, ["bad", "bridge"]) == round((2 / 5 + 2 / 4) / 2, 4)


def test_as_ianvs_has_it_images_without_a_detection_of_a_class_cost_nothing() -> None:
    assert f1_score(IMAGES, ["bad", "bridge"], all_images=False) == round((2 / 4 + 2 / 3) / 2, 4)


@pytest.mark.parametrize("all_images", [True, False])
def test_who_finds_nothing_has_an_f1_of_0(all_images: bool) -> None:
    assert f1_score([([box("bad", 0)], [])], ["bad"], all_images=all_images) == 0.0


def test_the_ratio_is_that_of_the_published_board() -> None:
    assert samples_transfer_ratio([Transferred(10, 6), Transferred(8, 4)]) == 0.5263


def test_the_share_that_people_label_counts_the_first_model_and_no_test() -> None:
    assert labelled_share(400 + 5 * 40, 400 + 5 * 80) == 0.75

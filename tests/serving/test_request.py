"""Every request is either two decoded images of one size or every reason why not."""

from __future__ import annotations

import pytest

from data.images import ImageRefused
from pipelines.job import Job
from serving.request import decoded
from tests.serving.stamp import JOB, png

BOARDS = Job.model_validate(JOB)


def test_image_and_template_are_decoded() -> None:
    image, template = decoded(BOARDS, png(64, 48), png(64, 48, grey=10))
    assert image.shape == (48, 64)
    assert template is not None
    assert template.shape == (48, 64)
    assert (image[0, 0], template[0, 0]) == (200, 10)


def test_template_is_optional() -> None:
    assert decoded(BOARDS, png(), None)[1] is None


def test_every_problem_of_both_is_named() -> None:
    with pytest.raises(ImageRefused) as refusal:
        decoded(BOARDS, b"", png(8, 8))
    problems = refusal.value.problems
    assert len(problems) >= 2
    assert any(problem.startswith("its template: ") for problem in problems)
    assert any(not problem.startswith("its template: ") for problem in problems)


def test_sizes_must_agree() -> None:
    with pytest.raises(ImageRefused, match="64 x 48 and 48 x 64 px"):
        decoded(BOARDS, png(64, 48), png(48, 64))

from __future__ import annotations

from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from pipelines.job import EstimatorSpecification, Job, Source, TemplateRule
from pipelines.labelling.project import labelling_page

NAMES = st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1), min_size=1, unique=True)


def job(classes: list[str], template: bool = False) -> Job:
    source = Source(template=TemplateRule() if template else None)
    return Job(name="boards", classes=classes, estimator=EstimatorSpecification(name="FPN"), source=source)


@given(NAMES)
def test_every_class_stands_on_the_page_with_a_colour_and_a_key_of_its_own(classes: list[str]) -> None:
    labels = list(ElementTree.fromstring(labelling_page(job(classes))).iter("Label"))
    assert [label.get("value") for label in labels] == classes
    assert len({label.get("background") for label in labels}) == len(classes)
    keys = [label.get("hotkey") for label in labels if label.get("hotkey")]
    assert len(set(keys)) == len(keys) == min(len(classes), 24)


def test_a_job_with_templates_shows_them_beside_the_image() -> None:
    def images(page: str) -> list[str | None]:
        return [image.get("value") for image in ElementTree.fromstring(page).iter("Image")]

    assert images(labelling_page(job(["open"]))) == ["$image"]
    assert images(labelling_page(job(["open"], template=True))) == ["$image", "$template"]

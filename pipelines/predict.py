"""Predict: the boxes that a stored model version finds in a folder of images, written as a file of the field."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from data.formats.deeppcb import result_name, write_results
from data.images import ImageRefused
from data.sample import Box, Example
from models.version import Predictor
from pipelines.ingest import decode_pair
from pipelines.job import Job

Format = Literal["coco", "deeppcb"]
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
BATCH = 64


class ImagesRefused(ValueError):
    """A folder that cannot be predicted; `problems` names every image that is none and why."""

    def __init__(self, problems: list[str]):
        self.problems = problems
        listed = "\n".join(f"  - {problem}" for problem in problems)
        super().__init__(f"{len(problems)} problem(s), nothing was written:\n{listed}")


def predict(predictor: Predictor, job: Job, images: Path, out: Path, form: Format) -> int:
    """Predict every image below `images` and write all boxes with their scores to `out`; returns the number of images.

    Raises:
        ImagesRefused: the folder holds no image, or some that cannot be read or told apart; then nothing is written.
    """
    paths = find_images(images, job)
    problems = [] if paths else [f"{images} holds no image ({', '.join(SUFFIXES)})"]
    if form == "deeppcb":
        problems += _shared_names(paths)
    found: dict[Path, tuple[Box, ...]] = {}
    sizes: dict[Path, tuple[int, int]] = {}
    for start in range(0, len(paths), BATCH):
        batch = paths[start : start + BATCH]
        examples = []
        for path in batch:
            try:
                examples.append(_example(path, job))
            except ImageRefused as refusal:
                problems += [f"{path}: {problem}" for problem in refusal.problems]
        if problems:
            continue
        for path, example, boxes in zip(batch, examples, predictor.predict(examples), strict=True):
            found[path] = boxes
            sizes[path] = (example.image.shape[1], example.image.shape[0])
    if problems:
        raise ImagesRefused(problems)
    if form == "deeppcb":
        write_results(out, {path.name: boxes for path, boxes in found.items()})
    else:
        out.write_text(json.dumps(_coco(found, sizes, images, job.classes)))
    return len(found)


def find_images(folder: Path, job: Job) -> list[Path]:
    """The images below `folder`, sorted, without the templates that lie beside them."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    templates = {template for path in paths if (template := template_of(path, job))}
    return [path for path in paths if path not in templates]


def template_of(path: Path, job: Job) -> Path | None:
    """The template that lies beside an image by the job's rule, if there is one."""
    name = job.source.template.template_of(path.name) if job.source.template else None
    return path.with_name(name) if name and path.with_name(name).exists() else None


def _shared_names(paths: Sequence[Path]) -> list[str]:
    """The images that would have one file of results between them, in words."""
    named: dict[str, list[str]] = {}
    for path in paths:
        named.setdefault(result_name(path.name), []).append(str(path))
    return [
        f"{' and '.join(shared)} would both have the results {name}; rename one, or use coco"
        for name, shared in named.items()
        if len(shared) > 1
    ]


def _example(path: Path, job: Job) -> Example:
    beside = template_of(path, job)
    image, template = decode_pair(job, path.read_bytes(), beside.read_bytes() if beside else None)
    return Example(path.name, image, template, (), "")


def _coco(
    found: dict[Path, tuple[Box, ...]], sizes: dict[Path, tuple[int, int]], folder: Path, classes: Sequence[str]
) -> dict[str, Any]:
    numbers = {path: number for number, path in enumerate(found, start=1)}
    labels = dict.fromkeys([*classes, *(box.label for boxes in found.values() for box in boxes)])
    categories = {name: number for number, name in enumerate(labels, start=1)}
    return {
        "images": [
            {
                "id": number,
                "file_name": path.relative_to(folder).as_posix(),
                "width": sizes[path][0],
                "height": sizes[path][1],
            }
            for path, number in numbers.items()
        ],
        "categories": [{"id": number, "name": name} for name, number in categories.items()],
        "annotations": [
            {
                "id": index,
                "image_id": numbers[path],
                "category_id": categories[box.label],
                "bbox": [box.x1, box.y1, box.width, box.height],
                "area": box.width * box.height,
                "iscrowd": 0,
                "score": box.score,
            }
            for index, (path, box) in enumerate(
                ((path, box) for path, boxes in found.items() for box in boxes), start=1
            )
        ],
    }

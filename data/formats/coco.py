"""COCO (Lin et al. 2014, arXiv 1405.0312): one JSON file; boxes [x, y, width, height] from 0, ids in any order."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from data.formats import (
    FormatRefused,
    LabelledImage,
    check_boxes,
    check_writable,
    place_problems,
    refuse_any,
    size_of,
    split_place,
    write_image,
)
from data.sample import Box

FILE, FOLDER = "annotations.json", "images"


class _Image(BaseModel):
    id: int
    file_name: str


class _Category(BaseModel):
    id: int
    name: str


class _Annotation(BaseModel):
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    iscrowd: int = 0


class _Document(BaseModel):
    images: list[_Image]
    categories: list[_Category]
    annotations: list[_Annotation]


def read(path: Path) -> Iterator[LabelledImage]:
    """The images of a COCO file, or of `annotations.json` in a folder; images lie in `images/` beside it, or beside it.

    Regions of a crowd are left out: they are not single objects.

    Raises:
        FormatRefused: with every problem of the file.
    """
    file = path / FILE if path.is_dir() else path
    document = _parsed(file)
    problems: list[str] = []
    names = {category.id: category.name for category in document.categories}
    places = {image.id: image.file_name for image in document.images}
    for what, values in (
        ("images: id", [image.id for image in document.images]),
        ("images: file_name", [image.file_name for image in document.images]),
        ("categories: id", [category.id for category in document.categories]),
    ):
        problems += [f"{what} {value} stands {count} times" for value, count in Counter(values).items() if count > 1]
    boxes: dict[int, list[Box]] = {image_id: [] for image_id in places}
    for number, annotation in enumerate(document.annotations):
        if annotation.image_id not in places:
            problems.append(f"annotations.{number}: image_id {annotation.image_id} is not in images")
        elif annotation.category_id not in names:
            problems.append(f"annotations.{number}: category_id {annotation.category_id} is not in categories")
        elif not annotation.iscrowd:
            x, y, width, height = annotation.bbox
            box = Box(x, y, x + width, y + height, names[annotation.category_id])
            boxes[annotation.image_id].append(box)
    images = []
    for image_id, place in places.items():
        problems += place_problems(place)
        source = _found(file.parent, place)
        if source is None:
            problems.append(f"{place} lies neither in {FOLDER}/ nor beside {file.name}")
            continue
        domain, name = split_place(place.removeprefix(f"{FOLDER}/"))
        image = LabelledImage(name, source, tuple(boxes[image_id]), domain=domain)
        size = size_of(image, problems)
        if size:
            check_boxes(image, size, problems)
        images.append(image)
    refuse_any(file, problems)
    return iter(images)


def write(path: Path, images: Iterable[LabelledImage]) -> None:
    """Write `annotations.json` and `images/` into the folder `path`.

    Raises:
        FormatRefused: images with whole-image labels, or that cannot be read; nothing was written.
    """
    listed = check_writable(path, images, boxes=True)
    problems: list[str] = []
    sizes = [size_of(image, problems) for image in listed]
    refuse_any(path, problems)
    labels = sorted({box.label for image in listed for box in image.boxes})
    document: dict[str, list[dict[str, Any]]] = {
        "images": [
            {"id": number, "file_name": image.place, "width": size[0], "height": size[1]}
            for number, (image, size) in enumerate(zip(listed, sizes, strict=True), 1)
            if size
        ],
        "categories": [{"id": number, "name": label} for number, label in enumerate(labels, 1)],
        "annotations": [
            {
                "image_id": number,
                "category_id": labels.index(box.label) + 1,
                "bbox": [box.x1, box.y1, box.width, box.height],
                "area": box.width * box.height,
                "iscrowd": 0,
            }
            for number, image in enumerate(listed, 1)
            for box in image.boxes
        ],
    }
    for number, annotation in enumerate(document["annotations"], 1):
        annotation["id"] = number
    for image in listed:
        write_image(image, path / FOLDER / image.place)
    path.mkdir(parents=True, exist_ok=True)
    (path / FILE).write_text(json.dumps(document, ensure_ascii=False, indent=1))


def _parsed(file: Path) -> _Document:
    try:
        return _Document.model_validate_json(file.read_bytes())
    except OSError as error:
        raise FormatRefused(file, [f"it cannot be read: {error}"]) from None
    except ValidationError as error:
        raise FormatRefused(
            file,
            [f"{'.'.join(str(part) for part in item['loc']) or 'it'}: {item['msg']}" for item in error.errors()],
        ) from None


def _found(folder: Path, place: str) -> Path | None:
    candidates = (folder / FOLDER / place, folder / place)
    return next((candidate for candidate in candidates if candidate.is_file()), None)

"""YOLO, as Ultralytics lays it out: data.yaml, and per image a text file of `class cx cy width height` in 0..1."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from data.formats import (
    FormatRefused,
    LabelledImage,
    check_boxes,
    check_writable,
    refuse_any,
    size_of,
    split_place,
    write_image,
)
from data.sample import Box

FILE, IMAGES, LABELS = "data.yaml", "images", "labels"
SPLITS = ("train", "val", "test")
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


def read(path: Path) -> Iterator[LabelledImage]:
    """The images of every split of a data.yaml, or of the one in a folder; no text file means an image without boxes.

    Raises:
        FormatRefused: with every problem of every file.
    """
    file = path / FILE if path.is_dir() else path
    document, names = _parsed(file)
    problems: list[str] = []
    images: dict[Path, LabelledImage] = {}
    for folder in _folders(file, document, problems):
        for source in sorted(found for found in folder.rglob("*") if found.suffix.lower() in SUFFIXES):
            domain, name = split_place(source.relative_to(folder).as_posix())
            size = None if source in images else size_of(LabelledImage(name, source, domain=domain), problems)
            if size:
                boxes = _boxes(_labels_of(source), names, size, problems)
                image = LabelledImage(name, source, tuple(boxes), domain=domain)
                check_boxes(image, size, problems)
                images[source] = image
    refuse_any(file, problems)
    return iter(images.values())


def write(path: Path, images: Iterable[LabelledImage]) -> None:
    """Write `data.yaml`, `images/` and `labels/` into the folder `path`; the split is left to whoever reads it.

    Raises:
        FormatRefused: images with whole-image labels, that cannot be read, or of the same name but for the suffix;
            nothing was written.
    """
    listed = check_writable(path, images, boxes=True, by_stem=True)
    problems = [
        f"{image.place}: the suffix must be one of {', '.join(SUFFIXES)}"
        for image in listed
        if Path(image.name).suffix.lower() not in SUFFIXES
    ]
    sizes = [size_of(image, problems) for image in listed]
    refuse_any(path, problems)
    names = sorted({box.label for image in listed for box in image.boxes})
    for image, size in zip(listed, sizes, strict=True):
        write_image(image, path / IMAGES / image.place)
        labels = (path / LABELS / image.place).with_suffix(".txt")
        labels.parent.mkdir(parents=True, exist_ok=True)
        labels.write_text("".join(_line(box, names.index(box.label), size or (1, 1)) for box in image.boxes))
    (path / IMAGES).mkdir(parents=True, exist_ok=True)
    document = {"path": ".", "train": IMAGES, "val": IMAGES, "names": dict(enumerate(names))}
    (path / FILE).write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))


def _parsed(file: Path) -> tuple[dict[str, Any], dict[int, str]]:
    try:
        document = yaml.safe_load(file.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise FormatRefused(file, [f"it cannot be read as YAML: {error}"]) from None
    names = document.get("names") if isinstance(document, dict) else None
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not all(isinstance(number, int) for number in names):
        raise FormatRefused(file, ["names must be a list of classes, or a mapping from number to class"])
    return document, {number: str(name) for number, name in names.items()}


def _folders(file: Path, document: dict[str, Any], problems: list[str]) -> list[Path]:
    base = file.parent / str(document.get("path") or "")
    base = base if base.is_dir() else file.parent
    folders: dict[Path, None] = {}
    for split in SPLITS:
        entries = document.get(split) or []
        for entry in entries if isinstance(entries, list) else [entries]:
            folder = (base / str(entry)).resolve()
            if folder.is_dir():
                folders[folder] = None
            else:
                problems.append(f"{split}: {entry} is not a folder below {base}")
    if not folders and not problems:
        problems.append(f"none of {', '.join(SPLITS)} names a folder of images")
    return list(folders)


def _labels_of(source: Path) -> Path:
    """The text file of an image: below `labels` where the last `images` of its path is, or else beside it."""
    parts = list(source.with_suffix(".txt").parts)
    if IMAGES in parts:
        parts[len(parts) - 1 - parts[::-1].index(IMAGES)] = LABELS
    return Path(*parts) if Path(*parts).is_file() else source.with_suffix(".txt")


def _boxes(labels: Path, names: dict[int, str], size: tuple[int, int], problems: list[str]) -> list[Box]:
    boxes: list[Box] = []
    if not labels.is_file():
        return boxes
    width, height = size
    for number, line in enumerate(labels.read_text().splitlines(), 1):
        words = line.split()
        if not words:
            continue
        try:
            label = names.get(int(words[0]))
            cx, cy, w, h = (float(word) for word in words[1:])
        except ValueError:
            problems.append(f"{labels.name}:{number}: {line[:80]!r} is not `class cx cy width height`")
            continue
        if label is None:
            problems.append(f"{labels.name}:{number}: class {words[0]} is not in names")
            continue
        if not all(0 <= value <= 1 for value in (cx, cy, w, h)):
            problems.append(
                f"{labels.name}:{number}: {line!r} has a value outside 0..1; YOLO's are shares of the image"
            )
            continue
        left, top = (cx - w / 2) * width, (cy - h / 2) * height
        boxes.append(Box(left, top, left + w * width, top + h * height, label))
    return boxes


def _line(box: Box, number: int, size: tuple[int, int]) -> str:
    width, height = size
    values = ((box.x1 + box.x2) / 2 / width, (box.y1 + box.y2) / 2 / height, box.width / width, box.height / height)
    return f"{number} {' '.join(f'{value:.10f}' for value in values)}\n"

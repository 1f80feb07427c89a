"""Index files, as Sedna and Ianvs have them: an image and its labels per line (.txt), or a table (.csv).

A line of a .txt is `image`, `image class`, `image x1,y1,x2,y2,class ...` or `image annotation.xml` (Pascal VOC). A .csv
has a header with `image` and `label`, and for boxes `x1 y1 x2 y2`, one row per box, label empty for an image without.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path

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
from data.formats.voc import described
from data.sample import Box

CORNERS = ("x1", "y1", "x2", "y2")


def read(path: Path) -> Iterator[LabelledImage]:
    """The images of an index file; they lie where it says, relative to the file.

    Raises:
        FormatRefused: with every problem of the file.
    """
    problems: list[str] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise FormatRefused(path, [f"it cannot be read: {error}"]) from None
    images = _from_table(path, text, problems) if path.suffix == ".csv" else _from_lines(path, text, problems)
    seen: set[Path | bytes] = set()
    for image in images:
        problems += place_problems(image.place)
        if image.image in seen:
            problems.append(f"{image.place} stands more than once; give an image one line")
        seen.add(image.image)
        size = size_of(image, problems)
        if size:
            check_boxes(image, size, problems)
    refuse_any(path, problems)
    return iter(images)


def write(path: Path, images: Iterable[LabelledImage]) -> None:
    """Write an index file, a table if `path` ends in .csv, and the images beside it.

    Raises:
        FormatRefused: a name or a label that the format cannot express; nothing was written.
    """
    listed = list(images)
    table = path.suffix == ".csv"
    for with_boxes in (True, False):
        check_writable(path, (i for i in listed if (i.label is None) == with_boxes), boxes=with_boxes)
    if not table:
        refuse_any(path, [problem for image in listed for problem in _unwritable(image)])
    for image in listed:
        write_image(image, path.parent / image.place)
    path.parent.mkdir(parents=True, exist_ok=True)
    if table:
        with path.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(["image", *CORNERS, "label"])
            for image in listed:
                rows.writerows(_rows(image))
    else:
        lines = [" ".join([image.place, *_words(image)]) + "\n" for image in listed]
        path.write_text("".join(lines), encoding="utf-8")


def _from_lines(path: Path, text: str, problems: list[str]) -> list[LabelledImage]:
    images = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words:
            continue
        place, *labels = words
        domain, name = split_place(place)
        source = path.parent / place
        if len(labels) == 1 and labels[0].endswith(".xml"):
            _, described_boxes = described(path.parent / labels[0], problems)
            images.append(LabelledImage(name, source, described_boxes, domain=domain))
        elif len(labels) == 1 and "," not in labels[0]:
            images.append(LabelledImage(name, source, label=labels[0], domain=domain))
        else:
            boxes = [_box(label.split(","), f"{path.name}:{number}", problems) for label in labels]
            images.append(LabelledImage(name, source, tuple(box for box in boxes if box), domain=domain))
    return images


def _from_table(path: Path, text: str, problems: list[str]) -> list[LabelledImage]:
    rows = csv.DictReader(io.StringIO(text, newline=""))
    columns = set(rows.fieldnames or ())
    if not {"image", "label"} <= columns:
        problems.append(f"its header is {', '.join(rows.fieldnames or ())}; it must have image and label")
        return []
    boxed = set(CORNERS) <= columns
    found: dict[str, list[Box]] = {}
    labels: dict[str, str] = {}
    for row in rows:
        place, label = row["image"] or "", row["label"] or ""
        boxes = found.setdefault(place, [])
        corners = [row[corner] or "" for corner in CORNERS] if boxed else []
        if any(corners):
            box = _box([*corners, label], f"{path.name}:{rows.line_num}", problems)
            boxes += [] if box is None else [box]
        elif label and labels.setdefault(place, label) != label:
            problems.append(f"{path.name}:{rows.line_num}: {place} has the label {label} and {labels[place]}")
    problems += [f"{place} has boxes and a label of the whole image" for place in labels if found[place]]
    images = []
    for place, boxes in found.items():
        domain, name = split_place(place)
        images.append(LabelledImage(name, path.parent / place, tuple(boxes), labels.get(place), domain=domain))
    return images


def _box(words: list[str], place: str, problems: list[str]) -> Box | None:
    try:
        *corners, label = words
        x1, y1, x2, y2 = (float(corner) for corner in corners)
    except ValueError:
        problems.append(f"{place}: {','.join(words)!r} is not x1,y1,x2,y2,class")
        return None
    return Box(x1, y1, x2, y2, label)


def _rows(image: LabelledImage) -> list[list[str]]:
    if image.boxes:
        return [[image.place, *(repr(getattr(box, corner)) for corner in CORNERS), box.label] for box in image.boxes]
    return [[image.place, "", "", "", "", image.label or ""]]


def _words(image: LabelledImage) -> list[str]:
    if image.label is not None:
        return [image.label]
    return [",".join([*(repr(getattr(box, corner)) for corner in CORNERS), box.label]) for box in image.boxes]


def _unwritable(image: LabelledImage) -> list[str]:
    words = [image.place, *([] if image.label is None else [image.label]), *(box.label for box in image.boxes)]
    problems = [
        f"{word!r} cannot stand in a .txt index, whose words are separated by spaces; use a .csv"
        for word in words
        if not word or word.split() != [word]
    ]
    problems += [f"label {word!r} has a comma; use a .csv" for word in words[1:] if "," in word]
    if image.label is not None and image.label.endswith(".xml"):
        problems.append(f"label {image.label!r} would be read as an annotation file; use a .csv")
    return problems

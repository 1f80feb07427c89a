"""DeepPCB (Tang et al. 2019, arXiv 1902.06197): a board and its template, lines of `x1 y1 x2 y2 type`, list files.

The lists name `NAME.jpg`, which stands for NAME_test.jpg and NAME_temp.jpg. Its documentation says that annotations are
separated by commas; the files have spaces; both are read. A domain is a `groupNNNNN`, a family of boards.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from data.formats import LabelledImage, check_boxes, check_writable, refuse_any, size_of, write_image
from data.sample import Box

CLASSES = ("open", "short", "mousebite", "spur", "copper", "pin-hole")
LISTS = ("trainval.txt", "test.txt")
SUFFIXES = (".jpg", ".png")
TEST, TEMPLATE = "_test", "_temp"


def read(path: Path) -> Iterator[LabelledImage]:
    """The boards of a list file, of the lists in a folder, or of a folder of boards with their `NAME.txt` beside them.

    Raises:
        FormatRefused: with every problem of every list and annotation.
    """
    problems: list[str] = []
    lists = [path] if path.is_file() else [path / name for name in LISTS if (path / name).is_file()]
    boards = [board for file in lists for board in _listed(file, problems)] if lists else _lying(path, problems)
    if not boards and not problems:
        problems.append(f"there is neither a list ({' or '.join(LISTS)}) nor a board named NAME{TEST}.jpg or .png")
    refuse_any(path, problems)
    return iter(boards)


def write(path: Path, images: Iterable[LabelledImage]) -> None:
    """Write boards as DeepPCB lays them out, listed in `trainval.txt`; corners are rounded to whole pixels.

    Raises:
        FormatRefused: an image without template or domain, or of another class; nothing was written.
    """
    listed = check_writable(path, images, boxes=True, by_stem=True)
    problems = [problem for image in listed for problem in _unwritable(image)]
    refuse_any(path, problems)
    lines = []
    for image in listed:
        number = image.domain.removeprefix("group")
        stem, suffix = _stem(image.name), Path(image.name).suffix
        boards, labels = f"{image.domain}/{number}", f"{image.domain}/{number}_not"
        write_image(image, path / boards / f"{stem}{TEST}{suffix}")
        (path / boards / f"{stem}{TEMPLATE}{suffix}").write_bytes(image.read_template() or b"")
        (path / labels).mkdir(parents=True, exist_ok=True)
        (path / labels / f"{stem}.txt").write_text("".join(_annotation(box) for box in image.boxes))
        lines.append(f"{boards}/{stem}{suffix} {labels}/{stem}.txt\n")
    path.mkdir(parents=True, exist_ok=True)
    (path / LISTS[0]).write_text("".join(lines))


def write_results(path: Path, found: Mapping[str, Sequence[Box]]) -> None:
    """Write detections (image name → boxes with scores) as the zip file that DeepPCB's evaluation reads.

    One text file per image, lines `x1,y1,x2,y2,confidence,type`, the most confident first.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, boxes in sorted(found.items()):
            ranked = sorted(boxes, key=lambda box: -(box.score or 0))
            lines = [
                f"{box.x1:.2f},{box.y1:.2f},{box.x2:.2f},{box.y2:.2f},{box.score or 0:.5f},{box.label}\n"
                for box in ranked
            ]
            archive.writestr(result_name(name), "".join(lines))


def result_name(name: str) -> str:
    """The file that holds the detections in the image called `name`."""
    return f"{_stem(name)}.txt"


def _listed(file: Path, problems: list[str]) -> list[LabelledImage]:
    boards = []
    for number, line in enumerate(file.read_text().splitlines(), 1):
        words = line.split()
        if not words:
            continue
        if len(words) != 2:
            problems.append(f"{file.name}:{number}: {line!r} is not `board annotation`")
            continue
        board = file.parent / words[0]
        image = board.with_name(f"{board.stem}{TEST}{board.suffix}")
        boards.append(_board(image, file.parent / words[1], Path(words[0]).parts[0], problems))
    return boards


def _lying(folder: Path, problems: list[str]) -> list[LabelledImage]:
    boards = []
    for image in sorted(found for suffix in SUFFIXES for found in folder.rglob(f"*{TEST}{suffix}")):
        stem = _stem(image.name)
        within = image.parent.relative_to(folder).as_posix()
        domain = stem.rstrip("0123456789") if within == "." else within
        boards.append(_board(image, image.with_name(f"{stem}.txt"), domain, problems))
    return boards


def _board(image: Path, labels: Path, domain: str, problems: list[str]) -> LabelledImage:
    template = image.with_name(f"{_stem(image.name)}{TEMPLATE}{image.suffix}")
    if not template.is_file():
        problems.append(f"{domain}/{image.name}: its template {template.name} is missing")
    boxes: list[Box] = []
    if labels.is_file():
        boxes = _boxes(labels, problems)
    else:
        problems.append(f"{domain}/{image.name}: its annotation {labels} is missing")
    board = LabelledImage(image.name, image, tuple(boxes), template=template, domain=domain)
    size = size_of(board, problems)
    if size:
        check_boxes(board, size, problems)
    return board


def _boxes(labels: Path, problems: list[str]) -> list[Box]:
    boxes = []
    for number, line in enumerate(labels.read_text().splitlines(), 1):
        words = re.split(r"[,\s]+", line.strip())
        if words == [""]:
            continue
        try:
            *corners, kind = (int(word) for word in words)
            x1, y1, x2, y2 = (float(corner) for corner in corners)
        except ValueError:
            problems.append(f"{labels.name}:{number}: {line!r} is not `x1 y1 x2 y2 type` in whole numbers")
            continue
        if not 1 <= kind <= len(CLASSES):
            problems.append(f"{labels.name}:{number}: type {kind} is not one of 1 to {len(CLASSES)}")
            continue
        boxes.append(Box(x1, y1, x2, y2, CLASSES[kind - 1]))
    return boxes


def _annotation(box: Box) -> str:
    corners = (round(corner) for corner in (box.x1, box.y1, box.x2, box.y2))
    return f"{' '.join(str(corner) for corner in corners)} {CLASSES.index(box.label) + 1}\n"


def _unwritable(image: LabelledImage) -> Iterator[str]:
    if image.template is None:
        yield f"{image.place} has no template; DeepPCB pairs every board with one"
    if not image.domain or "/" in image.domain:
        yield f"{image.place} needs a domain of one word, the group of its board"
    if not Path(image.name).stem.endswith(TEST):
        yield f"{image.place} must be named NAME{TEST}.jpg or .png"
    for label in sorted({box.label for box in image.boxes} - set(CLASSES)):
        yield f"{image.place} has class {label!r}; DeepPCB's classes are {', '.join(CLASSES)}"


def _stem(name: str) -> str:
    return Path(name).stem.removesuffix(TEST)

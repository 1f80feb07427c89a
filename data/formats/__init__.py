"""Labelled images in the field's formats; each module reads one into `LabelledImage`s and writes it from them."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from data.sample import Box, box_problems

SHOWN = 20


class FormatRefused(ValueError):
    """A labelled data set that cannot be read or written; `problems` names everything that is wrong with it."""

    def __init__(self, path: Path, problems: Sequence[str]):
        self.path = path
        self.problems = list(problems)
        listed = "\n".join(f"  - {problem}" for problem in self.problems[:SHOWN])
        more = f"\n  and {len(self.problems) - SHOWN} more" if len(self.problems) > SHOWN else ""
        super().__init__(f"{path} has {len(self.problems)} problem(s), so none of it was used:\n{listed}{more}")


@dataclass(frozen=True)
class LabelledImage:
    """An image file and what is known of it: its boxes, or for classification the label of the whole image.

    `name` is the file's name, `domain` the folder it stands in below the images of its data set ("" for none), `image`
    and `template` are a file or its bytes.
    """

    name: str
    image: Path | bytes
    boxes: tuple[Box, ...] = ()
    label: str | None = None
    template: Path | bytes | None = None
    domain: str = ""

    def read(self) -> bytes:
        """The bytes of the image file."""
        return self.image.read_bytes() if isinstance(self.image, Path) else self.image

    def read_template(self) -> bytes | None:
        """The bytes of the template's file; None without one."""
        return self.template.read_bytes() if isinstance(self.template, Path) else self.template

    @property
    def place(self) -> str:
        """Domain and name, with slashes."""
        return f"{self.domain}/{self.name}" if self.domain else self.name


@dataclass(frozen=True)
class Format:
    """A format by name; its module is imported when it is used."""

    name: str
    description: str

    def read(self, path: Path) -> Iterator[LabelledImage]:
        """The labelled images at `path`, every label already checked.

        Raises:
            FormatRefused: with every problem of the data set.
        """
        images: Iterator[LabelledImage] = importlib.import_module(f"data.formats.{self.name}").read(path)
        return images

    def write(self, path: Path, images: Iterable[LabelledImage]) -> None:
        """Write labelled images to `path`, from where `read` reads them.

        Raises:
            FormatRefused: the format cannot express some of them; nothing was written.
        """
        importlib.import_module(f"data.formats.{self.name}").write(path, images)


FORMATS = {
    each.name: each
    for each in (
        Format("deeppcb", "DeepPCB: board and template, lines of x1 y1 x2 y2 type, trainval.txt"),
        Format("coco", "COCO: one JSON file, boxes as x, y, width, height"),
        Format("voc", "Pascal VOC: one XML file per image, corners counted from 1"),
        Format("yolo", "YOLO: data.yaml, one text file per image, normalised centres and sizes"),
        Format("folder", "one folder per class, for whole-image labels"),
        Format("index", "an index file (.txt or .csv): an image and its labels per line"),
    )
}


def split_place(place: str) -> tuple[str, str]:
    """Domain and name of an image from its place below the images of its data set."""
    path = PurePosixPath(place)
    return ("" if str(path.parent) == "." else str(path.parent)), path.name


def place_problems(place: str) -> list[str]:
    """What is wrong with a place below the images of a data set: it must not lead out of it."""
    path = PurePosixPath(place)
    outside = path.is_absolute() or ".." in path.parts
    return [f"{place} leads out of the data set; name a file within it"] if outside else []


def size_of(image: LabelledImage, problems: list[str]) -> tuple[int, int] | None:
    """Width and height of the image in pixels; None, and the reason in `problems`, where it cannot be read."""
    from data.images import ImageRefused, dimensions

    try:
        return dimensions(image.read())
    except (OSError, ImageRefused) as error:
        problems.append(f"{image.place}: {error}")
        return None


def check_boxes(image: LabelledImage, size: tuple[int, int], problems: list[str]) -> None:
    """Append to `problems` what is wrong with the boxes of an image of `size` (width, height)."""
    for box in image.boxes:
        problems += [f"{image.place}: {problem}" for problem in box_problems(box, *size, [box.label])]


def refuse_any(path: Path, problems: Sequence[str]) -> None:
    """Raise FormatRefused where there are problems."""
    if problems:
        raise FormatRefused(path, problems)


def check_writable(
    path: Path, images: Iterable[LabelledImage], *, boxes: bool, by_stem: bool = False
) -> list[LabelledImage]:
    """The images as a list, if the format can express them: all with boxes, or else all with labels, each once.

    With `by_stem`, two images of the same name but for the suffix count as the same.

    Raises:
        FormatRefused: with every image that it cannot express.
    """
    listed = list(images)
    problems = []
    seen: set[str] = set()
    for image in listed:
        if boxes and image.label is not None:
            problems.append(
                f"{image.place} has a label for the whole image, this format has boxes; use folder or index"
            )
        if not boxes and image.label is None:
            problems.append(f"{image.place} has no label for the whole image; this format has nothing else")
        key = str(PurePosixPath(image.place).with_suffix("")) if by_stem else image.place
        if key in seen:
            problems.append(f"{image.place} stands more than once; rename one of them")
        seen.add(key)
        problems += place_problems(image.place)
    refuse_any(path, problems)
    return listed


def write_image(image: LabelledImage, path: Path) -> None:
    """Write the bytes of the image to `path`, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(image.read())

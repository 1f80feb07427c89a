"""One folder per class: `<class>/<name>`, or `<class>/<domain>/<name>`; the label is of the whole image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from data.formats import LabelledImage, check_writable, refuse_any, size_of, split_place, write_image


def read(path: Path) -> Iterator[LabelledImage]:
    """The images below each class's folder; files whose name begins with a dot are left out.

    Raises:
        FormatRefused: a file lies outside the classes' folders, or is not an image; with all of them.
    """
    problems: list[str] = []
    images = []
    for source in sorted(path.rglob("*")) if path.is_dir() else []:
        within = source.relative_to(path)
        if source.is_dir() or any(part.startswith(".") for part in within.parts):
            continue
        if len(within.parts) < 2:
            problems.append(f"{source.name} lies in no class's folder")
            continue
        domain, name = split_place(Path(*within.parts[1:]).as_posix())
        image = LabelledImage(name, source, label=within.parts[0], domain=domain)
        size_of(image, problems)
        images.append(image)
    if not images and not problems:
        problems.append("there are no images in folders of classes")
    refuse_any(path, problems)
    return iter(images)


def write(path: Path, images: Iterable[LabelledImage]) -> None:
    """Write images into the folder of their class.

    Raises:
        FormatRefused: an image without a label, or with one that is no folder's name; nothing was written.
    """
    listed = check_writable(path, images, boxes=False)
    problems = [
        f"{image.place}: label {image.label!r} cannot be a folder's name"
        for image in listed
        if not image.label or "/" in image.label or image.label.startswith(".")
    ]
    refuse_any(path, problems)
    for image in listed:
        write_image(image, path / str(image.label) / image.place)

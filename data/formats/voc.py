"""Pascal VOC (Everingham et al. 2010): one XML file per image; corners counted from 1, the last one inclusive."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator
from pathlib import Path
from xml.etree import ElementTree

from data.formats import LabelledImage, check_boxes, check_writable, refuse_any, size_of, split_place, write_image
from data.sample import Box

ANNOTATIONS, IMAGES = "Annotations", "JPEGImages"
CORNERS = ("xmin", "ymin", "xmax", "ymax")


def read(path: Path) -> Iterator[LabelledImage]:
    """The images of `Annotations/*.xml` and `JPEGImages/` in a folder, or of a folder with both kinds side by side.

    Raises:
        FormatRefused: with every problem of every file.
    """
    problems: list[str] = []
    annotations = path / ANNOTATIONS if (path / ANNOTATIONS).is_dir() else path
    folder = path / IMAGES if (path / IMAGES).is_dir() else path
    files = sorted(annotations.rglob("*.xml"))
    if not files:
        problems.append(f"there is no XML file in {annotations}")
    images = []
    for file in files:
        domain, _ = split_place(file.relative_to(annotations).as_posix())
        name, boxes = described(file, problems)
        source = _image_of(file, name, folder / domain)
        if source is None:
            problems.append(f"{file.name}: its image {name or file.stem} is not in {folder / domain}")
            continue
        image = LabelledImage(source.name, source, boxes, domain=domain)
        size = size_of(image, problems)
        if size:
            check_boxes(image, size, problems)
        images.append(image)
    refuse_any(path, problems)
    return iter(images)


def described(file: Path, problems: list[str]) -> tuple[str, tuple[Box, ...]]:
    """The image's name ("" for none) and the boxes that an XML file describes; what is wrong with it in `problems`."""
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import parse

    try:
        root = parse(file, forbid_dtd=True).getroot()
    except (OSError, ElementTree.ParseError, DefusedXmlException) as error:
        problems.append(f"{file.name}: it cannot be read as XML without a DTD: {error!r}")
        return "", ()
    boxes = (_box(item, f"{file.name}: object {n}", problems) for n, item in enumerate(root.iter("object"), 1))
    return Path(root.findtext("filename") or "").name, tuple(box for box in boxes if box)


def write(path: Path, images: Iterable[LabelledImage]) -> None:
    """Write `Annotations/` and `JPEGImages/` into the folder `path`.

    Raises:
        FormatRefused: images with whole-image labels, that cannot be read, or of the same name but for the suffix;
            nothing was written.
    """
    listed = check_writable(path, images, boxes=True, by_stem=True)
    problems: list[str] = []
    sizes = [size_of(image, problems) for image in listed]
    refuse_any(path, problems)
    (path / ANNOTATIONS).mkdir(parents=True, exist_ok=True)
    for image, size in zip(listed, sizes, strict=True):
        write_image(image, path / IMAGES / image.place)
        file = (path / ANNOTATIONS / image.place).with_suffix(".xml")
        file.parent.mkdir(parents=True, exist_ok=True)
        tree = ElementTree.ElementTree(_document(image, size or (0, 0)))
        ElementTree.indent(tree)
        tree.write(file, encoding="utf-8", xml_declaration=True)


def _image_of(file: Path, name: str, folder: Path) -> Path | None:
    """The image of that name, or else the one that is called like its XML file."""
    if name and (folder / name).is_file():
        return folder / name
    return next((found for found in sorted(folder.glob(f"{glob.escape(file.stem)}.*")) if found.suffix != ".xml"), None)


def _box(item: ElementTree.Element, place: str, problems: list[str]) -> Box | None:
    label = (item.findtext("name") or "").strip()
    if not label:
        problems.append(f"{place} has no <name>")
    corners = []
    for corner in CORNERS:
        text = item.findtext(f"bndbox/{corner}")
        try:
            corners.append(float(text or ""))
        except ValueError:
            problems.append(f"{place}: <{corner}> is {text!r}, not a number")
    if not label or len(corners) < len(CORNERS):
        return None
    return Box(corners[0] - 1, corners[1] - 1, corners[2], corners[3], label)


def _document(image: LabelledImage, size: tuple[int, int]) -> ElementTree.Element:
    root = ElementTree.Element("annotation")
    ElementTree.SubElement(root, "folder").text = image.domain
    ElementTree.SubElement(root, "filename").text = image.name
    element = ElementTree.SubElement(root, "size")
    for name, pixels in zip(("width", "height", "depth"), (*size, 1), strict=True):
        ElementTree.SubElement(element, name).text = str(pixels)
    for box in image.boxes:
        item = ElementTree.SubElement(root, "object")
        ElementTree.SubElement(item, "name").text = box.label
        for flag in ("truncated", "difficult"):
            ElementTree.SubElement(item, flag).text = "0"
        bounds = ElementTree.SubElement(item, "bndbox")
        for corner, value in zip(CORNERS, (box.x1 + 1, box.y1 + 1, box.x2, box.y2), strict=True):
            ElementTree.SubElement(bounds, corner).text = str(int(value)) if value == int(value) else repr(value)
    return root

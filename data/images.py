"""Images: bytes to grey pixels within limits, refused with every reason; PNG back; a hash for near-duplicates."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, ImageOps

# In grey levels of 255, between the means of cells of CELL x CELL pixels. Compression, noise, a little more light and a
# shift by one pixel stay below it; a defect that covers one cell does not.
CELL = 4
LARGEST_DIFFERENCE = 80
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
EXIF_ORIENTATION = 0x0112


class ImageRefused(ValueError):
    """Bytes that cannot be used as an image; `problems` names everything that is wrong with them."""

    def __init__(self, problems: Sequence[str]):
        self.problems = list(problems)
        super().__init__("; ".join(self.problems))


@dataclass(frozen=True, slots=True)
class Limits:
    """What an image may measure: its file in bytes, its area in pixels, its shorter side in pixels."""

    max_bytes: int = 64 * 1024 * 1024
    max_pixels: int = 50_000_000
    min_side: int = 32


def decode(content: bytes, limits: Limits = Limits()) -> np.ndarray:
    """The grey pixels of an image file, uint8 [height, width], upright as its EXIF orientation says.

    Colour becomes luma (ITU-R 601, Pillow's "L"), 16 bits become their upper 8, of several frames the first counts.
    An image beyond the limits is refused by its header, before its pixels are decoded.

    Raises:
        ImageRefused: with everything that is wrong with it.
    """
    problems = []
    if len(content) > limits.max_bytes:
        problems.append(f"it has {len(content)} bytes; an image may have at most {limits.max_bytes}")
    image = _opened(content, problems)
    width, height = image.size
    if width * height > limits.max_pixels:
        problems.append(f"it is {width} x {height} px; an image may have at most {limits.max_pixels} px")
    decodable = not problems
    if min(width, height) < limits.min_side:
        problems.append(f"it is {width} x {height} px; its shorter side must be at least {limits.min_side} px")
    pixels = _grey(image, problems) if decodable else None
    if problems or pixels is None:
        raise ImageRefused(problems)
    return pixels


def dimensions(content: bytes) -> tuple[int, int]:
    """Width and height in pixels of an image file, upright, read from its header alone.

    Raises:
        ImageRefused: it is not an image.
    """
    image = _opened(content, [])
    turned = image.getexif().get(EXIF_ORIENTATION, 1) in (5, 6, 7, 8)
    return (image.height, image.width) if turned else (image.width, image.height)


def encode_png(image: np.ndarray) -> bytes:
    """A PNG file of grey pixels, uint8 [height, width]; `decode` gives exactly these pixels back."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="PNG")
    return file.getvalue()


def difference_hash(image: np.ndarray) -> int:
    """64 bits that near-duplicates of an image, uint8 [height, width], nearly share: compare by Hamming distance.

    Bit i says whether a cell of the image, shrunk to 8 rows of 9, is darker than its right neighbour (Krawetz 2013,
    "Kind of Like That").
    """
    small = np.asarray(Image.fromarray(image).resize((9, 8), Image.Resampling.BOX), dtype=np.int16)
    bits = (small[:, 1:] > small[:, :-1]).ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def same_picture(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two images, uint8 [height, width], show the same: one size, and nowhere more different than a copy is.

    No cell of 4 x 4 pixels may differ by more than 80 grey levels in its mean.
    """
    if first.shape != second.shape:
        return False
    difference = ImageChops.difference(*(Image.fromarray(image).reduce(CELL) for image in (first, second)))
    return bool(np.asarray(difference).max() <= LARGEST_DIFFERENCE)


def _opened(content: bytes, problems: list[str]) -> Image.Image:
    """The image with its header read; raises with `problems` and the reason where that is not possible."""
    if not content:
        raise ImageRefused(["it has zero bytes; send the file again", *problems])
    try:
        return Image.open(io.BytesIO(content), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise ImageRefused([*problems, f"it is far too large to be decoded ({error})"]) from None
    except Exception:  # Pillow's readers raise whatever a damaged header makes them stumble over
        raise ImageRefused([*problems, f"it is not an image; {', '.join(FORMATS)} files are"]) from None


def _grey(image: Image.Image, problems: list[str]) -> np.ndarray | None:
    try:
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I;16"):
            return (np.asarray(upright) >> 8).astype(np.uint8)
        if upright.mode in ("I", "F"):
            problems.append(f"its pixels are 32-bit numbers (mode {upright.mode}); save it with 8 or 16 bits")
            return None
        return np.asarray(upright.convert("L"))
    except Exception as error:  # Pillow's decoders raise whatever damaged data makes them stumble over
        problems.append(f"it is damaged or cut off ({error}); send the file again")
        return None

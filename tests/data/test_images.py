"""Images come back pixel for pixel, and bytes that are no usable image are refused with every reason, cheaply."""

from __future__ import annotations

import contextlib
import io
import struct
import tracemalloc
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from data.images import ImageRefused, Limits, decode, difference_hash, dimensions, encode_png, same_picture

SMALL = Limits(max_bytes=1_000_000, max_pixels=10_000, min_side=8)
grey_images = arrays(np.uint8, st.tuples(st.integers(8, 40), st.integers(8, 40)))


def saved(image: Image.Image, file_format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds nothing."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    header = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + header + struct.pack(">I", 1000) + b"IDAT"


def problems(content: bytes, limits: Limits = SMALL) -> list[str]:
    with pytest.raises(ImageRefused) as caught:
        decode(content, limits)
    return caught.value.problems


@given(grey_images)
def test_a_png_gives_exactly_the_pixels_back(image: np.ndarray) -> None:
    content = encode_png(image)
    decoded = decode(content, SMALL)
    assert decoded.dtype == np.uint8
    assert np.array_equal(decoded, image)
    assert dimensions(content) == (image.shape[1], image.shape[0])


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "BMP", "TIFF", "WEBP"])
def test_colour_becomes_luma(file_format: str) -> None:
    red = Image.new("RGB", (20, 10), (255, 0, 0))
    decoded = decode(saved(red, file_format), SMALL)
    assert decoded.shape == (10, 20)
    assert np.abs(decoded.astype(int) - 76).max() <= 2


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_every_usual_mode_becomes_grey(mode: str) -> None:
    image = Image.new(mode, (16, 16))
    file_format = "TIFF" if mode == "CMYK" else "PNG"
    assert decode(saved(image, file_format), SMALL).shape == (16, 16)


def test_of_sixteen_bits_the_upper_eight_are_kept() -> None:
    deep = np.arange(0, 65536, 256, dtype=np.uint16).reshape(16, 16)
    assert np.array_equal(decode(saved(Image.fromarray(deep), "PNG"), SMALL), (deep >> 8).astype(np.uint8))


def test_an_image_is_turned_as_a_browser_shows_it() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = saved(Image.fromarray(noise(10, 20)), "PNG", exif=exif)
    assert np.array_equal(decode(content, SMALL), np.rot90(noise(10, 20), -1))
    assert dimensions(content) == (10, 20)


@pytest.mark.parametrize("limits", [SMALL, Limits(max_bytes=2)])
@pytest.mark.parametrize(
    "content", [b"not an image at all", b"\x00" * 100, b"\x89PNG\r\n\x1a\n", b"GIF89a" + b"\0" * 50]
)
def test_what_is_no_image_is_refused(content: bytes, limits: Limits) -> None:
    assert any("is not an image" in problem for problem in problems(content, limits))
    with pytest.raises(ImageRefused):
        dimensions(content)


def test_zero_bytes_are_refused() -> None:
    assert problems(b"") == ["it has zero bytes; send the file again"]


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "BMP", "TIFF", "WEBP"])
@settings(max_examples=60)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_file_that_is_cut_off_is_refused_unless_no_pixel_is_missing(file_format: str, share: float) -> None:
    content = saved(Image.fromarray(noise(32, 32)), file_format)
    try:
        decoded = decode(content[: int(len(content) * share)], SMALL)
    except ImageRefused:
        return
    assert np.array_equal(decoded, decode(content, SMALL))


@given(grey_images, st.binary(min_size=1, max_size=8), st.integers(0, 10_000))
def test_damaged_bytes_are_refused_or_read_but_never_crash(image: np.ndarray, damage: bytes, place: int) -> None:
    content = bytearray(saved(Image.fromarray(image), "JPEG"))
    place %= len(content)
    content[place : place + len(damage)] = damage
    with contextlib.suppress(ImageRefused):
        assert decode(bytes(content), SMALL).dtype == np.uint8


@pytest.mark.parametrize(("width", "height"), [(101, 100), (20_000, 20_000), (1_000_000, 1_000_000)])
def test_a_bomb_is_refused_by_its_header(width: int, height: int) -> None:
    tracemalloc.start()
    assert any("px" in problem or "far too large" in problem for problem in problems(png_header(width, height)))
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


def test_a_real_bomb_is_refused_before_it_is_decoded() -> None:
    content = saved(Image.new("1", (9_000, 9_000)), "PNG")
    assert problems(content) == ["it is 9000 x 9000 px; an image may have at most 10000 px"]


def test_too_small_is_refused() -> None:
    assert problems(encode_png(noise(7, 100))) == ["it is 100 x 7 px; its shorter side must be at least 8 px"]


def test_all_problems_are_told_at_once() -> None:
    small_and_cut = encode_png(noise(7, 100))[:-30]
    too_small, damaged = problems(small_and_cut)
    assert "its shorter side must be at least 8 px" in too_small
    assert "damaged or cut off" in damaged
    heavy_large_and_thin = png_header(20_000, 3) + b"\0" * 100
    assert len(problems(heavy_large_and_thin, Limits(max_bytes=100, max_pixels=1000, min_side=8))) == 3


def test_numbers_of_32_bits_are_refused_with_what_to_do() -> None:
    image = Image.fromarray(noise(16, 16).astype(np.float32))
    assert "save it with 8 or 16 bits" in problems(saved(image, "TIFF"))[0]


@given(grey_images)
def test_the_difference_hash_has_64_bits_and_ignores_brightness(image: np.ndarray) -> None:
    assert 0 <= difference_hash(image) < 2**64
    assert difference_hash(image // 2 + 3) == difference_hash(image // 2)


def test_near_duplicates_share_their_hash_and_strangers_do_not() -> None:
    image = np.asarray(Image.fromarray(noise(12, 12)).resize((200, 150), Image.Resampling.BICUBIC))
    original = difference_hash(image)
    again = decode(saved(Image.fromarray(image), "JPEG", quality=60))
    assert (difference_hash(again) ^ original).bit_count() <= 2
    assert (difference_hash(image[:, ::-1]) ^ original).bit_count() > 16


scenes = st.integers(0, 1000).map(
    lambda seed: np.asarray(
        Image.fromarray(np.random.default_rng(seed).integers(0, 2, (12, 16), dtype=np.uint8) * 255).resize((128, 96), 0)
    )
)


@given(scenes, st.integers(0, 2**32 - 1), st.sampled_from([30, 60, 95]), st.integers(0, 12))
def test_a_copy_shows_the_same_picture(image: np.ndarray, seed: int, quality: int, lighter: int) -> None:
    noise = np.random.default_rng(seed).normal(0, 8, image.shape)
    copies = [
        decode(saved(Image.fromarray(image), "JPEG", quality=quality)),
        (image.astype(int) + lighter).clip(0, 255).astype(np.uint8),
        (image + noise).clip(0, 255).astype(np.uint8),
        np.roll(image, 1, axis=0),
    ]
    for copy in copies:
        assert same_picture(image, copy)
        assert same_picture(copy, image)


@given(scenes, st.integers(0, 96 - 7), st.integers(0, 128 - 7))
def test_a_defect_of_a_few_pixels_makes_it_another(image: np.ndarray, row: int, column: int) -> None:
    """Seven pixels, wherever they begin, cover a cell of four."""
    defect = image.copy()
    defect[row : row + 7, column : column + 7] ^= 255
    assert not same_picture(image, defect)


def test_images_of_two_sizes_are_two_pictures() -> None:
    assert not same_picture(noise(20, 20), noise(20, 24))


def test_the_hash_of_a_ramp_is_known() -> None:
    ramp = np.tile(np.arange(90, dtype=np.uint8), (80, 1))
    assert difference_hash(ramp) == 2**64 - 1
    assert difference_hash(ramp[:, ::-1]) == 0

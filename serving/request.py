"""Read a prediction request: the image and its template, bounded in size, decoded, or refused with every reason."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

import numpy as np
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from data.images import ImageRefused, Limits, decode
from pipelines.job import Job

FORM_FILES = ("image", "template")
FORM_OVERHEAD_BYTES = 64 * 1024


class BodyTooLarge(ValueError):
    """The request is larger than the job allows."""


async def received(request: Request, max_bytes: int) -> tuple[bytes, bytes | None]:
    """The bytes of the image, and of the template if there is one; a body that is too large is not read to its end.

    Raises:
        ImageRefused: the form is not one with an image.
        BodyTooLarge: it has more bytes than `max_bytes` for each image.
    """
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        return b"".join([chunk async for chunk in _bounded(request.stream(), max_bytes)]), None
    stream = _bounded(request.stream(), 2 * max_bytes + FORM_OVERHEAD_BYTES)
    try:
        form = await MultiPartParser(request.headers, stream).parse()
    except MultiPartException as error:
        raise ImageRefused([f"the form cannot be read ({error.message}); send the files image and template"]) from None
    try:
        return await _parts(form)
    finally:
        await form.close()


async def _parts(form: FormData) -> tuple[bytes, bytes | None]:
    parts: dict[str, bytes] = {}
    problems = []
    for name, value in form.multi_items():
        if name not in FORM_FILES:
            problems.append(f"the form has a part {name!r}; its parts are {' and '.join(FORM_FILES)}")
        elif not isinstance(value, UploadFile):
            problems.append(f"{name} is text; send it as a file (curl -F {name}=@board.png)")
        elif name in parts:
            problems.append(f"{name} stands more than once; send one image with each request")
        else:
            parts[name] = await value.read()
    if "image" not in parts and not problems:
        problems.append("the form has no part image; send one file under that name")
    if problems:
        raise ImageRefused(problems)
    return parts["image"], parts.get("template")


async def _bounded(stream: AsyncIterator[bytes], limit: int) -> AsyncGenerator[bytes, None]:
    size = 0
    async for chunk in stream:
        size += len(chunk)
        if size > limit:
            raise BodyTooLarge(f"the request has more than {limit} bytes; the job allows no more (source.maxBytes)")
        yield chunk


def decoded(job: Job, content: bytes, template_content: bytes | None) -> tuple[np.ndarray, np.ndarray | None]:
    """The image and its template as uint8 grey images [height, width] of one size.

    Raises:
        ImageRefused: with everything that is wrong with either.
    """
    limits = Limits(job.source.max_bytes, job.source.max_pixels, job.source.min_side)
    problems: list[str] = []
    images: list[np.ndarray] = []
    for part, place in ((content, ""), (template_content, "its template: ")):
        try:
            if part is not None:
                images.append(decode(part, limits))
        except ImageRefused as refusal:
            problems += [f"{place}{problem}" for problem in refusal.problems]
    if len(images) == 2 and images[0].shape != images[1].shape:
        sizes = " and ".join(f"{image.shape[1]} x {image.shape[0]}" for image in images)
        problems.append(f"the image and its template are {sizes} px; both must be of one size")
    if problems:
        raise ImageRefused(problems)
    return images[0], images[1] if template_content is not None else None

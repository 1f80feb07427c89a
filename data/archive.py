"""Tar archives that are the same bytes for the same content, and whose members are read without unpacking."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Extent:
    """Where one member's bytes lie in its archive."""

    offset: int
    size: int


def write_archive(path: Path, members: Iterable[tuple[str, bytes]]) -> None:
    """Write `members` (name, content) in their order, with nothing in it of the time, the user or the machine."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in members:
            header = tarfile.TarInfo(name)
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))


def write_folder(path: Path, folder: Path) -> None:
    """Write every file under `folder`, in the order of their names, as the archive `path`."""
    files = sorted((file.relative_to(folder).as_posix(), file) for file in folder.rglob("*") if file.is_file())
    write_archive(path, ((name, file.read_bytes()) for name, file in files))


def members(path: Path) -> dict[str, Extent]:
    """The extent of each member of an archive, by its name."""
    with tarfile.open(path, "r:") as archive:
        return {member.name: Extent(member.offset_data, member.size) for member in archive}


def read_member(path: Path, extent: Extent) -> bytes:
    """The bytes of one member."""
    with path.open("rb") as file:
        file.seek(extent.offset)
        return file.read(extent.size)


def unpack(path: Path, folder: Path) -> None:
    """Write every member of an archive into `folder`; a member that would leave it is refused by an error."""
    with tarfile.open(path, "r:") as archive:
        archive.extractall(folder, filter="data")

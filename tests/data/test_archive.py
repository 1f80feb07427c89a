"""Archives: the same content is the same bytes, and every member is found where it is said to be."""

from __future__ import annotations

import os
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from data.archive import members, read_member, unpack, write_archive, write_folder

NAMES = some.text("abcdef0123456789/", min_size=1, max_size=120).filter(lambda name: name.strip("/") == name)


@given(some.dictionaries(NAMES, some.binary(max_size=2000), max_size=5))
def test_every_member_is_read_without_unpacking(contents: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        one, other = Path(folder) / "one.tar", Path(folder) / "other.tar"
        write_archive(one, contents.items())
        write_archive(other, contents.items())
        assert one.read_bytes() == other.read_bytes()
        assert {name: read_member(one, extent) for name, extent in members(one).items()} == contents


def test_a_folder_s_archive_knows_nothing_of_time_or_order(tmp_path: Path) -> None:
    archives = []
    for number, names in enumerate((["a", "b/c"], ["b/c", "a"])):
        folder = tmp_path / str(number)
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(f"content of {name}")
            os.utime(folder / name, (number, number))
            (folder / name).chmod(0o600 + number)
        archives.append(tmp_path / f"{number}.tar")
        write_folder(archives[-1], folder)
    assert archives[0].read_bytes() == archives[1].read_bytes()
    unpack(archives[0], tmp_path / "unpacked")
    assert (tmp_path / "unpacked/b/c").read_text() == "content of b/c"


def test_a_member_that_would_leave_the_folder_is_refused(tmp_path: Path) -> None:
    write_archive(tmp_path / "evil.tar", [("../outside", b"")])
    with pytest.raises(tarfile.OutsideDestinationError):
        unpack(tmp_path / "evil.tar", tmp_path / "inside")
    assert not (tmp_path / "outside").exists()

"""A version of a job's dataset: manifests and shards that never change, merged into rows and read as examples."""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsIndex, overload

from data.archive import Extent, members, read_member
from data.images import Limits, decode
from data.manifest import Row, read_manifests
from data.sample import Example, Split

if TYPE_CHECKING:
    import numpy as np
    import pyarrow

# What is in a dataset was within its job's limits when it arrived.
ACCEPTED = Limits(max_bytes=sys.maxsize, max_pixels=sys.maxsize, min_side=1)


@dataclass(frozen=True)
class Blob:
    """A file of the registry: its MD5, by which DVC knows it, its SHA-256, and its size in bytes."""

    md5: str
    sha256: str
    size: int

    @property
    def key(self) -> str:
        """Where its bytes lie in the store."""
        return f"dvc/files/md5/{self.md5[:2]}/{self.md5[2:]}"


@dataclass(frozen=True)
class Part:
    """What one version added: a manifest, and a shard where there were bytes that no earlier shard has."""

    number: int
    manifest: Blob
    shard: Blob | None


@dataclass(frozen=True)
class DatasetVersion:
    """One version of a job's dataset: its parts, the earlier ones first, and how many samples it has in each split."""

    job: str
    version: str
    parent: str | None
    train_count: int
    holdout_count: int
    parts: tuple[Part, ...]
    checks: dict[str, Any] = field(default_factory=dict)

    @property
    def number(self) -> int:
        return self.parts[-1].number

    @property
    def hash(self) -> str:
        """SHA-256 over the hashes of all its parts."""
        content = [[part.manifest.sha256, part.shard.sha256 if part.shard else None] for part in self.parts]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """The content of `dataset.json`."""
        return {**asdict(self), "hash": self.hash}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> DatasetVersion:
        """The inverse of `to_json`."""
        parts = tuple(
            Part(part["number"], Blob(**part["manifest"]), Blob(**part["shard"]) if part["shard"] else None)
            for part in record["parts"]
        )
        return cls(
            job=record["job"],
            version=record["version"],
            parent=record["parent"],
            train_count=record["train_count"],
            holdout_count=record["holdout_count"],
            parts=parts,
            checks=record["checks"],
        )


class Dataset:
    """One dataset version, to be read; `fetch` gives the local file of a blob and is called when it is first needed."""

    def __init__(self, description: DatasetVersion, fetch: Callable[[Blob], Path]):
        self.description = description
        self._fetch = fetch

    @property
    def version(self) -> str:
        return self.description.version

    @property
    def hash(self) -> str:
        return self.description.hash

    def rows(self, split: Split | None = None) -> Iterator[Row]:
        """The newest row of every sample of a split, by default of both, in the order of their ids."""
        for batch in self._of(split).to_batches(max_chunksize=1000):
            yield from map(Row.from_json, batch.to_pylist())

    def examples(self, split: Split, only: Collection[str] | None = None) -> Examples:
        """The samples of a split in the order of their ids, of them `only` those with these ids.

        An image is decoded whenever it is asked for.
        """
        table = self._of(split)
        if only is not None:
            import pyarrow
            from pyarrow import compute

            wanted = pyarrow.array(sorted(only), pyarrow.string())
            table = table.filter(compute.is_in(table["sample_id"], value_set=wanted)).combine_chunks()
        return Examples(table, self._shards)

    @property
    def added(self) -> frozenset[str]:
        """The ids of the samples that this version added or labelled anew."""
        return self.changed_since(self.description.parent)

    def changed_since(self, version: str | None) -> frozenset[str]:
        """The ids of the samples that were added or labelled anew after an earlier version; all of them for None."""
        from pyarrow import compute

        since = 0 if version is None else version_number(version)
        changed = self._table.filter(compute.greater(self._table["part"], since))
        return frozenset(changed["sample_id"].to_pylist())

    def _of(self, split: Split | None) -> pyarrow.Table:
        from pyarrow import compute

        if split is None:
            return self._table
        return self._table.filter(compute.equal(self._table["split"], split)).combine_chunks()

    @cached_property
    def _table(self) -> pyarrow.Table:
        return read_manifests([self._fetch(part.manifest) for part in self.description.parts])

    @cached_property
    def _shards(self) -> Shards:
        return Shards({part.number: part.shard for part in self.description.parts if part.shard}, self._fetch)


class Shards:
    """The bytes of samples and templates by shard and id; safe to share between threads."""

    def __init__(self, shards: Mapping[int, Blob], fetch: Callable[[Blob], Path]):
        self._shards = shards
        self._fetch = fetch
        self._opened: dict[int, tuple[Path, dict[str, Extent]]] = {}
        self._lock = threading.Lock()

    def read(self, shard: int, sample_id: str) -> bytes:
        """The bytes of one sample or template."""
        with self._lock:
            if shard not in self._opened:
                path = self._fetch(self._shards[shard])
                self._opened[shard] = path, members(path)
            path, extents = self._opened[shard]
        return read_member(path, extents[sample_id])


class Examples(Sequence[Example]):
    """Examples that are read and decoded when they are asked for; a slice of them is one too."""

    def __init__(self, table: pyarrow.Table, shards: Shards):
        self._table = table
        self._shards = shards

    def __len__(self) -> int:
        return int(self._table.num_rows)

    @overload
    def __getitem__(self, place: SupportsIndex) -> Example: ...
    @overload
    def __getitem__(self, place: slice) -> Examples: ...
    def __getitem__(self, place: SupportsIndex | slice) -> Example | Examples:
        if isinstance(place, slice):
            import pyarrow

            places = pyarrow.array(range(*place.indices(len(self))), pyarrow.int64())
            return Examples(self._table.take(places), self._shards)
        row = self._row(index(place))
        sample = row.sample
        template = None
        if sample.template_id is not None and row.template_shard is not None:
            template = self._image(row.template_shard, sample.template_id)
        return Example(
            sample_id=sample.id,
            image=self._image(row.shard, sample.id),
            template=template,
            boxes=row.annotation.boxes,
            domain=sample.domain,
            classes=None if row.annotation.classes is None else frozenset(row.annotation.classes),
        )

    def _image(self, shard: int, image_id: str) -> np.ndarray:
        return decode(self._shards.read(shard, image_id), ACCEPTED)

    def _row(self, place: int) -> Row:
        if not -len(self) <= place < len(self):
            raise IndexError(f"example {place} of {len(self)}")
        return Row.from_json(self._table.slice(place % len(self), 1).to_pylist()[0])


def version_name(number: int) -> str:
    """What a dataset version is called."""
    return f"d{number}"


def version_number(name: str) -> int:
    """The number of a dataset version by its name."""
    return int(name.removeprefix("d"))

"""Dataset versions: each adds a part to the parts of the one before, which nobody ever touches again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from data.archive import write_archive
from data.dataset import Dataset, DatasetVersion, Part, version_name, version_number
from data.failpoint import failpoint
from data.manifest import Row, find_bytes, find_rows, write_manifest
from data.registry.repository import Repository, UnknownVersion, major_version
from data.registry.storage import RegistryDamaged
from data.sample import Annotation, Sample, sha256

READERS = 8


class DatasetRefused(ValueError):
    """Samples that cannot become a dataset version; the message names every problem, and nothing was written."""

    def __init__(self, job: str, problems: list[str]):
        self.problems = problems
        listed = "\n".join(f"  - {problem}" for problem in problems)
        super().__init__(f"no dataset version of {job} was written:\n{listed}")


def publish(
    repository: Repository,
    job: str,
    new: Iterable[tuple[Sample, Annotation]],
    removed: Iterable[str],
    read_bytes: Callable[[str], bytes],
    checks: Mapping[str, Any],
) -> DatasetVersion:
    """Add labelled samples, take others out; the newest version where it already says exactly that."""
    pairs, gone = list(new), set(removed)
    problems = _contradictions(pairs, gone)
    if problems:
        raise DatasetRefused(job, problems)
    return repository.change(lambda: _publish(repository, job, pairs, gone, read_bytes, checks))


def newest(repository: Repository, job: str) -> DatasetVersion | None:
    """The newest version that is fetched."""
    numbers = _numbers(repository, job)
    return _read(repository, job, numbers[-1:])[0] if numbers else None


def versions(repository: Repository, job: str) -> list[DatasetVersion]:
    """Every version that is fetched, the newest last."""
    return _read(repository, job, _numbers(repository, job))


def version(repository: Repository, job: str, name: str | None) -> DatasetVersion:
    """One version, by default the newest.

    Raises:
        UnknownVersion: there is none of that name, or none at all.
    """
    known = [version_name(number) for number in _numbers(repository, job)]
    if name not in known:
        repository.fetch()
        known = [version_name(number) for number in _numbers(repository, job)]
    name = name or (known[-1] if known else None)
    if name is None or name not in known:
        raise UnknownVersion(f"{job} has no dataset version {name or 'yet'}; it has {', '.join(known) or 'none'}")
    return _read(repository, job, [version_number(name)])[0]


def open_dataset(repository: Repository, job: str, name: str | None) -> Dataset:
    """One version, by default the newest, to be read."""
    return Dataset(version(repository, job, name), repository.storage.local)


def tag_name(job: str, number: int | str) -> str:
    """The tag of a dataset version."""
    return f"{job}-data@v{number}.0.0"


def _publish(
    repository: Repository,
    job: str,
    pairs: list[tuple[Sample, Annotation]],
    gone: set[str],
    read_bytes: Callable[[str], bytes],
    checks: Mapping[str, Any],
) -> DatasetVersion:
    current = newest(repository, job)
    parts = current.parts if current else ()
    manifests = [repository.storage.local(part.manifest) for part in parts]
    known = find_rows(manifests, {sample.id for sample, _ in pairs} | gone)
    moved = _moved(pairs, known)
    if moved:
        raise DatasetRefused(job, moved)
    changed = [pair for pair in pairs if pair[0].id not in known or not _says(known[pair[0].id], *pair)]
    dropped = [row for row in known.values() if row.sample.id in gone and not row.removed]
    if not changed and not dropped:
        if current is None:
            raise DatasetRefused(job, ["there is no labelled sample to begin with; label some first"])
        return current

    number = current.number + 1 if current else 1
    folder = repository.clone / "data" / job
    folder.mkdir(parents=True, exist_ok=True)
    manifest, shard = folder / f"{number}.parquet", folder / f"{number}.tar"
    ids = {sample.id for sample, _ in changed} | {sample.template_id for sample, _ in changed if sample.template_id}
    shards = find_bytes(manifests, ids)
    unseen = sorted(ids - shards.keys())
    rows = [_row(sample, annotation, number, shards) for sample, annotation in changed]
    write_manifest(manifest, [*rows, *(replace(row, part=number, removed=True) for row in dropped)])
    if unseen:
        write_archive(shard, _contents(job, unseen, read_bytes))
    failpoint("registry.written")

    blobs = repository.storage.push([manifest, shard] if unseen else [manifest])
    appeared = Counter(row.sample.split for row in rows if row.sample.id not in known or known[row.sample.id].removed)
    disappeared = Counter(row.sample.split for row in dropped)
    published = DatasetVersion(
        job=job,
        version=version_name(number),
        parent=current.version if current else None,
        train_count=(current.train_count if current else 0) + appeared["train"] - disappeared["train"],
        holdout_count=(current.holdout_count if current else 0) + appeared["holdout"] - disappeared["holdout"],
        parts=(*parts, Part(number, blobs[0], blobs[1] if unseen else None)),
        checks=dict(checks),
    )
    (folder / "dataset.json").write_text(json.dumps(published.to_json(), indent=2, sort_keys=True) + "\n")
    summary = f"{len(rows)} samples new or labelled anew, {len(dropped)} removed"
    repository.commit(f"Dataset {published.version} of {job}: {summary}", tag_name(job, number))
    return published


def _row(sample: Sample, annotation: Annotation, number: int, shards: Mapping[str, int]) -> Row:
    return Row(
        sample=sample,
        annotation=annotation,
        part=number,
        shard=shards.get(sample.id, number),
        template_shard=None if sample.template_id is None else shards.get(sample.template_id, number),
    )


def _says(row: Row, sample: Sample, annotation: Annotation) -> bool:
    return not row.removed and row.sample == sample and row.annotation.id == annotation.id


def _contradictions(pairs: list[tuple[Sample, Annotation]], gone: set[str]) -> list[str]:
    """What no dataset could say at once, in words."""
    times = Counter(sample.id for sample, _ in pairs)
    problems = [f"sample {name} is given {count} times; give each once" for name, count in times.items() if count > 1]
    problems += [f"sample {name} is both added and removed; do one of the two" for name in sorted(gone & times.keys())]
    problems += [
        f"the annotation {annotation.id} is of sample {annotation.sample_id}, but is given for {sample.id}"
        for sample, annotation in pairs
        if annotation.sample_id != sample.id
    ]
    return problems


def _moved(pairs: list[tuple[Sample, Annotation]], known: Mapping[str, Row]) -> list[str]:
    """Every sample that would change sides, in words."""
    before = {sample.id: known[sample.id] for sample, _ in pairs if sample.id in known}
    return [
        f"sample {sample.id} is given as {sample.split}, but is {before[sample.id].sample.split} since "
        f"{version_name(before[sample.id].part)}; a split is for ever"
        for sample, _ in pairs
        if sample.id in before and before[sample.id].sample.split != sample.split
    ]


def _contents(job: str, ids: Sequence[str], read_bytes: Callable[[str], bytes]) -> Iterator[tuple[str, bytes]]:
    """The bytes of each sample or template, in this order; a few are read at once."""
    with ThreadPoolExecutor(READERS) as pool:
        for start in range(0, len(ids), 4 * READERS):
            batch = ids[start : start + 4 * READERS]
            for name, content in zip(batch, pool.map(read_bytes, batch), strict=True):
                if sha256(content) != name:
                    raise DatasetRefused(
                        job, [f"the bytes of {name} have the hash {sha256(content)}; restore that object of the store"]
                    )
                yield name, content


def _numbers(repository: Repository, job: str) -> list[int]:
    return [major_version(tag) for tag in repository.tags(tag_name(job, "*"))]


def _read(repository: Repository, job: str, numbers: Sequence[int]) -> list[DatasetVersion]:
    tags = [tag_name(job, number) for number in numbers]
    contents = repository.read([(tag, f"data/{job}/dataset.json") for tag in tags])
    records = [json.loads(content) for content in contents]
    described = [DatasetVersion.from_json(record) for record in records]
    for tag, record, version in zip(tags, records, described, strict=True):
        if record["hash"] != version.hash:
            raise RegistryDamaged(f"the tag {tag} says that its hash is {record['hash']}, but it is {version.hash}")
    return described

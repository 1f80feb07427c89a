"""The walk from who serves to every byte it came from: promotions, models, datasets, parts, samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from data.archive import members, read_member
from data.dataset import Blob, DatasetVersion, Part
from data.manifest import Row, read_manifests
from data.registry import datasets, models, promotions
from data.registry.models import ModelVersion
from data.registry.promotions import Promotion
from data.registry.repository import Repository
from data.registry.storage import RegistryDamaged
from data.sample import sha256

OBJECTS = "dvc/files/md5/"


def check(repository: Repository, job: str) -> list[str]:
    """Everything that is wrong with the versions of a job, in words."""
    repository.fetch()
    # Under the lock, so that bytes that are pushed and not yet tagged are not taken for forgotten ones.
    with repository.lock():
        repository.fetch()
        stored = {item.key: item.size for item in repository.storage.store.list(OBJECTS)}
    try:
        data = datasets.versions(repository, job)
        learnt = models.versions(repository, job)
        referenced = _referenced(repository)
    except RegistryDamaged as error:
        return [str(error)]
    blobs = [blob for version in data[-1:] for blob in _blobs(version.parts)] + [model.archive for model in learnt]
    return [
        *_promotion_problems(repository, promotions.promotions(repository, job), learnt),
        *_model_problems(learnt, data),
        *_version_problems(data),
        *_pointer_problems(repository, job, data, learnt),
        *_content_problems(repository, data[-1:], blobs),
        *(
            f"no version names the object {key} ({size} bytes); it can be deleted"
            for key, size in stored.items()
            if key not in referenced
        ),
    ]


def _promotion_problems(
    repository: Repository, promoted: Sequence[Promotion], learnt: Sequence[ModelVersion]
) -> list[str]:
    job_tags = {tag.name: tag.commit for tag in repository.tags("*")}
    versions = {model.version: model for model in learnt}
    problems = _gaps("promotion", [promotion.number for promotion in promoted])
    runs = Counter(promotion.decision["run_id"] for promotion in promoted)
    problems += [f"the run {run} promoted {count} times" for run, count in runs.items() if count > 1]
    for promotion in promoted:
        name = f"promotion {promotion.number}"
        if promotion.version not in versions:
            problems.append(f"{name} is of {promotion.version}, which does not exist")
            continue
        promoted_commit = job_tags[promotions.tag_name(promotion.job, promotion.number)]
        number = int(promotion.version.removeprefix("v"))
        if promoted_commit != job_tags[models.tag_name(promotion.job, number)]:
            problems.append(f"{name} says {promotion.version}, but its tag is on another commit")
    return problems


def _model_problems(learnt: Sequence[ModelVersion], data: Sequence[DatasetVersion]) -> list[str]:
    hashes = {version.version: version.hash for version in data}
    earlier: set[str] = set()
    problems = _gaps("model version", [int(model.version.removeprefix("v")) for model in learnt])
    keys = Counter(model.metadata["run_key"] for model in learnt)
    problems += [f"the run key {key} has {count} model versions" for key, count in keys.items() if count > 1]
    for model in learnt:
        parent, dataset = model.metadata.get("parent"), model.metadata.get("dataset_version")
        if parent is not None and parent not in earlier:
            problems.append(f"model {model.version} started from {parent}, which does not exist before it")
        if dataset is not None and dataset not in hashes:
            problems.append(f"model {model.version} was trained on {dataset}, which does not exist")
        elif dataset is not None and model.metadata.get("dataset_hash") not in (None, hashes[dataset]):
            problems.append(f"model {model.version} was trained on {dataset} with another hash than it has")
        earlier.add(model.version)
    return problems


def _version_problems(data: Sequence[DatasetVersion]) -> list[str]:
    problems = _gaps("dataset version", [version.number for version in data])
    for before, version in zip([None, *data], data, strict=False):
        parent, parts = (before.version, before.parts) if before else (None, ())
        if version.parent != parent or version.parts[:-1] != parts:
            problems.append(f"dataset {version.version} does not continue {parent or 'nothing'}")
    return problems


def _pointer_problems(
    repository: Repository, job: str, data: Sequence[DatasetVersion], learnt: Sequence[ModelVersion]
) -> list[str]:
    """Where a `.dvc` file, by which a checkout gets its bytes, names other bytes than the version does."""
    places = {
        (models.tag_name(job, model.version.removeprefix("v")), f"models/{job}/model.tar.dvc"): model.archive
        for model in learnt
    }
    for version in data[-1:]:
        tag = datasets.tag_name(job, version.number)
        for part in version.parts:
            places[tag, f"data/{job}/{part.number}.parquet.dvc"] = part.manifest
            if part.shard:
                places[tag, f"data/{job}/{part.number}.tar.dvc"] = part.shard
    try:
        contents = repository.read(list(places))
    except RegistryDamaged as error:
        return [str(error)]
    return [
        f"{path} at {tag} names other bytes than the version does"
        for ((tag, path), blob), content in zip(places.items(), contents, strict=True)
        if yaml.safe_load(content)["outs"][0]["md5"] != blob.md5
    ]


def _content_problems(repository: Repository, newest: Sequence[DatasetVersion], blobs: Iterable[Blob]) -> list[str]:
    """What is wrong with the bytes in the store, and with what manifests and shards say of each other."""
    problems = []
    with TemporaryDirectory() as folder:
        files = {}
        for blob in blobs:
            path = Path(folder) / blob.sha256
            try:
                repository.storage.download(blob, path)
                files[blob] = path
            except RegistryDamaged as error:
                problems.append(str(error))
        for version in newest:
            if all(blob in files for blob in _blobs(version.parts)):
                problems += _dataset_problems(version, files)
    return problems


def _dataset_problems(version: DatasetVersion, files: dict[Blob, Path]) -> list[str]:
    problems = []
    holders: dict[str, int] = {}
    for part, path in [(part, files[part.shard]) for part in version.parts if part.shard]:
        for name, extent in members(path).items():
            if name in holders:
                problems.append(f"sample {name} is in the shards {holders[name]} and {part.number}")
            if sha256(read_member(path, extent)) != name:
                problems.append(f"the bytes of sample {name} in shard {part.number} have another hash")
            holders[name] = part.number
    counts: Counter[str] = Counter()
    for record in read_manifests([files[part.manifest] for part in version.parts]).to_pylist():
        row = Row.from_json(record)
        counts[row.sample.split] += 1
        if row.annotation.id != record["annotation_id"]:
            problems.append(f"the annotation of sample {row.sample.id} is not the one its row names")
        for image_id, shard in ((row.sample.id, row.shard), (row.sample.template_id, row.template_shard)):
            if image_id is not None and holders.get(image_id) != shard:
                problems.append(f"{image_id} is not in shard {shard}, where its row says it is")
    if (counts["train"], counts["holdout"]) != (version.train_count, version.holdout_count):
        problems.append(
            f"dataset {version.version} says {version.train_count} train and {version.holdout_count} holdout samples, "
            f"but has {counts['train']} and {counts['holdout']}"
        )
    return problems


def _referenced(repository: Repository) -> set[str]:
    """The key of every object that a version of any job names."""
    keys = set()
    for job in {tag.name.partition("@v")[0] for tag in repository.tags("*@v*")}:
        if job.endswith("-data"):
            for version in datasets.versions(repository, job.removesuffix("-data"))[-1:]:
                keys |= {blob.key for blob in _blobs(version.parts)}
        else:
            keys |= {model.key for model in models.versions(repository, job)}
    return keys


def _blobs(parts: Iterable[Part]) -> list[Blob]:
    return [blob for part in parts for blob in (part.manifest, part.shard) if blob is not None]


def _gaps(kind: str, numbers: Sequence[int]) -> list[str]:
    expected = range(1, len(numbers) + 1)
    return [] if list(numbers) == list(expected) else [f"{kind} numbers are {list(numbers)}, not 1 to {len(numbers)}"]

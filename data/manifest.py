"""A manifest: a Parquet file with one row for each sample that a dataset version added, labelled anew or removed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.sample import Annotation, Box, Sample

if TYPE_CHECKING:
    import pyarrow


@dataclass(frozen=True, slots=True)
class Row:
    """What a dataset says about one sample since the version of number `part`.

    `shard` is the number of the version whose shard has the sample's bytes, `template_shard` that of its template's.
    """

    sample: Sample
    annotation: Annotation
    part: int
    shard: int
    template_shard: int | None = None
    removed: bool = False

    def to_json(self) -> dict[str, Any]:
        """The columns of the manifest."""
        sample, annotation = self.sample, self.annotation
        return {
            "sample_id": sample.id,
            "split": sample.split,
            "domain": sample.domain,
            "source": sample.source,
            "width": sample.width,
            "height": sample.height,
            "template_id": sample.template_id,
            "shard": self.shard,
            "template_shard": self.template_shard,
            "annotation_id": annotation.id,
            "annotator": annotation.annotator,
            "labelled_at": annotation.updated_at,
            "reference": annotation.reference,
            "classes": None if annotation.classes is None else list(annotation.classes),
            "boxes": sorted(
                (box.without_score().to_json() for box in annotation.boxes),
                key=lambda box: (box["x1"], box["y1"], box["x2"], box["y2"], box["label"]),
            ),
            "removed": self.removed,
            "part": self.part,
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Row:
        """The inverse of `to_json`, but for the order of the boxes."""
        return cls(
            sample=Sample(
                id=record["sample_id"],
                width=record["width"],
                height=record["height"],
                domain=record["domain"],
                source=record["source"],
                split=record["split"],
                template_id=record["template_id"],
            ),
            annotation=Annotation(
                sample_id=record["sample_id"],
                boxes=tuple(Box.from_json(box) for box in record["boxes"]),
                annotator=record["annotator"],
                updated_at=record["labelled_at"],
                reference=record["reference"],
                classes=None if record["classes"] is None else tuple(record["classes"]),
            ),
            part=record["part"],
            shard=record["shard"],
            template_shard=record["template_shard"],
            removed=record["removed"],
        )


def write_manifest(path: Path, rows: Iterable[Row]) -> None:
    """Write `rows` in the order of their sample ids; the same rows are the same bytes."""
    import pyarrow
    from pyarrow import parquet

    records = sorted((row.to_json() for row in rows), key=lambda record: record["sample_id"])
    table = pyarrow.Table.from_pylist(records, schema=_schema())
    parquet.write_table(table, path, compression="zstd", store_schema=False)


def read_manifests(paths: Sequence[Path]) -> pyarrow.Table:
    """The newest row of every sample of these manifests, in the order of their sample ids, removed ones left out."""
    import pyarrow

    merged = _newest(_dataset(paths).to_table())
    return merged.filter(pyarrow.compute.invert(merged["removed"])).sort_by("sample_id").combine_chunks()


def find_rows(paths: Sequence[Path], sample_ids: Collection[str]) -> dict[str, Row]:
    """The newest row of each of these samples that a manifest knows, removed or not, by sample id."""
    found = _dataset(paths).to_table(filter=_among("sample_id", sample_ids))
    return {record["sample_id"]: Row.from_json(record) for record in _newest(found).to_pylist()}


def find_bytes(paths: Sequence[Path], ids: Collection[str]) -> dict[str, int]:
    """The number of the shard that has the bytes of each of these samples or templates, as far as one has them."""
    shards: dict[str, int] = {}
    for name, shard in (("sample_id", "shard"), ("template_id", "template_shard")):
        found = _dataset(paths).to_table(columns=[name, shard], filter=_among(name, ids))
        shards.update(zip(found[name].to_pylist(), found[shard].to_pylist(), strict=True))
    return shards


def _among(column: str, values: Collection[str]) -> pyarrow.compute.Expression:
    import pyarrow
    from pyarrow import compute

    return compute.field(column).isin(pyarrow.array(list(values), pyarrow.string()))


def _newest(table: pyarrow.Table) -> pyarrow.Table:
    """The row of the highest part for each sample."""
    import numpy as np
    import pyarrow

    ordered = table.sort_by("part")
    places = ordered.select(["sample_id"]).append_column("place", pyarrow.array(np.arange(ordered.num_rows)))
    return ordered.take(places.group_by("sample_id").aggregate([("place", "max")])["place_max"])


def _dataset(paths: Sequence[Path]) -> Any:
    from pyarrow import dataset

    return dataset.dataset([str(path) for path in paths], schema=_schema(), format="parquet")


def _schema() -> pyarrow.Schema:
    import pyarrow

    text, number = pyarrow.string(), pyarrow.int32()
    corners = [(corner, pyarrow.float64()) for corner in ("x1", "y1", "x2", "y2")]
    return pyarrow.schema(
        [
            ("sample_id", text),
            ("split", text),
            ("domain", text),
            ("source", text),
            ("width", number),
            ("height", number),
            ("template_id", text),
            ("shard", number),
            ("template_shard", number),
            ("annotation_id", text),
            ("annotator", text),
            ("labelled_at", text),
            ("reference", text),
            ("boxes", pyarrow.list_(pyarrow.struct([*corners, ("label", text)]))),
            ("removed", pyarrow.bool_()),
            ("part", number),
            ("classes", pyarrow.list_(text)),
        ]
    )

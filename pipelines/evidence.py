"""Evidence: what a person sees who is asked whether a candidate may serve, in words, tables and pictures."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from PIL import Image, ImageDraw, ImageFont

from data.sample import Box, Example, sha256
from models.metrics import Counts, EvaluationReport, judged
from pipelines.evaluate import Comparison
from pipelines.job import Job
from pipelines.workspace import Workspace

PICTURES = 3
SIDE = 600
TEXT = 20
INK = "#222222"
COLOURS = ("#4363d8", "#e6194b", "#f58231", "#911eb4", "#3cb44b", "#008080", "#9a6324", "#808000")
MARKDOWN = re.compile(r"([\\`*_\[\]<>|~#])")


@dataclass(frozen=True)
class Evidence:
    """A question in one line, and what bears on it as Markdown."""

    subject: str
    body: str


@dataclass(frozen=True)
class Changed:
    """An image of the holdout, and how many boxes of it each model has wrong or missed; `before` is the served one."""

    sample_id: str
    before: int | None
    after: int


def evidence_key(job: str, run_id: str, name: str) -> str:
    """Where a picture that a run shows to people lies in the store."""
    return f"evidence/{job}/{sha256(run_id.encode())}/{name}"


def evidence_address(job: str, run_id: str, name: str) -> str:
    """Where Ratchet's page in Airflow shows that picture, relative to Airflow's address."""
    return f"ratchet/evidence/{quote(job)}/{quote(run_id, safe='')}/{name}"


def gather(workspace: Workspace, job: Job, run_id: str, comparison: Comparison, reasons: Sequence[str]) -> Evidence:
    """What speaks for and against letting the candidate serve; `reasons` are the rule's. Stores its pictures.

    The same run gets the same evidence.
    """
    candidate, served = comparison.candidate_version, comparison.served_version
    parent = f"trained from {comparison.parent_version}" if comparison.parent_version else "the first model"
    against = f"**{served}**, which serves now" if served else "nothing, for nothing serves yet"
    images = comparison.candidate.images
    parts = [
        f"**{candidate}** ({parent}) is compared with {against}, on the {images} holdout images of dataset version "
        f"**{comparison.dataset_version}**, the same for both.",
        "The job's rule would let it serve:",
        "\n".join(f"- {_escaped(reason)}" for reason in reasons),
        _metrics(comparison),
        _classes(job, comparison),
        *_pictures(workspace, job, run_id, comparison),
    ]
    subject = f"Let {candidate} of {job.name} serve" + (f" instead of {served}?" if served else "?")
    return Evidence(subject, "\n\n".join(part for part in parts if part))


def most_changed(
    before: EvaluationReport | None, after: EvaluationReport, count: int = PICTURES, gains: bool = False
) -> list[Changed]:
    """The images in which the number of mistakes changed most; with `gains`, those in which it fell most."""
    found = [
        Changed(sample, None if before is None else _mistakes(before.per_image[sample]), _mistakes(counts))
        for sample, counts in after.per_image.items()
    ]

    def change(image: Changed) -> int:
        gain = (0 if image.before is None else image.before) - image.after
        return gain if gains else abs(gain)

    return sorted(found, key=lambda image: (-change(image), image.sample_id))[:count]


def draw(example: Example, boxes: Sequence[Box], classes: Sequence[str]) -> bytes:
    """An image with these boxes and their labels, its longer side `SIDE` pixels, as a PNG."""
    height, width = example.image.shape
    scale = SIDE / max(width, height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    font = ImageFont.load_default(TEXT)
    # Lighter, so that the boxes stand out.
    board = Image.fromarray(example.image).resize(size).point(lambda grey: 100 + grey * 155 // 255).convert("RGB")
    pen = ImageDraw.Draw(board)
    for box in boxes:
        colour = COLOURS[list(classes).index(box.label) % len(COLOURS)]
        corners = (box.x1 * scale, box.y1 * scale, box.x2 * scale - 1, box.y2 * scale - 1)
        pen.rectangle(corners, outline=colour, width=3)
        label = box.label if box.score is None else f"{box.label} {box.score:.2f}"
        pen.text((corners[0] + 4, max(0, corners[1] - TEXT - 4)), label, colour, font)
    content = io.BytesIO()
    board.save(content, "PNG")
    return content.getvalue()


def found_in(workspace: Workspace, job: str, version: str, examples: Sequence[Example]) -> list[tuple[Box, ...]]:
    """What a stored model version finds in each image, of the classes it was labelled for, from its threshold on."""
    predictor = workspace.predictor(job, version)
    return [
        tuple(box for box in judged(boxes, example.classes) if (box.score or 0) >= predictor.threshold)
        for example, boxes in zip(examples, predictor.predict(examples), strict=True)
    ]


def _metrics(comparison: Comparison) -> str:
    old, deltas = comparison.served, comparison.deltas()
    rows = [
        [
            name,
            *([_shown(old.metrics.get(name))] if old else []),
            _shown(value),
            *([_delta(deltas.get(name))] if old else []),
        ]
        for name, value in comparison.candidate.metrics.items()
    ]
    return _table(["metric", *_heads(comparison)], rows)


def _classes(job: Job, comparison: Comparison) -> str:
    """The metric of the floors in each class, before and after, and how far it may fall there."""
    floors, old = job.deploy_spec.floors, comparison.served
    if old is None or floors.metric not in old.per_class:
        return ""
    rows = []
    for name, before in old.per_class[floors.metric].items():
        after = comparison.candidate.per_class.get(floors.metric, {}).get(name)
        support = comparison.candidate.support.get(name, 0)
        delta = None if before is None or after is None else after - before
        floor = (
            f"{floors.classes:g}" if support >= floors.min_support else f"not judged below {floors.min_support} boxes"
        )
        rows.append([_escaped(name), str(support), _shown(before), _shown(after), _delta(delta), floor])
    return _table([f"{_escaped(floors.metric)} of class", "boxes", *_heads(comparison), "may fall by"], rows)


def _heads(comparison: Comparison) -> list[str]:
    if comparison.served is None:
        return [f"{comparison.candidate_version}, the candidate"]
    return [f"{comparison.served_version}, serving", f"{comparison.candidate_version}, the candidate", "delta"]


def _pictures(workspace: Workspace, job: Job, run_id: str, comparison: Comparison) -> list[str]:
    """A table of the images in which most changed; its pictures are drawn and stored."""
    dataset = workspace.registry.dataset(job.name, comparison.dataset_version)
    holdout = dataset.examples("holdout")
    places = {row.sample.id: (place, row.sample.source) for place, row in enumerate(dataset.rows("holdout"))}
    changed = [image for image in most_changed(comparison.served, comparison.candidate) if image.before != image.after]
    if not changed:
        return ["On no board has either model more mistakes than the other."]
    examples = [holdout[places[image.sample_id][0]] for image in changed]
    versions = [version for version in (comparison.served_version, comparison.candidate_version) if version]
    finds = {version: found_in(workspace, job.name, version, examples) for version in versions}
    rows = []
    for number, (image, example) in enumerate(zip(changed, examples, strict=True)):
        source = _escaped(places[image.sample_id][1] or image.sample_id[:12])
        wrong = ([] if image.before is None else [image.before]) + [image.after]
        shown = [("labelled", source, example.boxes)]
        shown += [
            (version, f"{count} wrong or missed", finds[version][number])
            for version, count in zip(versions, wrong, strict=True)
        ]
        cells = []
        for whose, words, boxes in shown:
            name = f"board-{number + 1}-{whose}.png"
            workspace.store.put(evidence_key(job.name, run_id, name), draw(example, boxes, job.classes), "image/png")
            address = evidence_address(job.name, run_id, name)
            cells.append(f"{words} [![{len(boxes)} boxes, {whose}]({address})]({address})")
        rows.append(cells)
    return ["The boards that changed most:", _table(["labelled", *(f"{version} finds" for version in versions)], rows)]


def _mistakes(counts: Mapping[str, Counts]) -> int:
    return sum(count.fp + count.fn for count in counts.values())


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _delta(value: float | None) -> str:
    return "-" if value is None else f"{value:+.3f}"


def _escaped(text: str) -> str:
    """The text as Markdown that shows it to the letter."""
    return MARKDOWN.sub(r"\\\1", text)

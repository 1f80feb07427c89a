"""By whose prediction a sample was chosen; counts of what is pending and chosen; spendings and requests."""

from __future__ import annotations

import json
from collections import Counter

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sample", sa.Column("chosen", sa.BigInteger()))
    op.add_column("sample", sa.Column("model_version", sa.Text()))
    op.execute("UPDATE sample SET chosen = arrived WHERE miner IS NOT NULL")
    # What was drawn by lot stays without one: its labels were asked for last, so that no estimate may rest on them.
    op.execute(
        "UPDATE sample SET model_version = (SELECT prediction.model_version FROM prediction "
        "WHERE prediction.job = sample.job AND prediction.sample_id = sample.id ORDER BY number DESC LIMIT 1) "
        "WHERE miner <> 'random'"
    )
    op.drop_index("ix_sample_selected", "sample")
    op.create_index(
        "ix_sample_drawn",
        "sample",
        ["job", "miner", "state", "model_version", "arrived"],
        sqlite_where=sa.text("miner = 'random' AND state = 'labelled'"),
        postgresql_where=sa.text("miner = 'random' AND state = 'labelled'"),
    )
    op.create_index(
        "ix_sample_chosen",
        "sample",
        ["job", "chosen"],
        sqlite_where=sa.text("miner <> 'random'"),
        postgresql_where=sa.text("miner <> 'random'"),
    )
    op.create_index("ix_training_attempt", "training", ["job", "run_id", "id"])
    op.create_index(
        "ix_training_finished",
        "training",
        ["job", "state", "id"],
        sqlite_where=sa.text("state = 'finished'"),
        postgresql_where=sa.text("state = 'finished'"),
    )
    op.create_table(
        "request",
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("verb", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("bypass", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("parameters", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("job", "verb", "run_id", name="pk_request"),
    )
    op.create_index("ix_request_number", "request", ["job", "number"])
    op.create_table(
        "spending",
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("holdout", sa.Text(), nullable=False),
        sa.Column("comparison", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("alpha", sa.Double(), nullable=False),
        sa.Column("left", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("job", "holdout", "comparison", name="pk_spending"),
    )
    op.create_index("ix_spending_number", "spending", ["job", "holdout", "number"], unique=True)
    _count()


def _count() -> None:
    """Begin the tallies of what is pending and of what was chosen with what there is."""
    connection = op.get_bind()
    counted: Counter[tuple[str, str, str, str]] = Counter()
    chosen = "SELECT job, miner, split, count(*) FROM sample WHERE miner IS NOT NULL GROUP BY job, miner, split"
    for job, miner, split, count in connection.execute(sa.text(chosen)):
        counted[job, "miner", miner, split] += count
    pending = (
        "SELECT sample.job, annotation.boxes FROM sample JOIN annotation "
        "ON annotation.job = sample.job AND annotation.id = sample.annotation_id WHERE sample.pending"
    )
    for job, boxes in connection.execute(sa.text(pending)):
        counted[job, "pending", "", "train"] += 1
        for label in {box["label"] for box in json.loads(boxes)}:
            counted[job, "pending class", label, "train"] += 1
    rows = [
        {"job": job, "kind": kind, "name": name, "split": split, "count": count}
        for (job, kind, name, split), count in counted.items()
    ]
    if rows:
        tallies = sa.table("tally", *(sa.column(name) for name in ("job", "kind", "name", "split", "count")))
        op.bulk_insert(tallies, rows)

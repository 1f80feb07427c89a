"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "decision",
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("reasons", sa.Text(), nullable=False),
        sa.Column("candidate", sa.Text()),
        sa.Column("served", sa.Text()),
        sa.Column("dataset_version", sa.Text()),
        sa.Column("metrics", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("job", "kind", "run_id", name="pk_decision"),
    )
    op.create_index("ix_decision_number", "decision", ["job", "number"])
    op.create_table(
        "job",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_job"),
    )
    op.create_table(
        "lease",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("expires", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_lease"),
    )
    op.create_table(
        "mark",
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("job", "name", name="pk_mark"),
    )
    op.create_table(
        "refusal",
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("problems", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("job", "source", "sha256", name="pk_refusal"),
    )
    op.create_index("ix_refusal_number", "refusal", ["job", "number"])
    op.create_table(
        "sample",
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("arrived", sa.BigInteger(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("split", sa.Text(), nullable=False),
        sa.Column("template_id", sa.Text()),
        sa.Column("difference_hash", sa.BigInteger(), nullable=False),
        sa.Column("band_0", sa.Integer(), nullable=False),
        sa.Column("band_1", sa.Integer(), nullable=False),
        sa.Column("band_2", sa.Integer(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("miner", sa.Text()),
        sa.Column("probability", sa.Double()),
        sa.Column("hardness", sa.Double()),
        sa.Column("task_id", sa.BigInteger()),
        sa.Column("annotation_id", sa.Text()),
        sa.Column("pending", sa.Boolean(), nullable=False),
        sa.Column("versioned_id", sa.Text()),
        sa.Column("unversioned", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("job", "id", name="pk_sample"),
    )
    op.create_index("ix_sample_arrived", "sample", ["job", "arrived"])
    op.create_index("ix_sample_band_0", "sample", ["job", "band_0", "arrived"])
    op.create_index("ix_sample_band_1", "sample", ["job", "band_1", "arrived"])
    op.create_index("ix_sample_band_2", "sample", ["job", "band_2", "arrived"])
    op.create_index("ix_sample_difference_hash", "sample", ["job", "difference_hash", "arrived"])
    op.create_index(
        "ix_sample_pending",
        "sample",
        ["job", "pending", "arrived"],
        sqlite_where=sa.text("pending = 1"),
        postgresql_where=sa.text("pending"),
    )
    op.create_index(
        "ix_sample_selected",
        "sample",
        ["job", "state", sa.text("hardness DESC"), "arrived"],
        sqlite_where=sa.text("state = 'selected'"),
        postgresql_where=sa.text("state = 'selected'"),
    )
    op.create_index("ix_sample_state", "sample", ["job", "state", "arrived"])
    op.create_index("ix_sample_task", "sample", ["job", "task_id"], unique=True)
    op.create_index(
        "ix_sample_unversioned",
        "sample",
        ["job", "unversioned", "arrived"],
        sqlite_where=sa.text("unversioned = 1"),
        postgresql_where=sa.text("unversioned"),
    )
    op.create_table(
        "tally",
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("split", sa.Text(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("job", "kind", "name", "split", name="pk_tally"),
    )
    op.create_table(
        "training",
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("samples", sa.Integer(), nullable=False),
        sa.Column("claimed_at", sa.Text(), nullable=False),
        sa.Column("ended_at", sa.Text()),
        sa.Column("silence_seconds", sa.Double(), nullable=False),
        sa.Column("heartbeat", sa.Double(), nullable=False),
        sa.Column("dataset_version", sa.Text()),
        sa.Column("candidate", sa.Text()),
        sa.Column("reason", sa.Text()),
        sa.PrimaryKeyConstraint("job", "id", name="pk_training"),
    )
    op.create_index(
        "ix_training_active",
        "training",
        ["job"],
        unique=True,
        sqlite_where=sa.text("state = 'active'"),
        postgresql_where=sa.text("state = 'active'"),
    )
    op.create_index(
        "ix_training_run",
        "training",
        ["job", "run_id"],
        unique=True,
        sqlite_where=sa.text("state <> 'failed'"),
        postgresql_where=sa.text("state <> 'failed'"),
    )
    op.create_table(
        "annotation",
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("sample_id", sa.Text(), nullable=False),
        sa.Column("annotator", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("boxes", sa.Text(), nullable=False),
        sa.Column("problems", sa.Text(), nullable=False),
        sa.Column("training_id", sa.Integer()),
        sa.ForeignKeyConstraint(["job", "sample_id"], ["sample.job", "sample.id"], name="fk_annotation_sample"),
        sa.ForeignKeyConstraint(["job", "training_id"], ["training.job", "training.id"], name="fk_annotation_training"),
        sa.PrimaryKeyConstraint("job", "id", name="pk_annotation"),
    )
    op.create_index("ix_annotation_sample", "annotation", ["job", "sample_id"])
    op.create_index("ix_annotation_training", "annotation", ["job", "training_id"])
    op.create_table(
        "prediction",
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("sample_id", sa.Text(), nullable=False),
        sa.Column("model_version", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("boxes", sa.Text(), nullable=False),
        sa.Column("hardness", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["job", "sample_id"], ["sample.job", "sample.id"], name="fk_prediction_sample"),
        sa.PrimaryKeyConstraint("job", "sample_id", "model_version", name="pk_prediction"),
    )
    op.create_table(
        "word",
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("sample_id", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.Column("annotation_id", sa.Text()),
        sa.Column("withdrawn", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["job", "sample_id"], ["sample.job", "sample.id"], name="fk_word_sample"),
        sa.PrimaryKeyConstraint("job", "sample_id", "reference", name="pk_word"),
    )

"""The ledger's tables; `data/migrations` creates them."""

import json
from typing import Any

import sqlalchemy as sa


class Json(sa.types.TypeDecorator[Any]):
    """A value kept as JSON text, NaN included, which the JSON type of PostgreSQL refuses."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> str | None:  # noqa: ARG002
        return None if value is None else json.dumps(value)

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> Any:  # noqa: ARG002
        return None if value is None else json.loads(value)


metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# Every transaction that writes to a job takes the next number of its `sequence`; whoever holds this row is its only
# writer.
jobs = sa.Table(
    "job",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("sequence", sa.BigInteger, nullable=False),
)

samples = sa.Table(
    "sample",
    metadata,
    sa.Column("job", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("arrived", sa.BigInteger, nullable=False),
    sa.Column("width", sa.Integer, nullable=False),
    sa.Column("height", sa.Integer, nullable=False),
    sa.Column("domain", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("split", sa.Text, nullable=False),
    sa.Column("template_id", sa.Text),
    sa.Column("difference_hash", sa.BigInteger, nullable=False),
    sa.Column("band_0", sa.Integer, nullable=False),
    sa.Column("band_1", sa.Integer, nullable=False),
    sa.Column("band_2", sa.Integer, nullable=False),
    # How far the machines brought the sample; `state` is what people said about it, or else the stage.
    sa.Column("stage", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("miner", sa.Text),
    sa.Column("probability", sa.Double),
    sa.Column("hardness", sa.Double),
    # The number under which it was chosen for labelling, and the model version whose prediction it was chosen by.
    sa.Column("chosen", sa.BigInteger),
    sa.Column("model_version", sa.Text),
    sa.Column("task_id", sa.BigInteger),
    sa.Column("annotation_id", sa.Text),
    # Labelled for training, by an annotation that no training holds or has used.
    sa.Column("pending", sa.Boolean, nullable=False),
    # The annotation that the newest dataset version has of it, and whether that is not its valid annotation of now.
    sa.Column("versioned_id", sa.Text),
    sa.Column("unversioned", sa.Boolean, nullable=False),
)
sa.Index("ix_sample_arrived", samples.c.job, samples.c.arrived)
sa.Index("ix_sample_state", samples.c.job, samples.c.state, samples.c.arrived)
sa.Index("ix_sample_task", samples.c.job, samples.c.task_id, unique=True)
sa.Index("ix_sample_difference_hash", samples.c.job, samples.c.difference_hash, samples.c.arrived)
for band in (samples.c.band_0, samples.c.band_1, samples.c.band_2):
    sa.Index(f"ix_sample_{band.name}", samples.c.job, band, samples.c.arrived)
# The columns of the condition stand in these indexes too, or SQLite might prefer another one.
for flag in (samples.c.pending, samples.c.unversioned):
    sa.Index(
        f"ix_sample_{flag.name}",
        samples.c.job,
        flag,
        samples.c.arrived,
        sqlite_where=sa.text(f"{flag.name} = 1"),
        postgresql_where=sa.text(flag.name),
    )
sa.Index(
    "ix_sample_drawn",
    samples.c.job,
    samples.c.miner,
    samples.c.state,
    samples.c.model_version,
    samples.c.arrived,
    sqlite_where=sa.text("miner = 'random' AND state = 'labelled'"),
    postgresql_where=sa.text("miner = 'random' AND state = 'labelled'"),
)
sa.Index(
    "ix_sample_chosen",
    samples.c.job,
    samples.c.chosen,
    sqlite_where=sa.text("miner <> 'random'"),
    postgresql_where=sa.text("miner <> 'random'"),
)

refusals = sa.Table(
    "refusal",
    metadata,
    sa.Column("job", sa.Text, primary_key=True),
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("sha256", sa.Text, primary_key=True),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("problems", Json, nullable=False),
)
sa.Index("ix_refusal_number", refusals.c.job, refusals.c.number)


def _of_a_sample() -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["job", "sample_id"], ["sample.job", "sample.id"])


predictions = sa.Table(
    "prediction",
    metadata,
    sa.Column("job", sa.Text, primary_key=True),
    sa.Column("sample_id", sa.Text, primary_key=True),
    sa.Column("model_version", sa.Text, primary_key=True),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("boxes", Json, nullable=False),
    sa.Column("hardness", sa.Double, nullable=False),
    _of_a_sample(),
)

trainings = sa.Table(
    "training",
    metadata,
    sa.Column("job", sa.Text, primary_key=True),
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("samples", sa.Integer, nullable=False),
    sa.Column("claimed_at", sa.Text, nullable=False),
    sa.Column("ended_at", sa.Text),
    sa.Column("silence_seconds", sa.Double, nullable=False),
    sa.Column("heartbeat", sa.Double, nullable=False),
    sa.Column("dataset_version", sa.Text),
    sa.Column("candidate", sa.Text),
    sa.Column("reason", sa.Text),
)
sa.Index(
    "ix_training_active",
    trainings.c.job,
    unique=True,
    sqlite_where=sa.text("state = 'active'"),
    postgresql_where=sa.text("state = 'active'"),
)
sa.Index(
    "ix_training_run",
    trainings.c.job,
    trainings.c.run_id,
    unique=True,
    sqlite_where=sa.text("state <> 'failed'"),
    postgresql_where=sa.text("state <> 'failed'"),
)
sa.Index("ix_training_attempt", trainings.c.job, trainings.c.run_id, trainings.c.id)
sa.Index(
    "ix_training_finished",
    trainings.c.job,
    trainings.c.state,
    trainings.c.id,
    sqlite_where=sa.text("state = 'finished'"),
    postgresql_where=sa.text("state = 'finished'"),
)

# What was ever said about a sample; `training_id` is the training that holds or has used exactly this.
annotations = sa.Table(
    "annotation",
    metadata,
    sa.Column("job", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("sample_id", sa.Text, nullable=False),
    sa.Column("annotator", sa.Text, nullable=False),
    sa.Column("updated_at", sa.Text, nullable=False),
    sa.Column("reference", sa.Text, nullable=False),
    sa.Column("boxes", Json, nullable=False),
    sa.Column("problems", Json, nullable=False),
    sa.Column("training_id", sa.Integer),
    # What its annotator was asked about; NULL for all classes of the job, whichever they are.
    sa.Column("classes", Json),
    _of_a_sample(),
    sa.ForeignKeyConstraint(["job", "training_id"], ["training.job", "training.id"]),
)
sa.Index("ix_annotation_sample", annotations.c.job, annotations.c.sample_id)
sa.Index("ix_annotation_training", annotations.c.job, annotations.c.training_id)

# The newest that stands under one reference of the labelling tool: an annotation, or a skip where there is none.
words = sa.Table(
    "word",
    metadata,
    sa.Column("job", sa.Text, primary_key=True),
    sa.Column("sample_id", sa.Text, primary_key=True),
    sa.Column("reference", sa.Text, primary_key=True),
    sa.Column("at", sa.Text, nullable=False),
    sa.Column("annotation_id", sa.Text),
    sa.Column("withdrawn", sa.Boolean, nullable=False),
    _of_a_sample(),
)

# Running counts, changed in the transaction that changes what they count.
tallies = sa.Table(
    "tally",
    metadata,
    sa.Column("job", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("split", sa.Text, primary_key=True),
    sa.Column("count", sa.BigInteger, nullable=False),
)

decisions = sa.Table(
    "decision",
    metadata,
    sa.Column("job", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("run_id", sa.Text, primary_key=True),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("verdict", sa.Text, nullable=False),
    sa.Column("reasons", Json, nullable=False),
    sa.Column("candidate", sa.Text),
    sa.Column("served", sa.Text),
    sa.Column("dataset_version", sa.Text),
    sa.Column("metrics", Json, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("at", sa.Text, nullable=False),
)
sa.Index("ix_decision_number", decisions.c.job, decisions.c.number)

requests = sa.Table(
    "request",
    metadata,
    sa.Column("job", sa.Text, primary_key=True),
    sa.Column("verb", sa.Text, primary_key=True),
    sa.Column("run_id", sa.Text, primary_key=True),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("bypass", Json, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("parameters", Json, nullable=False),
    sa.Column("at", sa.Text, nullable=False),
)
sa.Index("ix_request_number", requests.c.job, requests.c.number)

spendings = sa.Table(
    "spending",
    metadata,
    sa.Column("job", sa.Text, primary_key=True),
    sa.Column("holdout", sa.Text, primary_key=True),
    sa.Column("comparison", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("alpha", sa.Double, nullable=False),
    sa.Column("left", sa.Double, nullable=False),
)
sa.Index("ix_spending_number", spendings.c.job, spendings.c.holdout, spendings.c.number, unique=True)

marks = sa.Table(
    "mark",
    metadata,
    sa.Column("job", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

leases = sa.Table(
    "lease",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("token", sa.Text, nullable=False),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("expires", sa.Double, nullable=False),
)

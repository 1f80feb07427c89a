"""The ledger: what state each sample is in, what waits for a training, what was decided. One SQL database."""

from __future__ import annotations

from data.ledger.arrivals import Arrivals
from data.ledger.journal import Journal
from data.ledger.labels import Labels
from data.ledger.leases import Lease, Leases
from data.ledger.records import (
    Decision,
    LeaseBusy,
    LeaseLost,
    LedgerRefused,
    Quarantined,
    Refusal,
    SampleState,
    SampleUnknown,
    Selected,
    Training,
    TrainingActive,
    TrainingLost,
)
from data.ledger.trainings import Trainings

__all__ = [
    "Decision",
    "Lease",
    "LeaseBusy",
    "LeaseLost",
    "Ledger",
    "LedgerRefused",
    "Quarantined",
    "Refusal",
    "SampleState",
    "SampleUnknown",
    "Selected",
    "Training",
    "TrainingActive",
    "TrainingLost",
]


class Ledger(Arrivals, Labels, Trainings, Journal, Leases):
    """The ledger in the SQL database at `url`; call `upgrade` once before using it.

    Every method is one transaction, takes the job's name, and changes nothing when it is called again. A state is
    `arrived → passed | selected → pushed`, or what people said since: `labelled`, `quarantined` or `skipped`.
    """

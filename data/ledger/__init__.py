"""The ledger: what state each sample is in, what waits for a training, what was decided. One SQL database."""

from __future__ import annotations

from data.ledger.arrivals import Arrivals
from data.ledger.choices import LOT, Choices
from data.ledger.journal import Journal
from data.ledger.labels import Labels
from data.ledger.leases import Lease, Leases
from data.ledger.records import (
    Chosen,
    Decision,
    Drawn,
    LeaseBusy,
    LeaseLost,
    LedgerRefused,
    Look,
    Quarantined,
    Refusal,
    Request,
    SampleState,
    SampleUnknown,
    Selected,
    Spending,
    Training,
    TrainingActive,
    TrainingLost,
)
from data.ledger.spendings import Spendings
from data.ledger.trainings import Trainings

__all__ = [
    "LOT",
    "Chosen",
    "Decision",
    "Drawn",
    "Lease",
    "LeaseBusy",
    "LeaseLost",
    "Ledger",
    "LedgerRefused",
    "Look",
    "Quarantined",
    "Refusal",
    "Request",
    "SampleState",
    "SampleUnknown",
    "Selected",
    "Spending",
    "Training",
    "TrainingActive",
    "TrainingLost",
]


class Ledger(Arrivals, Choices, Labels, Trainings, Journal, Spendings, Leases):
    """The ledger in the SQL database at `url`; call `upgrade` once before using it.

    Every method is one transaction, takes the job's name, and changes nothing when it is called again. A state is
    `arrived → passed | selected → pushed`, or what people said since: `labelled`, `quarantined` or `skipped`.
    """

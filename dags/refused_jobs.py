"""Brings job files that cannot be used into Airflow's list of import errors; there is no DAG in here.

Airflow takes away every DAG of a file that has an import error, so the other jobs' are in a file of their own.
"""

from __future__ import annotations

from ratchet_airflow.jobs import read_jobs

_, refusals = read_jobs()
if refusals:
    raise ValueError("\n".join(str(refusal) for refusal in refusals))

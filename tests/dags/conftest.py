"""Airflow's imports with a folder of their own."""

from __future__ import annotations

from tests.airflow_home import prepare

prepare()

"""Airflow's face: operators that run a step, sensors that wait at a gate, triggers that watch for work."""

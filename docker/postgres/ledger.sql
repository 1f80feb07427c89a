-- Airflow's own database is made by the image; the ledger has its own beside it.
CREATE DATABASE ledger;

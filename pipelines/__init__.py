"""What happens: one verb a module, the job's specification, the gates and the command line. Never imports Airflow."""

"""Tests of the 51.x lessons in a real Airflow, and by `airflow dags test`."""

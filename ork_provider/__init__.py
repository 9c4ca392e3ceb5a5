"""Deferrable Airflow operators that hand a job to any service and give the worker back."""

__version__ = "0.1.0"

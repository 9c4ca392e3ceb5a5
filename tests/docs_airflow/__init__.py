"""What the pages say of a deferred task's life, asked of a real Airflow in which tasks are deferred."""

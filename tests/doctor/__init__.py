"""`airflow ork ...` in deployments that are healthy, and in others that are broken in one way each."""

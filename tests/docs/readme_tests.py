"""The ten lines of the README run as they are; test_examples.py starts this beside user_tests.py."""

import csv
import shutil
from collections import Counter
from pathlib import Path

import vega_datasets

from ork_provider.testing import FakeBigQuery


def test_readme(tmp_path, monkeypatch):
    """The README's DAG counts the weathers of four years as Python does."""
    from airflow.dag_processing.dagbag import DagBag

    file = tmp_path / "weather" / "seattle.csv"
    file.parent.mkdir()
    shutil.copy(Path(vega_datasets.__file__).parent / "_data" / "seattle-weather.csv", file)
    with FakeBigQuery(pending=0, running=0, data=tmp_path, latency=0.5) as bigquery:
        for name, value in bigquery.connections().items():
            monkeypatch.setenv(name, value)
        dag = DagBag().dags["weather_report"]  # its block, as a file in the DAGs folder
        assert dag.test().state == "success"
    (job,) = bigquery.inserted
    with file.open(newline="") as rows:
        assert job.work.outcome.rows == Counter(row["weather"] for row in csv.DictReader(rows)).most_common()

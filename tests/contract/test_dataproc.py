"""What only Dataproc jobs and batches have: two spellings, states of their own, ids, labels, where output goes."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from ork_provider.dataproc import (
    DataprocBatchJob,
    DataprocBatchOperator,
    DataprocJob,
    DataprocJobOperator,
)
from ork_provider.dataproc.batch import read_batch
from ork_provider.dataproc.job import read_job
from ork_provider.dataproc.resource import BATCH_TYPES, JOB_TYPES, MAPS, to_api
from ork_provider.errors import BadRequest, Conflict, InvalidJob, JobFailed, TimedOut, TryAgain
from ork_provider.job import JobState, job_from_dict
from ork_provider.service import Services
from ork_provider.session import HttpxDoor, Session
from ork_provider.testing import DataprocOutcome, FakeDataproc, Fault
from tests.support.discovery import Discovery
from tests.support.task import Instance, Task

DISCOVERY = Discovery("dataproc", "v1")
PYSPARK = {"main_python_file_uri": "gs://b/main.py", "args": ["--day", "{{ ds }}"]}


@pytest.fixture
def dataproc(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDataproc]:
    """Serve Dataproc under google_cloud_default; hold all that was said against Google's own description."""
    with FakeDataproc(pending=0.05, running=0.2, keep_answers=True) as fake:
        for name, value in fake.connections().items():
            monkeypatch.setenv(name, value)
        yield fake
        DISCOVERY.check_log(fake.requests)


@pytest.fixture
async def services(dataproc: FakeDataproc) -> Any:
    session = Session(HttpxDoor())
    yield Services(session, {"gcp_conn_id": "google_cloud_default"})
    await session.close()


def run_job(**kwargs: Any) -> DataprocJobOperator:
    job = {"pyspark_job": PYSPARK}
    ours = {"task_id": "load", "job": job, "region": "europe-west1", "cluster_name": "etl", "poll_interval": 0.1}
    return DataprocJobOperator(**{**ours, **kwargs})


def run_batch(**kwargs: Any) -> DataprocBatchOperator:
    ours = {"task_id": "load", "batch": {"pyspark_batch": PYSPARK}, "region": "europe-west1", "poll_interval": 0.1}
    return DataprocBatchOperator(**{**ours, **kwargs})


# -- what a job came to ------------------------------------------------------------------------------------


def test_result_of_a_job(dataproc: FakeDataproc) -> None:
    """The result tells where the job ran, where its output is, and how its applications ended."""
    result = Task().run(run_job())
    assert (result["cluster_name"], result["region"], result["project"]) == ("etl", "europe-west1", "ork-sandbox")
    stats = result["stats"]
    assert stats["driver_output_uri"].startswith("gs://")
    assert stats["driver_control_files_uri"].endswith("/")
    assert stats["duration_seconds"] == pytest.approx(0.2, abs=0.005)
    (application,) = stats["yarn_applications"]
    assert (application["name"], application["state"], application["progress_percent"]) == ("Spark Pi", "FINISHED", 100)
    assert "failed_attempts" not in stats
    assert result["link"].startswith(f"https://console.cloud.google.com/dataproc/jobs/{result['job_id']}?region=")


def test_result_of_a_batch(dataproc: FakeDataproc) -> None:
    """The result tells what a batch has used, in numbers with units."""
    result = Task().run(run_batch())
    stats = result["stats"]
    assert stats["output_uri"].startswith("gs://")
    assert stats["duration_seconds"] == pytest.approx(0.2, abs=0.005)
    assert stats["milli_dcu_seconds"] == pytest.approx(1600, abs=5)
    assert stats["shuffle_storage_gb_seconds"] == pytest.approx(80, abs=1)
    assert set(stats["endpoints"]) == {"Spark History Server"}
    assert result["link"].startswith("https://console.cloud.google.com/dataproc/batches/europe-west1/airflow-")


def test_failed_attempt_runs_on(dataproc: FakeDataproc) -> None:
    """ATTEMPT_FAILURE is not the end of a restartable job: Dataproc starts the driver again."""
    dataproc.script("main.py", DataprocOutcome(pending=0.05, running=0.5, failed_attempts=1))
    result = Task().run(run_job(job={"pyspark_job": PYSPARK, "scheduling": {"max_failures_per_hour": 3}}))
    assert (result["state"], result["stats"]["failed_attempts"]) == ("succeeded", 1)
    assert dataproc.started[0].resource["scheduling"] == {"maxFailuresPerHour": 3}


def test_success_that_speaks_of_errors(dataproc: FakeDataproc) -> None:
    """A DONE job is a success, whatever its details say."""
    dataproc.script("main.py", DataprocOutcome(0.05, 0.1, details="Finished with 0 errors; error log is empty"))
    result = Task().run(run_job())
    assert (result["state"], result["message"]) == ("succeeded", "Finished with 0 errors; error log is empty")


@pytest.mark.parametrize("make", [run_job, run_batch])
def test_failure_says_where_the_output_is(dataproc: FakeDataproc, make: Any) -> None:
    """The message holds the service's words and the place of the driver's output."""
    dataproc.script("main.py", DataprocOutcome(0.05, 0.1, error="Job failed with message [ValueError: no rows]"))
    with pytest.raises(JobFailed, match=r"ValueError: no rows.*driver output: gs://\S+/driveroutput") as caught:
        Task().run(make())
    assert caught.value.job["stats"]["duration_seconds"] == pytest.approx(0.1, abs=0.005)


@pytest.mark.parametrize("state", ["PENDING", "SETUP_DONE", "RUNNING", "CANCEL_PENDING", "CANCEL_STARTED"])
def test_states_that_run_on(state: str) -> None:
    """Nothing but DONE, ERROR and CANCELLED ends a job."""
    assert read_job({"status": {"state": state}}).state is JobState.RUNNING


def test_every_state_is_known() -> None:
    """Every state that Google describes is in our tables, but for the one that stands for none."""
    states = {*DISCOVERY.schemas["JobStatus"]["properties"]["state"]["enum"]} - {"STATE_UNSPECIFIED"}
    assert {state for state in states if read_job({"status": {"state": state}})} == states
    states = {*DISCOVERY.schemas["Batch"]["properties"]["state"]["enum"]} - {"STATE_UNSPECIFIED"}
    assert {state for state in states if read_batch({"state": state})} == states


@pytest.mark.parametrize("resource", [{}, {"status": {}}, {"status": {"state": "STATE_UNSPECIFIED"}}], ids=repr)
def test_unknown_state_is_no_success(resource: dict[str, Any]) -> None:
    """A resource without a known state is a malformed answer, to be asked for again."""
    with pytest.raises(TryAgain, match="unknown state"):
        read_job(resource)
    with pytest.raises(TryAgain, match="unknown state"):
        read_batch(resource)


@pytest.mark.parametrize(
    ("progress", "said"), [(0.45, "Pi 45 %"), (1.0, "Pi 100 %"), (45.2, "Pi 45 %"), (None, "Pi 0 %")]
)
def test_progress(progress: float | None, said: str) -> None:
    """A fraction, as the service sends it, and percent, as its reference has it, are both read."""
    running = {"status": {"state": "RUNNING"}, "yarnApplications": [{"name": "Pi", "progress": progress}]}
    assert read_job(running).message == said


def test_progress_is_in_the_log(dataproc: FakeDataproc, capfd: pytest.CaptureFixture[str]) -> None:
    """While a job runs its message is the progress of its YARN applications."""
    dataproc.script("main.py", DataprocOutcome(0.0, 60))
    with pytest.raises(TimedOut):
        Task().run(run_job(timeout=2))
    assert re.search(r"is RUNNING after \d+ s: Spark Pi \d+ %", capfd.readouterr().out)


# -- what is sent ------------------------------------------------------------------------------------------


def test_both_spellings_are_the_same_job(dataproc: FakeDataproc) -> None:
    """A job for Google's operator and one as the API has it send the same; the user's own keys stay as they are."""
    ours = {"spark.executor_cores": "2", "camelCase_and_snake": "x"}
    snake = {
        "placement": {"cluster_name": "etl"},
        "labels": {"cost_center": "blue"},
        "spark_sql_job": {
            "query_list": {"queries": ["SELECT 1"]},
            "script_variables": {"run_day": "1"},
            "properties": ours,
            "jar_file_uris": ["gs://b/x_y.jar"],
            "logging_config": {"driver_log_levels": {"org.apache_x": "WARN"}},
        },
    }
    camel = {
        "placement": {"clusterName": "etl"},
        "labels": {"cost_center": "blue"},
        "sparkSqlJob": {
            "queryList": {"queries": ["SELECT 1"]},
            "scriptVariables": {"run_day": "1"},
            "properties": ours,
            "jarFileUris": ["gs://b/x_y.jar"],
            "loggingConfig": {"driverLogLevels": {"org.apache_x": "WARN"}},
        },
    }
    for job in (snake, camel):
        Task().run(run_job(job=job, cluster_name=None))
    first, second = ({k: v for k, v in j.resource.items() if k != "reference"} for j in dataproc.started)
    assert first == second
    assert first["sparkSqlJob"] == camel["sparkSqlJob"]
    assert first["labels"]["cost_center"] == "blue"
    assert snake["placement"] == {"cluster_name": "etl"}, "the user's dict was changed"


def test_every_field_of_google_python_library_translates() -> None:
    """Each field of a job and of a batch, in Python's spelling, becomes the API's name for it."""
    from google.cloud import dataproc_v1

    for message in (dataproc_v1.Job, dataproc_v1.Batch):
        names = [*message.meta.fields]
        assert set(to_api(dict.fromkeys(names), "job")) <= set(DISCOVERY.schemas[message.__name__]["properties"])


def test_tables_follow_the_api() -> None:
    """The types of jobs and batches, and the fields that hold a user's own keys, are those of the API."""
    jobs, batches = (DISCOVERY.schemas[name]["properties"] for name in ("Job", "Batch"))
    assert {n for n in jobs if n.endswith("Job")} == set(JOB_TYPES)
    assert {n for n in batches if n.endswith("Batch")} == set(BATCH_TYPES)
    assert _maps("Job") | _maps("Batch") == MAPS | {"endpoints", "autotuningProperties"}  # these two are only answered


def _maps(schema: str) -> set[str]:
    found: set[str] = set()
    for name, field in DISCOVERY.schemas[schema].get("properties", {}).items():
        inner = field.get("$ref") or field.get("items", {}).get("$ref")
        found |= {name} if "additionalProperties" in field else _maps(inner) if inner else set()
    return found


def test_ttl_of_a_batch(dataproc: FakeDataproc) -> None:
    """A duration as Google's operator takes it becomes one as the API has it."""
    batch = {"pyspark_batch": PYSPARK, "environment_config": {"execution_config": {"ttl": {"seconds": 3600}}}}
    Task().run(run_batch(batch=batch))
    sent = dataproc.started_batches[0].resource["environmentConfig"]
    assert sent == {"executionConfig": {"ttl": "3600s"}}


@pytest.mark.parametrize(
    ("ttl", "sent"),
    [
        ({"seconds": 7200, "nanos": 500_000_000}, "7200.5s"),
        (timedelta(hours=2), "7200s"),
        ("7200s", "7200s"),
        (7200, "7200s"),
        ("{{ params.ttl }}", "{{ params.ttl }}"),
    ],
    ids=str,
)
def test_forms_of_a_ttl(ttl: Any, sent: str) -> None:
    """Every form of a duration becomes the API's; a template is left for later."""
    batch = {"pyspark_batch": PYSPARK, "environment_config": {"execution_config": {"ttl": ttl}}}
    assert run_batch(batch=batch).build_request({})["batch"]["environmentConfig"]["executionConfig"] == {"ttl": sent}


@pytest.mark.parametrize("ttl", ["two hours", True, -1, {"hours": 2}, {"seconds": 1.5}, {}, float("inf"), ["1s"]])
def test_ttl_that_is_none(ttl: Any) -> None:
    """What is no duration is refused by name when the DAG is parsed."""
    with pytest.raises(InvalidJob, match=r"executionConfig\.ttl: expected seconds"):
        run_batch(batch={"pyspark_batch": PYSPARK, "environment_config": {"execution_config": {"ttl": ttl}}})


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"job": {}}, "must have one type of sparkJob"),
        ({"job": {"pyspark_jobs": PYSPARK}}, r"it has none \(keys: pysparkJobs\)"),
        ({"job": {"pyspark_job": PYSPARK, "hive_job": {}}}, "it has pysparkJob and hiveJob"),
        ({"job": {"pyspark_job": PYSPARK, "pysparkJob": {}}}, "'pysparkJob' twice, in two spellings"),
        ({"job": [PYSPARK]}, "must be a dict, got list"),
        ({"job": "main.py"}, "must be a dict, got str"),
        ({"cluster_name": None}, "names no cluster: set cluster_name"),
        ({"job": {"pyspark_job": PYSPARK, "placement": "etl"}}, "placement must be a dict"),
        ({"job": {"pyspark_job": PYSPARK, "placement": {"cluster_name": "b"}}}, "'b', cluster_name says 'etl'"),
        ({"job": {"pyspark_job": PYSPARK, "reference": {"job_id": "x"}}}, "jobId must be left out"),
        ({"job": {"pyspark_job": PYSPARK, "reference": {"project_id": "a"}}, "project_id": "b"}, "project_id says 'b'"),
        ({"job": {"pyspark_job": PYSPARK, "reference": "x"}}, "reference must be a dict"),
        ({"region": ""}, "region must be the name of a region"),
        ({"region": 7}, "region must be the name of a region"),
        ({"project_id": 1.5}, "project_id must be a project id or number"),
        ({"job": {"pyspark_job": PYSPARK, "reference": {"project_id": []}}}, "reference.projectId must be a project"),
        ({"cluster_name": 7}, "cluster_name must be the name of a cluster"),
        ({"job": {"pyspark_job": PYSPARK, "placement": {"cluster_name": 7}}}, "clusterName must be a text, got int 7"),
        ({"labels": {"team": 1}}, r"labels\['team'\] must be a text, got int 1"),
        ({"labels": {1: "team"}}, r"labels\[1\] must be a text"),
        ({"job": {"pyspark_job": PYSPARK, "labels": {"team": None}}}, r"job.labels\['team'\] must be a text"),
        ({"job": {"pyspark_job": PYSPARK, "labels": "a=b"}}, "job.labels must be a dict of texts"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_job_fails_when_the_dag_is_parsed(kwargs: dict[str, Any], said: str) -> None:
    """A job that cannot be meant is refused before anything runs, with the task and the field."""
    with pytest.raises(InvalidJob, match=rf"task_id='load'.*{said}"):
        run_job(**kwargs)


def test_bad_batch_fails_when_the_dag_is_parsed() -> None:
    """A batch without a type names the types that there are."""
    with pytest.raises(InvalidJob, match=r"batch must have one type of pysparkBatch.* it has none"):
        run_batch(batch={"pyspark_job": PYSPARK})


def test_templates_are_judged_when_they_are_rendered() -> None:
    """A job that is not there yet passes the parser; what it renders to is checked."""
    from airflow.sdk import DAG, task

    with DAG("d"):

        @task
        def make() -> dict[str, Any]:
            return {}

        made: Any = make()
        run_job(task_id="a", job=made)
        run_job(task_id="b", job="{{ params.job }}", cluster_name="{{ params.cluster }}")
        run_job(task_id="c", job={"pyspark_job": made, "placement": {"cluster_name": "{{ x }}"}})
        run_job(task_id="d", job={"pyspark_job": PYSPARK, "placement": made}, cluster_name=None)
        run_batch(task_id="e", batch=made)
    with pytest.raises(InvalidJob, match="job must be a dict, got str"):
        run_job(job="{{ params.job }}").build_request({})


@pytest.mark.parametrize(
    ("field", "rendered", "said"),
    [
        ("labels", "a=b", "labels must be a dict"),
        ("labels", {"team": 1}, r"labels\['team'\] must be a text"),
        ("region", 7, "region must be"),
        ("cluster_name", 7, "cluster_name must be"),
        ("project_id", -1, "project_id must be"),
    ],
)
def test_what_a_template_renders_to(dataproc: FakeDataproc, field: str, rendered: Any, said: str) -> None:
    """What makes no sense is refused by name before anything is stored or sent."""
    operator, task = run_job(**{field: "{{ params.x }}"}), Task()
    setattr(operator, field, rendered)
    with pytest.raises(InvalidJob, match=said):
        task.run(operator)
    assert (dataproc.requests, task.store.values) == ([], {})


@pytest.mark.parametrize("make", [run_job, run_batch])
def test_project_number(dataproc: FakeDataproc, make: Any) -> None:
    """A project's number, which native rendering makes an int, is as good as its id."""
    assert Task().run(make(project_id=123456))["project"] == "123456"


def test_project_number_of_the_reference(dataproc: FakeDataproc) -> None:
    """The reference may name the project by its number too."""
    job = {"pyspark_job": PYSPARK, "reference": {"project_id": 123456}}
    assert Task().run(run_job(job=job, project_id="123456"))["project"] == "123456"
    assert Task().run(run_job(job=job))["project"] == "123456"


# -- names -------------------------------------------------------------------------------------------------

ODD = Instance(dag_id="9 Sales Über_" + "x" * 240, task_id="grp.lo_ad", run_id="manual__2026-11-20T00:00:00+00:00")


def test_job_names_dag_task_and_run(dataproc: FakeDataproc) -> None:
    """Id and labels tell whose job it is, within the limits of the API; a user's own labels win."""
    Task(ODD).run(run_job(labels={"team": "blue"}))
    job = dataproc.started[0]
    assert re.fullmatch(r"airflow_9-Sales-ber_x+_[0-9a-f]{32}", job.job_id)
    assert len(job.job_id) == 100
    labels = job.labels
    assert labels.pop("team") == "blue"
    assert labels["airflow-dag"].startswith("x-9-sales-ber-xxx")
    assert labels["airflow-task"] == "grp-lo-ad"
    assert labels["airflow-run"] == "manual-2026-11-20t00-00-00-00-00"
    assert all(re.fullmatch(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", value) for value in labels.values())


def test_batch_names_dag_and_task(dataproc: FakeDataproc) -> None:
    """A batch's id has only lower case, digits and hyphens, at most 63, and the whole random part."""
    task = Task(ODD)
    task.run(run_batch())
    batch_id = dataproc.started_batches[0].batch_id
    assert re.fullmatch(r"airflow-9-sales-ber-x+-[0-9a-f]{32}", batch_id)
    assert len(batch_id) == 63
    assert batch_id.endswith(task.attempt["nonce"])


@pytest.mark.parametrize("dag_id", ["d", "_", "ÄÖÜ", "a" * 21, "a" * 22, "a" * 23, "-.-"])
def test_ids_of_odd_names_are_accepted(dataproc: FakeDataproc, dag_id: str) -> None:
    """Whatever dag and task are called, the service takes the ids and labels."""
    dataproc.script("main.py", DataprocOutcome(0, 0, setup=0))
    for make in (run_job, run_batch):
        assert Task(Instance(dag_id=dag_id, task_id="_._", map_index=7)).run(make())["state"] == "succeeded"


@pytest.mark.parametrize("make", [run_job, run_batch])
def test_project_of_the_connection_or_an_error(
    dataproc: FakeDataproc, monkeypatch: pytest.MonkeyPatch, make: Any
) -> None:
    """The project comes from the task, else the connection; with neither the error says where to set it."""
    assert Task().run(make(project_id="other"))["project"] == "other"
    connection = json.loads(dataproc.connections()["AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT"])
    del connection["extra"]["project"]
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", json.dumps(connection))
    with pytest.raises(BadRequest, match="Set project_id, or 'project'"):
        Task().run(make())


def test_project_of_the_reference(dataproc: FakeDataproc) -> None:
    """A job for Google's operator may name its project in the reference."""
    assert (
        Task().run(run_job(job={"pyspark_job": PYSPARK, "reference": {"project_id": "theirs"}}))["project"] == "theirs"
    )


def test_ork_dict() -> None:
    """A job dict as Ork has it is read, with and without a cluster."""
    ork = {"service_type": "dataproc", "job_id": "j", "project": "p", "region": "r", "cluster_name": "c"}
    assert job_from_dict(ork) == DataprocJob(project="p", region="r", job_id="j", cluster_name="c")
    assert job_from_dict(ork).to_dict() == ork
    del ork["cluster_name"]
    assert job_from_dict(ork) == DataprocJob(project="p", region="r", job_id="j")


# -- submit and cancel -------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [run_job, run_batch])
def test_repeated_request_starts_nothing(dataproc: FakeDataproc, make: Any) -> None:
    """A request whose answer was lost is sent again with the same id and request id; the first job is the answer."""
    dataproc.fail(Fault.reset(after=True), on="POST *")
    task = Task()
    assert task.run(make())["state"] == "succeeded"
    posts = dataproc.calls("POST")
    assert len(posts) == 2
    sent = {r.query.get("requestId") or r.json["requestId"] for r in posts}
    assert sent == {task.attempt["nonce"]}
    assert len(dataproc.started + dataproc.started_batches) == 1


REQUESTS = {
    DataprocJob(project="p", region="r", job_id="taken"): {"job": {"placement": {"clusterName": "c"}, "hiveJob": {}}},
    DataprocBatchJob(project="p", region="r", batch_id="taken"): {"batch": {"sparkBatch": {"mainClass": "M"}}},
}


@pytest.mark.parametrize("job", REQUESTS, ids=lambda job: job.kind)
async def test_conflict_over_an_id_that_is_not_ours(dataproc: FakeDataproc, services: Services, job: Any) -> None:
    """An id that another request has used is a Conflict; only the operator's stored intent makes it its own."""
    await services.submit(job, {**REQUESTS[job], "requestId": "one"})
    with pytest.raises(Conflict, match="Already exists") as caught:
        await services.submit(job, {**REQUESTS[job], "requestId": "two"})
    assert caught.value.existing == job
    assert len(dataproc.live()) == 1


@pytest.mark.parametrize("job", REQUESTS, ids=lambda job: job.kind)
async def test_other_409_is_tried_again(dataproc: FakeDataproc, services: Services, job: Any) -> None:
    """Google also answers 409 for a request that was aborted; then there is no such job."""
    dataproc.fail(Fault.google(409, "aborted", "The operation was aborted"), on="POST *")
    with pytest.raises(TryAgain, match=r"aborted.*But there is no Dataproc"):
        await services.submit(job, {**REQUESTS[job], "requestId": "one"})


@pytest.mark.parametrize("make", [run_job, run_batch])
def test_aborted_requests_are_sent_again(dataproc: FakeDataproc, make: Any) -> None:
    """A 409 with the status ABORTED had no effect: submit and cancel are sent again."""
    body = {"error": {"code": 409, "message": "Conflict; please retry.", "status": "ABORTED"}}
    dataproc.fail(Fault.status(409, body=body), on="POST *")
    assert Task().run(make())["state"] == "succeeded"
    dataproc.script("main.py", DataprocOutcome(0, 60))
    dataproc.fail(Fault.status(409, body=body), on="POST *:cancel")
    with pytest.raises(TimedOut, match="cancelled, and the service confirms"):
        Task().run(make(timeout=0.3))
    assert (len(dataproc.cancelled), dataproc.live()) == (1, [])


@pytest.mark.parametrize("make", [run_job, run_batch])
def test_missing_cluster_is_final(dataproc: FakeDataproc, make: Any) -> None:
    """A 404 of the submit is not waited for: a cluster that is not there does not come by itself."""
    dataproc.fail(Fault.google(404, "notFound", "Not found: Cluster projects/p/regions/r/clusters/etl"), on="POST *")
    with pytest.raises(BadRequest, match="Not found: Cluster"):
        Task().run(make())
    assert len(dataproc.calls("POST")) == 1


@pytest.mark.parametrize("job", REQUESTS, ids=lambda job: job.kind)
async def test_cancel_of_a_job_that_has_ended(dataproc: FakeDataproc, services: Services, job: Any) -> None:
    """Dataproc refuses to cancel what has ended (400); that is fine. Nothing is known of an unknown job."""
    assert await services.cancel(job) is False
    dataproc.script(lambda _: True, DataprocOutcome(0, 0))
    started = await services.submit(job, {**REQUESTS[job], "requestId": "one"})
    assert await services.cancel(started) is True
    assert not dataproc.cancelled


async def test_cancel_that_is_refused_for_now(dataproc: FakeDataproc, services: Services) -> None:
    """A job in SETUP_DONE cannot be cancelled yet: the cancel is to be sent again."""
    dataproc.script(lambda _: True, DataprocOutcome(pending=0.3, running=60, setup=0.3))
    job, request = next(iter(REQUESTS.items()))
    await services.submit(job, {**request, "requestId": "one"})
    with pytest.raises(TryAgain, match=r"in state: 'SETUP_DONE'; cancellable states"):
        await services.cancel(job)
    await asyncio.sleep(0.3)
    assert await services.cancel(job) is True
    assert not dataproc.live()


async def test_cancel_of_a_job_that_is_being_cancelled(dataproc: FakeDataproc, services: Services) -> None:
    """A cancel takes its time; asking again meanwhile changes nothing."""
    dataproc.script(lambda _: True, DataprocOutcome(pending=0, running=60, cancelling=0.3))
    for job, request in REQUESTS.items():
        started = await services.submit(job, {**request, "requestId": "one"})
        for _ in range(2):
            assert await services.cancel(started) is True
        assert (await services.check(started)).remote_state in ("CANCEL_PENDING", "CANCEL_STARTED", "CANCELLING")
    await asyncio.sleep(0.35)
    assert [(await services.check(job)).state for job in REQUESTS] == [JobState.CANCELLED] * 2


def test_slow_cancel_is_waited_for(dataproc: FakeDataproc) -> None:
    """At the deadline the task waits until the job is seen to be cancelled."""
    dataproc.script("main.py", DataprocOutcome(pending=0, running=60, cancelling=0.5))
    with pytest.raises(TimedOut, match="cancelled, and the service confirms"):
        Task().run(run_job(timeout=0.3))


def test_deadline_in_setup_done(dataproc: FakeDataproc) -> None:
    """A deadline that passes in SETUP_DONE cancels the job as soon as Dataproc lets it be cancelled."""
    dataproc.script("main.py", DataprocOutcome(pending=1, running=60, setup=1))
    with pytest.raises(TimedOut, match="cancelled, and the service confirms"):
        Task().run(run_job(timeout=0.2))
    assert len(dataproc.calls("POST", "*:cancel")) > 1
    assert not dataproc.live()


async def test_batch_is_cancelled_by_its_operation(dataproc: FakeDataproc, services: Services) -> None:
    """The operation comes with the answer to the submit; for a job dict without it, it is looked up."""
    dataproc.script(lambda _: True, DataprocOutcome(pending=0, running=60))
    job, request = list(REQUESTS.items())[1]
    started: Any = await services.submit(job, {**request, "requestId": "one"})
    assert started.operation == dataproc.started_batches[0].operation
    await services.cancel(job)
    assert [r.path for r in dataproc.calls("POST", "*:cancel")] == [f"/v1/{started.operation}:cancel"]
    assert (await services.check(job)).state is JobState.CANCELLED


async def test_operation_that_is_forgotten(dataproc: FakeDataproc, services: Services) -> None:
    """An unknown operation does not mean that there is no batch: the batch itself is asked for."""
    dataproc.script(lambda _: True, DataprocOutcome(pending=0, running=0.3))
    job, request = list(REQUESTS.items())[1]
    started = await services.submit(job, {**request, "requestId": "one"})
    dataproc.fail(Fault.google(404, "notFound", "Not found: Operation"), on="POST *:cancel", times=2)
    with pytest.raises(TryAgain, match="has no operation"):
        await services.cancel(started)
    await asyncio.sleep(0.3)
    assert await services.cancel(started) is True


def test_missing_permission_is_named(dataproc: FakeDataproc) -> None:
    """A 403 that does not pass by itself fails at once with Google's words, which name the permission."""
    words = "Not authorized to requested resource: dataproc.jobs.create is missing"
    dataproc.fail(Fault.google(403, "forbidden", words), on="POST *", times=-1)
    with pytest.raises(BadRequest, match=r"dataproc\.jobs\.create"):
        Task().run(run_job())


def test_expired_token_is_renewed(dataproc: FakeDataproc) -> None:
    """One 401 in the middle of a wait renews and goes on."""
    dataproc.fail(Fault.google(401, "authError"), on="GET */jobs/*", nth=2)
    assert Task().run(run_job())["state"] == "succeeded"


@pytest.mark.parametrize("job", REQUESTS, ids=lambda job: job.kind)
@pytest.mark.parametrize("body", [{"name": "x", "reference": 7}, {"metadata": 7}, {"reference": {"jobId": "other"}}])
async def test_odd_answer_to_the_submit(dataproc: FakeDataproc, services: Services, job: Any, body: Any) -> None:
    """An answer that does not name our job is a malformed one: the request is sent again."""
    dataproc.fail(Fault.status(200, body), on="POST *")
    with pytest.raises(TryAgain, match="the answer"):
        await services.submit(job, {**REQUESTS[job], "requestId": "one"})
    dataproc.clear_log()


def test_services_are_the_ones_that_jobs_name() -> None:
    """The dotted paths of the services in the job classes are right."""
    from ork_provider.dataproc import DataprocBatchService, DataprocJobService
    from ork_provider.job import load

    assert load(DataprocJob.service) is DataprocJobService
    assert load(DataprocBatchJob.service) is DataprocBatchService

"""@task.deferred: a function starts jobs with any client and returns them in any form; nothing is lost or doubled."""

from __future__ import annotations

import dataclasses
import datetime
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from airflow.sdk.exceptions import AirflowFailException

from ork_provider.bigquery import BigQueryJob
from ork_provider.decorators import DeferredOperator
from ork_provider.errors import JobError, JobFailed, Killed, TimedOut
from ork_provider.http import CustomHttp
from ork_provider.operator import owner
from ork_provider.testing import FakeBigQuery, FakeHttpJobs, Fault, HttpOutcome, Outcome
from tests.support.task import Task


@pytest.fixture
def bigquery(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeBigQuery]:
    with FakeBigQuery(pending=0.0, running=1.5) as fake:
        for name, value in fake.connections().items():
            monkeypatch.setenv(name, value)
        yield fake


@pytest.fixture
def http(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHttpJobs]:
    with FakeHttpJobs(pending=0.0, running=1.5) as fake:
        for name, value in fake.connections().items():
            monkeypatch.setenv(name, value)
        yield fake


@pytest.fixture(autouse=True)
def _quick_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, "CLEAR_GRACE", 0.0)


def start_query(bigquery: FakeBigQuery, job_id: str) -> None:
    """Start a query as a client of the user's choice does."""
    reference = {"projectId": "p", "jobId": job_id, "location": "US"}
    body = {"jobReference": reference, "configuration": {"query": {"query": f"SELECT '{job_id}'"}}}
    httpx.post(f"{bigquery.url}/bigquery/v2/projects/p/jobs", json=body).raise_for_status()


def start_http(http: FakeHttpJobs, **outcome: Any) -> str:
    """Start an HTTP job; return its status URL."""
    answer = httpx.post(f"{http.url}/jobs", json={"fake": outcome}).raise_for_status()
    return f"{http.url}{answer.headers['location']}"


def deferred(function: Callable[..., Any], **kwargs: Any) -> DeferredOperator:
    own = {"task_id": "load", "poll_interval": 0.1, "op_args": [], "op_kwargs": {}}
    return DeferredOperator(**{**own, "python_callable": function, **kwargs})


@dataclasses.dataclass
class SdkJob:
    """What an object of ork_sdk looks like: a dataclass with service_type() and to_dict()."""

    project: str
    job_id: str
    location: str = "US"

    def service_type(self) -> str:
        return "bigquery"

    def to_dict(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "service_type": self.service_type()}


JOB = BigQueryJob(project="p", job_id="one")
FORMS = {
    "dict of dicts": {"deferred": [JOB.to_dict()]},
    "dict of jobs": {"deferred": [JOB]},
    "job": JOB,
    "job dict": JOB.to_dict(),
    "list of jobs": [JOB],
    "list of dicts": [JOB.to_dict()],
    "tuple": (JOB,),
    "result of an operator": {"jobs": [JOB.to_dict()]},
    "ork_sdk object": SdkJob("p", "one"),
    "list of ork_sdk objects": [SdkJob("p", "one")],
    "dict of ork_sdk objects": {"deferred": [SdkJob("p", "one")]},
    "ork's dict": {"deferred": [{"service_type": "bigquery", "project": "p", "job_id": "one", "location": "US"}]},
}


@pytest.mark.parametrize("form", FORMS)
def test_forms(bigquery: FakeBigQuery, form: str) -> None:
    """Every form that Ork documents, and ours, names the same job."""

    def run_analytics() -> Any:
        start_query(bigquery, "one")
        return FORMS[form]

    result = Task().run(deferred(run_analytics))
    assert [(job["job_id"], job["state"]) for job in result["jobs"]] == [("one", "succeeded")]
    assert len(bigquery.inserted) == 1


def test_documents_custom_http(http: FakeHttpJobs) -> None:
    """The document's second example: an HTTP job by its status URL, in Ork's spelling of the fields."""

    def trigger_external_job() -> Any:
        url = start_http(http, running=0.3)
        return {
            "deferred": [
                CustomHttp(url=url, method="GET", completion_field="status", completion_value="completed").to_dict()
            ]
        }

    result = Task().run(deferred(trigger_external_job))
    assert result["jobs"][0]["state"] == "succeeded"


def test_documents_parallel_jobs(bigquery: FakeBigQuery, http: FakeHttpJobs) -> None:
    """The document's third example: the task completes when all jobs have, in one trigger."""

    def run_parallel_jobs() -> Any:
        start_query(bigquery, "slow")
        url = start_http(http, running=2)
        return {
            "deferred": [
                BigQueryJob(project="p", job_id="slow", location="US").to_dict(),
                {"service_type": "custom_http", "url": url, "status_field": "status", "success_value": "completed"},
            ]
        }

    task = Task()
    result = task.run(deferred(run_parallel_jobs))
    assert [job["state"] for job in result["jobs"]] == ["succeeded", "succeeded"]
    assert task.deferrals == 1


def test_other_output_travels_on(bigquery: FakeBigQuery) -> None:
    """What the function returns beside its jobs reaches downstream, also values that are not JSON."""
    day = datetime.date(2026, 1, 31)

    def load() -> Any:
        start_query(bigquery, "one")
        return {"deferred": [JOB], "table": "sales", "day": day}

    result = Task().run(deferred(load))
    assert (result["table"], result["day"], len(result["jobs"])) == ("sales", day, 1)


def test_other_output_where_airflow_drops_it(bigquery: FakeBigQuery) -> None:
    """`dags test` resumes a task with the event only; what the function returned is kept all the same."""

    def load() -> Any:
        start_query(bigquery, "one")
        return {"deferred": [JOB], "table": "sales"}

    task = Task()
    waiting = task.start(deferred(load))
    waiting.kwargs = None
    assert task.resume(deferred(load), waiting)["table"] == "sales"


def test_arguments_and_context(bigquery: FakeBigQuery) -> None:
    """The function gets its arguments and what it asks for of the context."""

    def load(name: str, ti: Any = None) -> Any:
        start_query(bigquery, f"{name}-{ti.task_id}")
        return BigQueryJob(project="p", job_id=f"{name}-{ti.task_id}")

    result = Task().run(deferred(load, op_args=["a"]))
    assert result["jobs"][0]["job_id"] == "a-load"


def test_coroutine_function(bigquery: FakeBigQuery) -> None:
    """An async function is awaited."""

    async def load() -> Any:
        start_query(bigquery, "one")
        return JOB

    assert Task().run(deferred(load))["jobs"][0]["state"] == "succeeded"


def test_one_failed_job_fails_the_task(bigquery: FakeBigQuery, http: FakeHttpJobs) -> None:
    """A failed job fails the task, after the others have ended, with all of them in the error and in XCom."""

    def load() -> Any:
        start_query(bigquery, "good")
        bad = start_http(http, running=0.1, outcome="failed", error="disk full")
        return [BigQueryJob(project="p", job_id="good"), CustomHttp(url=bad, message_field="error")]

    task = Task()
    with pytest.raises(JobFailed, match="disk full") as caught:
        task.run(deferred(load))
    assert [job["state"] for job in caught.value.jobs] == ["succeeded", "failed"]
    assert [job["state"] for job in task.ti.xcoms["ork_job"]] == ["succeeded", "failed"]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "None"),
        ({"deferred": []}, "There is no job in it"),
        ({"rows": 3}, "There is no job in it"),
        ([], "There is no job in it"),
        ("job-1", "job-1"),
        ({"deferred": [{"service_type": "bigqery"}]}, "unknown job kind 'bigqery'"),
        ({"deferred": [{"project": "p"}]}, "is not a job"),
        ({"deferred": [{"service_type": "bigquery", "project": "p"}]}, r"\[0\]\.job_id: missing"),
    ],
    ids=repr,
)
def test_what_cannot_be_waited_for(value: Any, said: str) -> None:
    """It fails at once and for good, names what is wrong and the known kinds."""
    with pytest.raises(AirflowFailException, match=said) as caught:
        deferred(lambda: value).execute(Task().context)
    if "missing" not in said:
        assert "custom_http" in str(caught.value)


def test_one_bad_job_ends_the_good_ones(bigquery: FakeBigQuery) -> None:
    """When one of several jobs cannot be read nobody would wait for the others: they are cancelled."""
    bigquery.script("SELECT", Outcome(running=60))

    def load() -> Any:
        start_query(bigquery, "one")
        return [JOB, {"service_type": "unheard of"}]

    with pytest.raises(AirflowFailException, match=r"what the function returned.*unheard of"):
        deferred(load).execute(Task().context)
    assert not bigquery.live()


def test_generator_that_fails_ends_what_it_started(bigquery: FakeBigQuery) -> None:
    """A function that yields its jobs loses none of them when it fails in the middle."""
    bigquery.script("SELECT", Outcome(running=60))

    def load() -> Any:
        for name in ("one", "two"):
            start_query(bigquery, name)
            yield BigQueryJob(project="p", job_id=name)
        raise RuntimeError("the third client call failed")

    with pytest.raises(RuntimeError, match="third"):
        deferred(load).execute(Task().context)
    assert (len(bigquery.inserted), bigquery.live()) == (2, [])


def test_generator(bigquery: FakeBigQuery) -> None:
    """Jobs may be yielded; what is returned is the other output."""

    def load() -> Any:
        for name in ("one", "two"):
            start_query(bigquery, name)
            yield BigQueryJob(project="p", job_id=name)
        return {"rows": 3}

    result = Task().run(deferred(load))
    assert [job["job_id"] for job in result["jobs"]] == ["one", "two"]
    assert result["rows"] == 3


# What a next try does ----------------------------------------------------------------------------


class Calls:
    """A function that counts its calls; each starts a query under another id."""

    def __init__(self, bigquery: FakeBigQuery) -> None:
        self.bigquery = bigquery
        self.count = 0

    def __call__(self) -> Any:
        self.count += 1
        start_query(self.bigquery, f"q{self.count}")
        return {"deferred": [BigQueryJob(project="p", job_id=f"q{self.count}")], "call": self.count}


def function_of(calls: Calls) -> Callable[[], Any]:
    """Return a plain function, as Airflow wants it."""

    def call() -> Any:
        return calls()

    return call


def first_try(bigquery: FakeBigQuery, calls: Calls, running: float = 60, **kwargs: Any) -> Task:
    bigquery.script("SELECT", Outcome(pending=0, running=running))
    task = Task()
    task.ti.max_tries = 1
    task.start(deferred(function_of(calls), **kwargs))
    return task


def test_running_jobs_are_taken_up(bigquery: FakeBigQuery) -> None:
    """A retry waits for the jobs of the lost try; the function is not called again, its output is kept."""
    calls = Calls(bigquery)
    task = first_try(bigquery, calls, running=2)
    result = task.retry().run(deferred(function_of(calls)))
    assert (calls.count, result["call"], result["jobs"][0]["job_id"]) == (1, 1, "q1")


def test_succeeded_jobs_are_taken(bigquery: FakeBigQuery) -> None:
    """Jobs that have succeeded meanwhile are not paid for twice."""
    calls = Calls(bigquery)
    task = first_try(bigquery, calls, running=1)
    while bigquery.live():
        time.sleep(0.05)
    assert task.retry().run(deferred(function_of(calls)))["jobs"][0]["job_id"] == "q1"
    assert calls.count == 1


@pytest.mark.parametrize("how", ["cleared", "new"])
def test_old_jobs_end_before_new_ones_start(bigquery: FakeBigQuery, how: str) -> None:
    """A clear and on_existing='new' end the old jobs, then call the function again."""
    calls = Calls(bigquery)
    task = first_try(bigquery, calls)
    old = bigquery.live()[0]
    bigquery.script("SELECT", Outcome(pending=0, running=0.1))
    again = task.clear() if how == "cleared" else task.retry()
    kwargs = {} if how == "cleared" else {"on_existing": "new"}
    result = again.run(deferred(function_of(calls), **kwargs))
    assert result["jobs"][0]["job_id"] == "q2"
    assert old.cancelled_at < bigquery.inserted[1].created_at


def test_on_existing_fail(bigquery: FakeBigQuery) -> None:
    """on_existing='fail' leaves the running jobs alone."""
    calls = Calls(bigquery)
    task = first_try(bigquery, calls)
    with pytest.raises(JobError, match="on_existing is 'fail'"):
        task.retry().run(deferred(function_of(calls), on_existing="fail"))
    assert (calls.count, len(bigquery.live())) == (1, 1)


def test_failed_jobs_are_started_anew(bigquery: FakeBigQuery) -> None:
    """When a job of the earlier try has failed, what else runs is ended and the function is called again."""
    calls = Calls(bigquery)
    task = first_try(bigquery, calls)
    bigquery.live()[0].cancel()
    bigquery.script("SELECT", Outcome(pending=0, running=0.1))
    assert task.retry().run(deferred(function_of(calls)))["jobs"][0]["job_id"] == "q2"


# Ends that are not the jobs' own ------------------------------------------------------------------


def test_deadline_cancels_all(bigquery: FakeBigQuery) -> None:
    """At the deadline every job that still runs is cancelled, and that is seen."""
    bigquery.script("SELECT", Outcome(running=60))

    def load() -> Any:
        for name in ("one", "two", "three"):
            start_query(bigquery, name)
        return [BigQueryJob(project="p", job_id=name) for name in ("one", "two", "three")]

    with pytest.raises(TimedOut, match="the service confirms") as caught:
        Task().run(deferred(load, timeout=0.5))
    assert (bigquery.live(), len(bigquery.cancelled)) == ([], 3)
    assert {job["state"] for job in caught.value.jobs} == {"cancelled"}


def test_kill_during_the_function(bigquery: FakeBigQuery) -> None:
    """SIGTERM while the function runs: it comes to its end, and what it started is cancelled."""
    bigquery.script("SELECT", Outcome(running=60))

    def load() -> Any:
        start_query(bigquery, "one")
        time.sleep(0.6)
        return JOB

    operator = deferred(load)
    old = signal.signal(signal.SIGTERM, lambda *_: operator.on_kill())
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()
    try:
        with pytest.raises(Killed):
            operator.execute(Task().context)
    finally:
        signal.signal(signal.SIGTERM, old)
    assert (len(bigquery.inserted), bigquery.live()) == (1, [])


def test_airflow_gave_up_on_the_trigger(bigquery: FakeBigQuery) -> None:
    """When Airflow gives up on the trigger the stored jobs are cancelled before the task fails."""
    from airflow.sdk.exceptions import TaskDeferralTimeout

    calls = Calls(bigquery)
    task = first_try(bigquery, calls)
    with pytest.raises(TaskDeferralTimeout):
        deferred(function_of(calls)).resume_execution("__fail__", {"error": "Trigger timeout"}, task.context)
    assert not bigquery.live()


def test_any_cancels_the_rest(bigquery: FakeBigQuery, http: FakeHttpJobs) -> None:
    """until='any' ends at the first success; what still runs is cancelled, for the function's jobs are ours."""
    bigquery.script("SELECT", Outcome(running=60))
    http.script(lambda _: True, HttpOutcome(0, 0.2))

    def load() -> Any:
        start_query(bigquery, "slow")
        return [BigQueryJob(project="p", job_id="slow"), CustomHttp(url=start_http(http))]

    result = Task().run(deferred(load, until="any"))
    assert [job["state"] for job in result["jobs"]] == ["cancelled", "succeeded"]
    assert not bigquery.live()


# What could be lost between the function and us ---------------------------------------------------


@pytest.mark.parametrize("until", [2, "all", "any"])
def test_until_that_cannot_be(bigquery: FakeBigQuery, until: Any) -> None:
    """More successes than there are jobs is found out at once: what was started is ended, and no retry is burnt."""
    bigquery.script("SELECT", Outcome(running=60))
    calls = Calls(bigquery)
    operator = deferred(function_of(calls), until=until)
    if until == 2:
        with pytest.raises(AirflowFailException, match=r"until: expected .* from 1 to 1"):
            operator.execute(Task().context)
        assert not bigquery.live()
    else:
        Task().start(operator)


@pytest.mark.parametrize(
    "last",
    [
        lambda two: two,
        lambda two: [two],
        lambda two: {"jobs": [two]},
        lambda two: {"deferred": [], "jobs": [two]},
        lambda two: {"deferred": [two.to_dict()], "jobs": [two]},
    ],
)
def test_generator_that_returns_a_job_too(bigquery: FakeBigQuery, last: Callable[[Any], Any]) -> None:
    """What a generator returns may be a job in any form as well; each is waited for."""

    def load() -> Any:
        for name in ("one", "two"):
            start_query(bigquery, name)
        yield BigQueryJob(project="p", job_id="one")
        return last(BigQueryJob(project="p", job_id="two"))

    result = Task().run(deferred(load))
    assert [(job["job_id"], job["state"]) for job in result["jobs"]] == [("one", "succeeded"), ("two", "succeeded")]


def test_outputs_of_a_generator_add_up(bigquery: FakeBigQuery) -> None:
    """What is yielded beside the jobs is not lost to what is returned at the end."""

    def load() -> Any:
        start_query(bigquery, "one")
        yield {"deferred": [JOB], "first": 1}
        return {"second": 2}

    result = Task().run(deferred(load))
    assert (result["first"], result["second"]) == (1, 2)


class Broken:
    """A foreign object whose own methods fail."""

    def service_type(self) -> str:
        return "bigquery"

    def to_dict(self) -> dict[str, Any]:
        raise RuntimeError("boom")


@pytest.mark.parametrize("bad", [Broken(), BigQueryJob(project="p", job_id=7)], ids=["object", "field"])  # type: ignore[arg-type]
def test_bad_object_beside_a_good_job(bigquery: FakeBigQuery, bad: Any) -> None:
    """An object that cannot be read, and a field of the wrong type, end the good job beside them."""
    bigquery.script("SELECT", Outcome(running=60))

    def load() -> Any:
        start_query(bigquery, "one")
        return [JOB, bad]

    with pytest.raises(AirflowFailException, match=r"boom|job_id: expected str"):
        deferred(load).execute(Task().context)
    assert not bigquery.live()


def test_generator_that_exits(bigquery: FakeBigQuery) -> None:
    """sys.exit() in the middle ends what was started, as any error does."""
    bigquery.script("SELECT", Outcome(running=60))

    def load() -> Any:
        start_query(bigquery, "one")
        yield JOB
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        deferred(load).execute(Task().context)
    assert not bigquery.live()


def test_one_404_starts_nothing_anew(bigquery: FakeBigQuery) -> None:
    """A single 404 is not yet a lost job: the function is not called again."""
    calls = Calls(bigquery)
    task = first_try(bigquery, calls, running=2)
    bigquery.fail(Fault.status(404), on="GET */jobs/*")
    assert task.retry().run(deferred(function_of(calls)))["jobs"][0]["state"] == "succeeded"
    assert calls.count == 1

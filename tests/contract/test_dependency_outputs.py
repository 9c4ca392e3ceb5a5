"""What ``@task.dependency_wait`` hands to its function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException

from ork_provider.dependency import Outputs, TaskDependency
from ork_provider.dependency.decorator import DependencyWaitDecoratedOperator
from ork_provider.errors import JobFailed
from tests.support.dependency import Waiter, on
from tests.support.other_airflow import serve_airflow


def call(waiter: Waiter, function: Callable[..., Any], depends_on: Any, **arguments: Any) -> Any:
    """Run a decorated function to the task's end."""
    ours = {"python_callable": function, "op_args": [], "op_kwargs": {}, **arguments}
    return waiter.run(waiter.operator(depends_on, of=DependencyWaitDecoratedOperator, **ours))


def read(*names: Any) -> Callable[..., Any]:
    def function(output: Outputs) -> Any:
        return [output[name] for name in names]

    return function


def test_mapped(waiter: Waiter) -> None:
    """The values of a mapped task are in map order; None stands for an instance that was skipped."""
    server = waiter.server
    server.add_run(tasks={("process", i): "skipped" if i == 4 else "running" for i in range(12)})
    for i in (11, 3, 10, 0, 1, 2, 5, 6, 7, 8, 9):
        server.returns({"n": i}, "process", i)
    states = {("process", i): "success" for i in range(12) if i != 4}
    server.before(4, lambda: server.set_tasks(states))
    (values,) = call(waiter, read("process"), on("r1", "process"))
    assert values == [None if i == 4 else {"n": i} for i in range(12)]


def test_some_instances(waiter: Waiter) -> None:
    """Of some instances only theirs, each once, in map order; several dependencies on instances are taken together."""
    waiter.server.add_run(tasks={("p", i): "success" for i in range(4)})
    for i in range(4):
        waiter.server.returns(i, "p", i)

    def some(*lists: list[int]) -> Any:
        return call(waiter, read("p"), [on("r1", "p", map_indexes=indexes) for indexes in lists])

    assert some([3, 1]) == [[1, 3]]
    assert some([1, 1]) == [[1]]
    assert some([3], [0, 3], [1]) == [[0, 1, 3]]
    assert some([3], []) == [[0, 1, 2, 3]]


def test_removed_instances(waiter: Waiter) -> None:
    """What an instance returned that a shorter expansion has removed is not among the values."""
    waiter.server.add_run(tasks={("p", 0): "success", ("p", 1): "success", ("p", 2): "removed"})
    for i in range(3):
        waiter.server.returns(i, "p", i)
    assert call(waiter, read("p"), on("r1", "p")) == [[0, 1]]


def test_values(waiter: Waiter) -> None:
    """An unmapped task's value is itself, whatever it is; one that returned nothing has None."""
    values = {"text": "a", "number": 1.5, "list": [1, [2]], "dict": {"a": None}, "false": False}
    waiter.server.add_run(tasks=dict.fromkeys([*values, "nothing", "skipped"], "success") | {"skipped": "skipped"})
    for name, value in values.items():
        waiter.server.returns(value, name)
    names = [*values, "nothing", "skipped"]
    assert call(waiter, read(*names), on("r1", *names)) == [*values.values(), None, None]


def test_a_task_beside_an_instance(waiter: Waiter) -> None:
    """The value of a task ``a_1`` is not that of instance 1 of ``a``."""
    waiter.server.add_run(tasks={("a", 0): "success", ("a", 1): "success", "a_1": "success"})
    waiter.server.returns("instance 0", "a", 0)
    waiter.server.returns("instance 1", "a", 1)
    waiter.server.returns("task", "a_1")
    both = [["instance 0", "instance 1"], "task"]
    assert call(waiter, read("a", "a_1"), on("r1", "a", "a_1")) == both
    assert call(waiter, read("a", "a_1"), [on("r1", "a"), on("r1", "a_1")]) == both


def test_empty_expansion(waiter: Waiter) -> None:
    """A mapped task that was expanded to nothing has one instance that was skipped: None."""
    waiter.server.add_run(tasks={"p": "skipped"})
    assert call(waiter, read("p"), on("r1", "p")) == [None]


def test_whole_run_and_group(waiter: Waiter) -> None:
    """After a wait for a run or a group any of its tasks can be read; one that is not there is an error."""
    server = waiter.server
    server.add_run(state="success", tasks={"a": "success", ("p", 0): "success"})
    server.add_groups("sales", {"g": ["a", "p"]})
    server.returns(7, "a")
    server.returns(8, "p", 0)
    for dependency in (on(), TaskDependency(dag_id="sales", run_id="r1", task_group_id="g")):
        assert call(waiter, read("a", "p"), dependency) == [7, [8]]
        with pytest.raises(KeyError, match="'b' is not a task of DAG sales, run r1"):
            call(waiter, read("b"), dependency)


def test_two_dags(waiter: Waiter) -> None:
    """A task id that two DAGs have needs the DAG's id as well; the error says so."""
    for dag_id in ("sales", "stock"):
        waiter.server.add_run(dag_id, tasks={"load": "success"})
        waiter.server.returns(dag_id, "load", dag_id=dag_id)
    both = [on("r1", "load"), on("r1", "load", dag_id="stock")]
    with pytest.raises(
        KeyError, match=r"task of several runs: DAG sales, run r1, DAG stock.*output\[dag_id, task_id\]"
    ):
        call(waiter, read("load"), both)
    assert call(waiter, read(("stock", "load"), ("sales", "load")), both) == ["stock", "sales"]


def test_two_runs(waiter: Waiter) -> None:
    """Of two runs of one DAG neither is meant by the task's id, and the error does not advise what cannot help."""
    for run_id in ("r1", "r2"):
        waiter.server.add_run(run_id=run_id, tasks={"load": "success"})
    for name in ("load", ("sales", "load")):
        with pytest.raises(KeyError, match="depend on one of them only"):
            call(waiter, read(name), [on("r1", "load"), on("r2", "load")])


def test_two_airflows(waiter: Waiter, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same DAG and run of several Airflows are kept apart, by the ids of their connections."""
    waiter.server.add_run(tasks={"load": "success"})
    waiter.server.returns("here", "load")
    eu, us, here = on("r1", "load", conn_id="eu"), on("r1", "load", conn_id="us"), on("r1", "load")
    with serve_airflow(monkeypatch, "eu", {"load": "eu"}), serve_airflow(monkeypatch, "us", {"load": "us"}):
        names = [(conn_id, "sales", "load") for conn_id in ("us", "eu", None)]
        assert call(waiter, read(*names), [here, eu, us]) == ["us", "eu", "here"]
        assert call(waiter, read("load"), [us]) == ["us"]
        for name in ("load", ("sales", "load")):
            with pytest.raises(KeyError, match=r"run r1 over eu, DAG sales, run r1 over us; ask for output\[conn_id,"):
                call(waiter, read(name), [eu, us])
        with pytest.raises(KeyError, match="is not a task that was waited for"):
            call(waiter, read((None, "sales", "load")), [eu, us])


def test_connection_of_the_task(waiter: Waiter, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dependency without a connection is one of the task's, as one that names the same."""
    with serve_airflow(monkeypatch, "eu", {"load": "eu", "other": 2}):
        both = [on("r1", "load"), on("r1", "other", conn_id="eu")]
        names = ["load", ("sales", "other"), ("eu", "sales", "load")]
        assert call(waiter, read(*names), both, airflow_conn_id="eu") == ["eu", 2, "eu"]
        with pytest.raises(KeyError, match="'x' is not a task of DAG sales, run r1 over eu"):
            call(waiter, read("x"), on("r1"), airflow_conn_id="eu")


def test_unknown_task(waiter: Waiter) -> None:
    """The error for a task that was not waited for names those that were."""
    waiter.server.add_run(tasks={"a": "success", "b": "success", "c": "success"})
    for name in ("c", ("stock", "a")):
        with pytest.raises(KeyError, match=r"was waited for; those are: 'a', 'b'"):
            call(waiter, read(name), on("r1", "a", "b"))


def test_listing(waiter: Waiter) -> None:
    """The named tasks are listed, once each; each is read once."""
    waiter.server.add_run(tasks={"a": "success", "b": "success"})
    waiter.server.returns(1, "a")

    def function(output: Outputs) -> Any:
        return [dict(output), output["a"], output["a"], len(output), "a" in output, "c" in output, output.get("c", 5)]

    found = call(waiter, function, [on("r1", "a"), on("r1", "a", "b")])
    assert found == [{"a": 1, "b": None}, 1, 1, 2, True, False, 5]
    assert waiter.server.count("GetXCom") == 2


def test_named_date(waiter: Waiter) -> None:
    """Outputs are of the run that was found, by logical date or as the latest."""
    waiter.server.add_run(run_id="it", logical_date=waiter.logical_date, tasks={"a": "success"})
    waiter.server.returns(3, "a", run_id="it")
    for which in ({}, {"run": "latest"}):
        assert call(waiter, read("a"), TaskDependency(dag_id="sales", task_ids=["a"], **which)) == [3]


@pytest.mark.parametrize(("on_failed", "until"), [("continue", "all"), ("fail", "any")])
def test_outputs_of_what_failed(waiter: Waiter, on_failed: str, until: str) -> None:
    """What has failed, or was not needed, has no output, or the one that it has left; that is not an error."""
    for run_id, state in (("r1", "success"), ("r2", "failed")):
        waiter.server.add_run(run_id=run_id, tasks={f"of_{run_id}": state})
    waiter.server.returns(1, "of_r1")
    both = [on("r1", "of_r1"), on("r2", "of_r2")]
    assert call(waiter, read("of_r1", "of_r2"), both, on_failed=on_failed, until=until) == [1, None]


def test_output_of_what_does_not_exist(waiter: Waiter) -> None:
    """What never came, and was not needed, is not among the outputs."""
    waiter.server.add_run(tasks={"a": "success"})
    with pytest.raises(KeyError, match="'b' is not a task that was waited for"):
        call(waiter, read("b"), [on("r1", "a"), on("r9", "b")], until="any")


# The function ------------------------------------------------------------------------------------


def test_no_call_after_a_failure(waiter: Waiter) -> None:
    """The function is not called when the wait has failed, or skips the task."""
    waiter.server.add_run(tasks={"a": "failed"})

    def function(output: Any) -> None:
        raise AssertionError("called")

    with pytest.raises(JobFailed):
        call(waiter, function, on("r1", "a"))
    with pytest.raises(AirflowSkipException):
        call(waiter, function, on("r1", "a"), on_failed="skip")


def test_function_without_output(waiter: Waiter) -> None:
    """A function that takes no output asks for none."""
    waiter.server.add_run(tasks={"a": "success"})
    assert call(waiter, lambda: 5, on("r1", "a")) == 5
    assert waiter.server.count("GetXCom") == 0


def test_coroutine(waiter: Waiter) -> None:
    """A coroutine function is awaited, and may read outputs as well."""
    waiter.server.add_run(tasks={"a": "success"})
    waiter.server.returns(4, "a")

    async def function(output: Outputs) -> Any:
        return output["a"] + 1

    assert call(waiter, function, on("r1", "a")) == 5


def test_arguments(waiter: Waiter) -> None:
    """The function gets its own arguments, what it takes of the context, and output beside them."""
    waiter.server.add_run(tasks={"a": "success"})
    waiter.server.returns(4, "a")

    def function(factor: int, output: Any, plus: int = 0, ti: Any = None, **context: Any) -> Any:
        return [output["a"] * factor + plus, ti.task_id, context["logical_date"] == waiter.logical_date]

    assert call(waiter, function, on("r1", "a"), op_args=[10], op_kwargs={"plus": 2}) == [42, "report", True]


def test_output_of_ones_own(waiter: Waiter) -> None:
    """An argument ``output`` that the caller gives is his."""
    waiter.server.add_run(tasks={"a": "success"})
    assert call(waiter, lambda output: output, on("r1", "a"), op_kwargs={"output": "mine"}) == "mine"
    assert call(waiter, lambda output: output, on("r1", "a"), op_args=["mine"]) == "mine"


def test_error_of_the_function(waiter: Waiter) -> None:
    """What the function raises is the task's own error."""
    waiter.server.add_run(tasks={"a": "success"})

    def function() -> None:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        call(waiter, function, on("r1", "a"))

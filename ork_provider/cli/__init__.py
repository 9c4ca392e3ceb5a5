"""``airflow ork ...``: what waits now, why something does not go on, and the life of one task.

Airflow asks for the commands at each of its own starts, so nothing but their names is loaded before one is run.
"""

from __future__ import annotations

from typing import Any


def get_commands() -> list[Any]:
    """Return the commands, as Airflow's parser wants them."""
    from airflow.cli import cli_config
    from airflow.cli.cli_config import ARG_OUTPUT, ARG_VERBOSE, ActionCommand, GroupCommand, lazy_load_command

    from ork_provider.cli.names import CHECKS

    Arg: Any = cli_config.Arg  # noqa: N806 - a class, which Airflow has left without types

    filters = [
        Arg(("-d", "--dag-id"), help="only tasks of this Dag"),
        Arg(("-t", "--task-id"), help="only this task"),
        Arg(("-r", "--run-id"), help="only tasks of this run"),
        Arg(("-s", "--service"), help="only jobs of this kind, such as bigquery; 'other': triggers of other packages"),
        Arg(("--overdue",), help="only what waits past its deadline", action="store_true"),
    ]
    watch = Arg(
        ("-w", "--watch"),
        help="print anew every SECONDS (5), until Ctrl-C",
        metavar="SECONDS",
        nargs="?",
        default=0.0,  # without a value it is None
        type=float,
    )
    checks = Arg(
        ("-c", "--check"),
        help=f"only this check; may be given more than once: {', '.join(CHECKS)}",
        metavar="NAME",
        action="append",
        choices=CHECKS,
    )
    skip = Arg(
        ("--skip",),
        help="leave this check out; may be given more than once",
        metavar="NAME",
        action="append",
        choices=CHECKS,
    )
    log = Arg(
        ("--log",),
        help="a file that a triggerer of this machine writes its own log to; may be given more than once. "
        "By default the file that its output goes to, if it goes to one",
        metavar="FILE",
        action="append",
    )
    task = [
        Arg(("dag_id",), help="the Dag"),
        Arg(("task_id",), help="the task"),
        Arg(("run_id",), help="the run"),
        Arg(("--map-index",), help="the instance of a mapped task", type=int, default=-1),
    ]
    ask = Arg(("--ask",), help="ask the service once, now, how the jobs are", action="store_true")
    return [
        GroupCommand(
            name="ork",
            help="See what waits for external jobs, and what keeps it from going on",
            subcommands=(
                ActionCommand(
                    name="waiting",
                    help="List the jobs that deferred tasks wait for",
                    func=lazy_load_command("ork_provider.cli.waiting.waiting"),
                    args=(*filters, watch, ARG_OUTPUT, ARG_VERBOSE),
                ),
                ActionCommand(
                    name="doctor",
                    help="Check all that deferred tasks need in order to go on",
                    description="Each check is OK, WARN, FAIL or UNKNOWN, with what was found and what to do. "
                    "Exit code 0: neither WARN nor FAIL; 1: a WARN; 2: a FAIL. Nothing is changed.",
                    func=lazy_load_command("ork_provider.cli.doctor.doctor"),
                    args=(checks, skip, log, ARG_OUTPUT, ARG_VERBOSE),
                ),
                ActionCommand(
                    name="explain",
                    help="Tell the life of one deferred task, and what comes next",
                    func=lazy_load_command("ork_provider.cli.explain.explain"),
                    args=(*task, ask, ARG_OUTPUT, ARG_VERBOSE),
                ),
            ),
        )
    ]

"""Checks of what the metadata database holds: triggerers, triggers, and the tasks that wait for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta

from airflow.configuration import conf

from ork_provider.cli.reading import Deferred, Triggerer, show_span, show_time, threshold
from ork_provider.doctor.finding import Finding, fail, ok, some, tasks, unknown, warn
from ork_provider.doctor.patient import Patient

TAKEN_WITHIN = timedelta(seconds=10)
"""How long a new trigger may be nobody's; a triggerer looks every second."""

LATE = timedelta(seconds=30)
"""How long after a deadline a task may still be deferred, beside the interval of its asks."""


def check_triggerers(patient: Patient) -> Iterator[Finding]:
    """Look whether there is a triggerer, and how old its heartbeat is."""
    waits = len(patient.deferred)
    if not patient.alive:
        last = max((t.heartbeat for t in patient.triggerers.values() if t.heartbeat), default=None)
        heard = f"the last one was heard of at {show_time(last)}" if last else "there never was one"
        longest = patient.deferred[0].since if patient.deferred else None
        wait = f"; {tasks(waits)} deferred, the longest since {show_time(longest)}" if waits else "; nothing waits now"
        yield (fail if waits else warn)(
            f"No triggerer is alive: {heard}{wait}",
            "airflow triggerer",
        )
        return
    usual = conf.getfloat("triggerer", "job_heartbeat_sec")
    late = [t for t in patient.alive if _age(patient, t) > timedelta(seconds=2 * usual + 5)]
    for triggerer in late:
        yield warn(
            f"The heartbeat of {triggerer} is {show_span(_age(patient, triggerer))} old; it should come every "
            f"{usual:g} s. At {threshold().total_seconds():g} s its triggers go to another one",
            "airflow ork doctor --check event-loop --check open-files",
        )
    if not late:
        alive = [f"{t} ({show_span(_age(patient, t))} ago)" for t in patient.alive]
        yield ok(f"{len(alive)} alive: {some(alive)}")


def check_trigger_rows(patient: Patient) -> Iterator[Finding]:
    """Look whether each deferred task has a trigger that can be read."""
    without = [deferred for deferred in patient.deferred if deferred.trigger_id is None]
    unreadable = [deferred for deferred in patient.deferred if deferred.unreadable]
    if without:
        yield fail(
            f"{tasks(len(without))} deferred without a trigger, so that nothing can wake them: {some(without)}",
            clear(without[0]),
        )
    if unreadable:
        yield fail(
            f"The arguments of {len(unreadable)} triggers cannot be read here ({unreadable[0].unreadable}): "
            f"{some(unreadable)}",
            "airflow config get-value core fernet_key (it must be the same for workers, triggerers and here)",
        )
    if not without and not unreadable:
        yield ok(f"{tasks(len(patient.deferred))} deferred, each with a trigger")


def check_owners(patient: Patient) -> Iterator[Finding]:
    """Look whether each trigger belongs to a living triggerer."""
    with_trigger = [deferred for deferred in patient.deferred if deferred.trigger_id is not None]
    nobodys = [d for d in with_trigger if d.triggerer_id is None and _waits(patient, d) > TAKEN_WITHIN]
    orphans = [d for d in with_trigger if d.triggerer_id is not None and not (d.triggerer and d.triggerer.alive)]
    yield from _orphans(patient, orphans)
    if nobodys:
        queues = {d.queue for d in nobodys if d.queue}
        yield fail(
            f"No triggerer has taken the triggers of {tasks(len(nobodys))}, the oldest waits for "
            f"{show_span(_waits(patient, nobodys[0]))}: {some(nobodys)}"
            + (f"; queue {some(sorted(queues))}" if queues else ""),
            _take(patient, queues),
        )
    if not orphans and not nobodys:
        yield ok("Each trigger belongs to a living triggerer, or is new")


def check_capacity(patient: Patient) -> Iterator[Finding]:
    """Look whether the triggerers have room for more."""
    if not patient.alive:
        yield unknown("No triggerer is alive", "airflow triggerer")
        return
    rooms = [(t, patient.held.get(t.id, 0), patient.capacity(t)) for t in patient.alive]
    told = some([f"{t} has {held} of {capacity}" for t, held, capacity in rooms])
    queued = patient.held.get(None, 0)
    if all(held >= capacity for _, held, capacity in rooms):
        yield (fail if queued else warn)(
            f"Every triggerer is full: {told}; {queued} triggers wait for room",
            "airflow triggerer (one more, here or elsewhere), or raise [triggerer] capacity and the limit of open "
            "files (ulimit -n), and restart",
        )
    elif any(held > 0.9 * capacity for _, held, capacity in rooms):
        yield warn(
            f"A triggerer is nearly full: {told}",
            "airflow triggerer (one more), or raise [triggerer] capacity",
        )
    else:
        yield ok(f"{told}; {queued} wait to be taken")


def check_deadlines(patient: Patient) -> Iterator[Finding]:
    """Look whether a task is deferred past its deadline."""
    sweep = timedelta(seconds=conf.getfloat("scheduler", "trigger_timeout_check_interval"))
    late = [d for d in patient.deferred if _is_late(patient, d, sweep)]
    if late:
        first = min(late, key=lambda d: d.deadline or patient.now)
        named = some([f"{d} ({show_time(d.deadline)})" for d in late])
        past = patient.now - (first.deadline or patient.now)
        yield fail(
            f"{tasks(len(late))} still deferred after the deadline: {named}; "
            f"the longest for {show_span(past)}. Its trigger does not run, or its triggerer does not come to it",
            explain(first),
        )
        return
    dated = sum(d.deadline is not None for d in patient.deferred)
    yield ok(f"No deadline has passed; {tasks(dated)} deferred with one")


def clear(deferred: Deferred) -> str:
    """Return what lets a task begin anew; Airflow's command names a run by its logical date, which not all have."""
    if deferred.logical_date is None:
        return f"clear the task in the UI: Dag {deferred.dag_id}, run {deferred.run_id}, task {deferred.task_id}"
    date = deferred.logical_date.isoformat()
    return f"airflow tasks clear --task-regex '^{deferred.task_id}$' -s {date} -e {date} --yes {deferred.dag_id}"


def explain(deferred: Deferred) -> str:
    """Return the command that tells a task's life."""
    index = f" --map-index {deferred.map_index}" if deferred.map_index >= 0 else ""
    return f"airflow ork explain {deferred.dag_id} {deferred.task_id} '{deferred.run_id}'{index}"


def _orphans(patient: Patient, orphans: Iterable[Deferred]) -> Iterator[Finding]:
    """Tell the triggers whose triggerer is dead; a living one takes them within the threshold."""
    by_owner: dict[int, list[Deferred]] = {}
    for deferred in orphans:
        by_owner.setdefault(deferred.triggerer_id or 0, []).append(deferred)
    for owner, theirs in by_owner.items():
        triggerer = patient.triggerers.get(owner)
        silent = _age(patient, triggerer) if triggerer else None
        heard = f"{triggerer} was last heard of {show_span(silent)} ago" if silent else f"triggerer {owner} is gone"
        moves = patient.alive and silent is not None and silent < 2 * threshold()
        yield (warn if moves else fail)(
            f"The triggers of {tasks(len(theirs))} belong to a dead triggerer ({heard}): {some(theirs)}",
            "wait: a living triggerer takes them" if moves else _take(patient, {d.queue for d in theirs if d.queue}),
        )


def _take(patient: Patient, queues: set[str]) -> str:
    """Return the command by which somebody takes triggers."""
    start = f"airflow triggerer --queues {','.join(sorted(queues))}" if queues else "airflow triggerer"
    return f"{start}; or, if one is alive: airflow ork doctor --check capacity" if patient.alive else start


def _age(patient: Patient, triggerer: Triggerer) -> timedelta:
    return patient.now - triggerer.heartbeat if triggerer.heartbeat else timedelta(0)


def _waits(patient: Patient, deferred: Deferred) -> timedelta:
    return patient.now - deferred.since if deferred.since else timedelta(0)


def _is_late(patient: Patient, deferred: Deferred, sweep: timedelta) -> bool:
    """Whether a deadline has passed for longer than its triggerer, or the scheduler, takes to see it."""
    if deferred.deadline is None:
        return False
    interval = deferred.kwargs.get("poll_interval")
    between = timedelta(seconds=float(interval)) if isinstance(interval, int | float) else timedelta(0)
    return patient.now > deferred.deadline + max(sweep, between) + LATE

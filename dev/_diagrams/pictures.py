"""The five diagrams, laid out. True for Airflow 3.3.2: the names in them are functions, tables and settings of it."""

from __future__ import annotations

from itertools import pairwise

from _diagrams.layout import Sheet

WORKER, SCHEDULER, DATABASE = "#fff3bf", "#e5dbff", "#e9ecef"
TRIGGERER, SERVICE, GOOD, BAD = "#d0ebff", "#ffe8cc", "#d3f9d8", "#ffe3e3"
PALE = {WORKER: "#fffbea", SCHEDULER: "#f8f5ff", DATABASE: "#f8f9fa", TRIGGERER: "#f1f9ff", SERVICE: "#fff8f0"}


def complete_flow() -> Sheet:
    """Lay out what each process does, in order, from the start of a task to its end."""
    sheet = Sheet("complete-flow", "A deferred task from its start to its end: who does what, and what is written")
    lanes = {
        "scheduler": ("Scheduler", SCHEDULER),
        "worker": ("Worker", WORKER),
        "database": ("Database", DATABASE),
        "triggerer": ("Triggerer", TRIGGERER),
        "service": ("Service", SERVICE),
    }
    for at, (key, (text, fill)) in enumerate(lanes.items()):
        sheet.zone(key, text, (at * 290, 0, 250, 880), PALE[fill])

    def step(lane: str, row: int, text: str) -> None:
        at = list(lanes).index(lane)
        sheet.box(f"{lane}{row}", text, (at * 290 + 20, 60 + row * 116, 210, 92), lanes[lane][1])

    step("scheduler", 0, "1  Queues the task")
    step("worker", 0, "2  execute(): renders the request, stores what it is going to start")
    step("database", 0, "task_state_store: ork_attempt")
    step("worker", 1, "3  Submits the job and stores it, pushes ork_job, asks once")
    step("service", 1, "The job begins")
    step("worker", 2, "4  defer(): PATCH to the API server; the process ends, the slot is free")
    step("database", 2, "trigger: a new row.  task_instance: deferred, trigger_id, next_method, trigger_timeout")
    step("triggerer", 2, "5  Supervisor: assign_unassigned writes its id into triggerer_id")
    step("triggerer", 3, "6  Runner: run() asks on its event loop, with all who wait in one place")
    step("service", 3, "Running, running, done")
    step("triggerer", 4, "7  run() yields one event; supervisor: submit_event")
    step("database", 4, "task_instance: scheduled, trigger_id empty, the event in next_kwargs")
    step("scheduler", 4, "9  Queues the task again")
    step("triggerer", 5, "8  clean_unused, at every turn of the supervisor")
    step("database", 5, "trigger: the row is deleted")
    step("worker", 5, "10  execute_complete(event): fetches the result, or raises")
    step("worker", 6, "11  Returns the job and its statistics")
    step("database", 6, "task_instance: success.  xcom: return_value")
    for ends in (
        *("scheduler0.right worker0.left", "worker0.right database0.left", "worker0.bottom worker1.top"),
        *("worker1.bottom worker2.top", "worker1.right service1.left", "database2.right triggerer2.left"),
        *("triggerer2.bottom triggerer3.top", "triggerer3.bottom triggerer4.top", "triggerer4.left database4.right"),
        *("database4.left scheduler4.right", "triggerer4.bottom triggerer5.top", "triggerer5.left database5.right"),
        *("scheduler4.bottom worker5.left", "worker5.bottom worker6.top", "worker6.right database6.left"),
        *("worker2.right database2.left", "triggerer3.right:0.3 service3.left:0.3"),
        "service3.left:0.7 triggerer3.right:0.7",
    ):
        start, end = ends.split()
        sheet.arrow(start, end)
    return sheet


def trigger_table() -> Sheet:
    """Lay out what becomes of one row of the table `trigger`."""
    sheet = Sheet("trigger-table", "The life of a row of the table trigger")
    sheet.box(
        "insert",
        "A worker PATCHes its task to deferred. The API server inserts the row (classpath, encrypted_kwargs, "
        "created_date, queue), and its id into task_instance.trigger_id",
        (310, 0, 460, 84),
        WORKER,
    )
    sheet.box("free", "Unassigned: triggerer_id is empty", (400, 150, 280, 50), DATABASE, size=16)
    sheet.box(
        "held", "Assigned: triggerer_id is the job of a living triggerer", (400, 290, 280, 90), TRIGGERER, size=16
    )
    sheet.box(
        "orphan",
        "Orphan: its triggerer has ended, or gave no sign of life for 30 s (triggerer_health_check_threshold)",
        (900, 280, 240, 110),
        BAD,
    )
    sheet.box("runs", "Running: a coroutine of the runner", (400, 470, 280, 60), TRIGGERER, size=16)
    row = 630
    sheet.box(
        "timeout",
        "trigger_timeout has passed. Scheduler, check_trigger_timeouts: the task is scheduled with __fail__",
        (0, row, 240, 110),
        SCHEDULER,
    )
    sheet.box("user", "A user marks or clears the task: it is no longer deferred", (290, row, 240, 110), WORKER)
    sheet.box(
        "event",
        "It yields its event. Triggerer, submit_event: the task is scheduled with the event",
        (580, row, 240, 110),
        GOOD,
    )
    sheet.box(
        "fails",
        "It raises, ends without an event or cannot be loaded. Triggerer, submit_failure: scheduled with __fail__",
        (880, row, 260, 110),
        BAD,
    )
    sheet.box("unused", "Unused: no deferred task points at the row", (0, 810, 1140, 50), DATABASE, size=16)
    sheet.box(
        "cancel",
        "What still runs is cancelled: on_kill() where a user has acted, not after a timeout; then cleanup()",
        (700, 960, 440, 60),
        TRIGGERER,
    )
    sheet.box("gone", "Deleted", (200, 960, 200, 60), DATABASE, shape="ellipse", size=16)
    sheet.note("both", "A row that no triggerer runs can end so, too", (60, 476, 300))
    sheet.arrow("insert.bottom", "free.top")
    sheet.arrow("free.bottom", "held.top", "assign_unassigned: 50 per turn, up to [triggerer] capacity", room=220)
    sheet.arrow("held.right:0.25", "orphan.left:0.295", "it dies")
    sheet.arrow("orphan.left:0.704", "held.right:0.75", "another one takes it")
    sheet.arrow("held.bottom", "runs.top", "class imported, run() called", room=220)
    sheet.arrow("runs.left", "timeout.top")
    sheet.arrow("runs.bottom:0.035714", "user.top")
    sheet.arrow("runs.bottom:0.9", "event.top", at=580)
    sheet.arrow("runs.right", "fails.top")
    for key, place in (("timeout", 120), ("user", 410), ("event", 700), ("fails", 1010)):
        sheet.arrow(f"{key}.bottom", f"unused.top:{place / 1140}")
    sheet.arrow(f"unused.bottom:{300 / 1140}", "gone.top", "clean_unused, of any triggerer, at every turn", room=260)
    sheet.arrow(
        f"unused.bottom:{920 / 1140}", "cancel.top", "the triggerer that holds it sees that it is gone", room=260
    )
    return sheet


def triggerer() -> Sheet:
    """Lay out the two processes of a triggerer, and what this provider adds to the second."""
    sheet = Sheet("triggerer", "The two processes of a triggerer, and the hub of this provider in the second")
    sheet.zone("host", "airflow triggerer", (0, 0, 960, 850), "#ffffff")
    sheet.zone(
        "supervisor",
        "Supervisor process: TriggerRunnerSupervisor, one thing after the other",
        (20, 45, 920, 330),
        "#f8f5ff",
    )
    for at, (key, text) in enumerate(
        (
            ("load", "load_triggers: takes rows, says what to start and what to cancel"),
            ("handle", "handle_events, handle_failed_triggers: schedule the tasks"),
            ("clean", "clean_unused: deletes rows that no deferred task points at"),
            ("heartbeat", "heartbeat: job.latest_heartbeat, unless the runner is silent for 30 s"),
        )
    ):
        sheet.box(key, text, (40 + at * 225, 90, 205, 92), SCHEDULER)
    sheet.box("logs", "A log file per trigger: attempt=N.log.trigger.ID.log", (265, 250, 205, 92), SCHEDULER)
    sheet.box(
        "api",
        "In-process API: connections, variables, XComs, states of tasks. One request after the other, "
        "about 100 a second",
        (490, 250, 430, 92),
        SCHEDULER,
    )
    sheet.zone("runner", "Runner process: TriggerRunner, one asyncio event loop", (20, 450, 920, 380), "#f1f9ff")
    sheet.box(
        "sync",
        "sync_state_to_supervisor, every second: events out, starts and cancels in",
        (40, 500, 205, 112),
        TRIGGERER,
    )
    sheet.box("watchdog", "block_watchdog: warns when the loop was held for 0.2 s", (40, 690, 205, 112), TRIGGERER)
    for at, name in enumerate(("BigQueryJobTrigger", "BigQueryJobTrigger", "HttpJobTrigger")):
        sheet.box(f"trigger{at}", f"{name}.run()", (290 + at * 220, 500, 190, 60), GOOD)
    sheet.zone("hub", "Of ork_provider: one per event loop", (280, 640, 640, 170), "#fff8f0")
    sheet.box("scope", "Hub: one list call for all who wait in a project", (310, 690, 260, 92), SERVICE)
    sheet.box("door", "Door: one aiohttp session, one token per connection, limits", (640, 690, 250, 92), SERVICE)
    sheet.box(
        "database",
        "Metadata database: trigger, task_instance, job, xcom",
        (1060, 80, 240, 120),
        DATABASE,
        shape="ellipse",
    )
    sheet.box("services", "BigQuery, Cloud Run, Dataproc, DQOps, HTTP", (1060, 676, 240, 120), SERVICE, shape="ellipse")
    sheet.arrow("supervisor.right:0.28788", "database.left")
    sheet.arrow("load.bottom:0.4", "sync.top:0.4", "socket: TriggerStateChanges, TriggerStateSync", room=150, both=True)
    sheet.arrow("trigger2.top", f"api.bottom:{335 / 430}", "SUPERVISOR_COMMS")
    sheet.arrow("trigger0.bottom", "scope.top:0.288")
    sheet.arrow("trigger1.bottom", "scope.top:0.55", at=600)
    sheet.arrow("trigger2.bottom:0.6", "door.top:0.816")
    sheet.arrow("scope.right", "door.left")
    sheet.arrow("door.right", "services.left")
    return sheet


def states() -> Sheet:
    """Lay out the states of a task instance that may defer."""
    sheet = Sheet("states", "The states of a task instance that defers, and who changes them")

    def state(name: str, x: float, y: float, fill: str) -> None:
        sheet.box(name, name, (x, y, 160, 60), fill, size=16)

    state("none", -10, 200, "#ffffff")
    state("scheduled", 290, 200, SCHEDULER)
    state("queued", 560, 200, SCHEDULER)
    state("running", 830, 200, WORKER)
    state("up_for_retry", 560, 0, WORKER)
    state("up_for_reschedule", 560, 85, WORKER)
    state("deferred", 830, 460, TRIGGERER)
    sheet.zone("ended", "ended", (1190, 110, 200, 260), "#ffffff")
    for name, y, fill in (("success", 150, GOOD), ("skipped", 220, DATABASE), ("failed", 290, BAD)):
        state(name, 1210, y, fill)
    sheet.box("resume", "next_method: execute_complete, the event in next_kwargs", (480, 400, 220, 66), GOOD)
    sheet.box(
        "fail", "next_method: __fail__; our resume_execution cancels the job, and raises", (480, 520, 220, 66), BAD
    )
    sheet.arrow("none.right", "scheduled.left", "dependencies met")
    sheet.arrow("scheduled.right", "queued.left", "slot free")
    sheet.arrow("queued.right", "running.left", "worker starts")
    sheet.arrow("running.right", "ended.left:0.461538", "returns; or raises in its last try", room=120)
    sheet.arrow("running.top:0.75", "up_for_retry.right")
    sheet.arrow("running.top:0.25", "up_for_reschedule.right")
    sheet.arrow("up_for_retry.left", "scheduled.top:0.25")
    sheet.arrow("up_for_reschedule.left", "scheduled.top:0.75")
    sheet.note("retry", "raises, and tries are left", (735, 5, 200))
    sheet.note("waited", "retry_delay is over", (410, 5, 130))
    sheet.note("again", "mode=reschedule", (735, 93, 110))
    sheet.arrow("running.bottom", "deferred.top", "defers: a row in trigger, the slot is free", room=130)
    sheet.arrow("deferred.left:0.25", "resume.right", "event", at=765)
    sheet.arrow("deferred.left:0.75", "fail.right", at=765)
    sheet.note("why", "trigger fails (triggerer), or trigger_timeout (scheduler, every 15 s)", (480, 596, 420))
    sheet.arrow("resume.left", "scheduled.bottom:0.75")
    sheet.arrow("fail.left", "scheduled.bottom:0.25")
    sheet.arrow("deferred.right", "ended.bottom")
    sheet.note("marked", "a user marks it ended: on_kill();\nor an end event of the trigger", (1020, 500, 260))
    sheet.arrow("ended.top", "none.top", "a user clears it: a new try", at=-50, room=260)
    return sheet


def debugging() -> Sheet:
    """Lay out the way from a task that does not go on to the command that says why."""
    sheet = Sheet("debugging", "A deferred task does not go on: from the question to the command")
    ork, task = "airflow ork", "DAG_ID TASK_ID RUN_ID"

    def doctor(*checks: str) -> str:
        return " ".join([ork, "doctor", *(f"--check {check}" for check in checks)])

    sheet.box("start", "A task waits too long, or failed after a wait", (10, 0, 280, 76), WORKER, shape="ellipse")
    sheet.box("first", f"{ork} explain {task}", (0, 126, 300, 56), GOOD, size=12, mono=True)
    step, leaf = 172, 370

    def command(key: str, row: int, x: float, text: str) -> None:
        sheet.box(key, text, (x, 260 + row * step, 290, 56), GOOD, size=12, mono=True)

    left = (
        ("deferred", "Is it deferred now?", "yes", ""),
        ("alive", "Is a triggerer alive?", "yes", doctor("triggerer-alive")),
        ("row", "Is its row in the table trigger?", "yes", doctor("trigger-row")),
        ("held", "Does a living triggerer hold it?", "yes", doctor("trigger-owner", "capacity")),
        ("class", "Can its class be imported?", "yes", doctor("trigger-class")),
        ("deadline", "Is its deadline over?", "no", doctor("deadline")),
        ("ended", "Has its job ended?", "yes", f"{ork} explain {task} --ask"),
        ("log", "An error in the log of the triggerer?", "no", doctor("triggerer-log", "connections")),
    )
    right = (
        ("slot", "Is it scheduled or queued?", "no", "airflow pools list"),
        ("race", "Says it “queued or running”?", "no", doctor("heartbeat-interval")),
        ("late", "Says it “TimedOut” or “Trigger timeout”?", "no", doctor("deadline")),
        ("broke", "Says it “Trigger failed”?", "no", doctor("trigger-class", "triggerer-log")),
    )
    for x, first, chain in ((0, 0, left), (750, 1, right)):
        for row, (key, question, _, what) in enumerate(chain, first):
            sheet.box(key, question, (x, 232 + row * step, 300, 112), TRIGGERER, shape="diamond")
            if what:
                command(f"{key}-do", row, x + leaf, what)
    command("wait-do", 6, 755, f"{ork} waiting --watch")
    command("loop-do", 8, 5, doctor("event-loop", "open-files"))
    command("rest-do", 5, 755, doctor("database", "versions", "connections"))
    sheet.arrow("start.bottom", "first.top")
    sheet.arrow("first.bottom", "deferred.top")
    _spine(sheet, left)
    _spine(sheet, right)
    sheet.arrow("deferred.right", "slot.top")
    sheet.note("not-deferred", "no", (325, 268, 20))
    sheet.arrow("ended-do.right", "wait-do.left", "it has not")
    sheet.arrow("log.bottom", "loop-do.top", "no")
    sheet.arrow("broke.bottom", "rest-do.top", "no")
    return sheet


def _spine(sheet: Sheet, chain: tuple[tuple[str, str, str, str], ...]) -> None:
    """Join questions: the answer that each has leads to the next one, the other to its command."""
    for (above, _, answer, _), (below, _, _, _) in pairwise(chain):
        sheet.arrow(f"{above}.bottom", f"{below}.top", answer)
    for key, _, answer, what in chain:
        if what:
            other = "ask" if key == "ended" else {"yes": "no", "no": "yes"}[answer]
            sheet.arrow(f"{key}.right", f"{key}-do.left", other)


SHEETS = (complete_flow(), trigger_table(), triggerer(), states(), debugging())

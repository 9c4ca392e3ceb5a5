"""Every fault that may pass, once, while a task waits: the task succeeds and nothing is submitted twice."""

from __future__ import annotations

import pytest

from ork_provider import session
from ork_provider.testing import Fault
from tests.contract.kinds import SHARING, Kind
from tests.support.task import Task

FAULTS = [
    *(Fault.status(status) for status in (408, 429, 500, 502, 503, 504, 404)),
    Fault.google(401, "authError"),
    *(Fault.google(403, reason) for reason in ("rateLimitExceeded", "quotaExceeded", "backendError")),
    Fault.retry_after(429, 1),
    Fault.retry_after(503, 1),
    Fault.reset(),
    Fault.hang(3),
    Fault.malformed(),
    Fault.truncated(),
]


@pytest.mark.parametrize("nth", [1, 2], ids=["worker", "triggerer"])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.kind)
def test_single_fault_while_polling(kind: Kind, fault: Fault, nth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first poll is the worker's own, the second the triggerer's; a fault in either changes nothing."""
    monkeypatch.setattr(session.Request.__init__, "__kwdefaults__", _impatient(session.Request), raising=True)
    kind.script(0.8, True)
    rule = kind.fake.fail(fault, on=kind.on_status, nth=nth)
    result = Task().run(kind.operator())
    assert result["state"] == "succeeded"
    assert rule.applied == 1
    assert (len(kind.started()), kind.submits(), kind.cancels()) == (1, 1, 0)


@pytest.mark.parametrize("kind", SHARING, indirect=True)
@pytest.mark.parametrize("fault", [*FAULTS, Fault.google(403, "accessDenied")], ids=lambda fault: fault.kind)
def test_fault_of_the_shared_poll(kind: Kind, fault: Fault) -> None:
    """What tells of all waiting jobs at once may fail in any way, also for good: each is asked for by itself then."""
    kind.script(0.8, True)
    rule = kind.fake.fail(fault, on=kind.on_shared, times=-1)
    result = Task().run(kind.operator())
    assert result["state"] == "succeeded"
    assert rule.applied >= 1
    assert (len(kind.started()), kind.submits(), kind.cancels()) == (1, 1, 0)


def _impatient(request: type) -> dict[str, object]:
    """Return the request's defaults with a timeout that a hang of the fake is longer than."""
    defaults = dict(request.__init__.__kwdefaults__)  # type: ignore[misc]
    return {**defaults, "timeout": 1.0}


@pytest.mark.parametrize(
    "fault",
    [Fault.retry_after(429, 0.5), Fault.google(403, "rateLimitExceeded"), Fault.reset(), Fault.status(503)],
    ids=lambda fault: fault.kind,
)
def test_single_fault_of_the_submit(kind: Kind, fault: Fault) -> None:
    """A submit that failed and may pass is sent again, under the same id; one job is started."""
    kind.script(0.2, True)
    kind.fake.fail(fault, on=kind.on_submit)
    assert Task().run(kind.operator())["state"] == "succeeded"
    assert (len(kind.started()), kind.submits()) == (1, 2)


def test_single_fault_of_the_cancel(kind: Kind) -> None:
    """A cancel that failed and may pass is sent again."""
    from ork_provider.errors import TimedOut

    kind.script(60, True)
    kind.fake.fail(Fault.status(503), on=kind.on_cancel)
    with pytest.raises(TimedOut, match="confirms"):
        Task().run(kind.operator(timeout=1))
    assert not kind.live()

"""The public names of ork_provider.testing, frozen."""

from __future__ import annotations

import pytest

from ork_provider import testing

NAMES = """Answer DataprocOutcome FakeDataproc FakeDataprocBatch FakeDataprocJob DqopsOutcome
FakeBigQuery FakeClock FakeDqops FakeDqopsJob FakeHttpJob FakeHttpJobs FakeJob
FakeServer ExecutionOutcome FakeCloudRun FakeExecution
Fault FaultRule HttpOutcome Outcome PortInUse RecordedRequest Refused Route TriggerResult
google_connections merged_connections run_trigger"""


def test_public_names_are_frozen_and_documented() -> None:
    assert sorted(testing.__all__) == sorted(NAMES.split())
    for name in testing.__all__:
        assert getattr(testing, name).__doc__, name
        assert name in dir(testing)


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'FakeBigQery'"):
        testing.FakeBigQery  # noqa: B018

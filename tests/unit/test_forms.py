"""Jobs in every form in which a task may hand them over."""

from __future__ import annotations

from typing import Any

import pytest

from ork_provider.bigquery import BigQueryJob
from ork_provider.errors import InvalidJob
from ork_provider.forms import read_handed_over, read_jobs
from ork_provider.http import HttpJob

ONE = BigQueryJob(project="p", job_id="one")
TWO = HttpJob(url="/jobs/2")


@pytest.mark.parametrize(
    "value",
    [
        [ONE, TWO],
        (ONE.to_dict(), TWO),
        {"deferred": [ONE.to_dict(), TWO.to_dict()], "rows": 3},
        {"jobs": [{**ONE.to_dict(), "state": "succeeded", "stats": {}}, TWO]},
        [[ONE], [[TWO.to_dict()]]],
        [{"deferred": [ONE]}, {"jobs": [TWO, ONE]}],
        [ONE, ONE, TWO],
    ],
    ids=str,
)
def test_forms(value: Any) -> None:
    """Values, dicts, Ork's and our own results, lists of lists as of mapped tasks; each job once, in order."""
    assert read_jobs(value) == (ONE, TWO)


def test_the_rest_is_kept() -> None:
    """The other keys of the dict are not lost."""
    assert read_handed_over({"deferred": [ONE], "rows": 3, "day": "Monday"}).output == {"rows": 3, "day": "Monday"}


def test_all_that_is_wrong_is_named() -> None:
    """One error names each thing that cannot be read by its place; what can be read is kept beside it."""
    value = {"deferred": [ONE, {"service_type": "nope"}, [7, TWO]]}
    found = read_handed_over(value, "jobs")
    assert found.jobs == (ONE, TWO)
    with pytest.raises(InvalidJob, match=r"jobs\['deferred'\]\[1\]\.service_type: unknown job kind 'nope'.*: int 7 is"):
        read_jobs(value)


@pytest.mark.parametrize("value", [None, [], {}, {"deferred": []}, "job", 7, [None], {"rows": 1}], ids=repr)
def test_no_job_at_all(value: Any) -> None:
    """Nothing to wait for is an error that names the known kinds; it is never a success."""
    with pytest.raises(InvalidJob, match=r"known kinds: .*bigquery.*custom_http"):
        read_jobs(value)

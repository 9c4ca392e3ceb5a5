"""``airflow ork doctor``: checks, told as a table or as data, with an exit code for monitoring."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

from airflow.cli.simple_table import AirflowConsole
from airflow.utils.cli import suppress_logs_and_warning
from airflow.utils.providers_configuration_loader import providers_configuration_loaded
from airflow.utils.session import create_session

from ork_provider.cli.names import CHECKS
from ork_provider.doctor import Finding, Patient, Status, examine


@suppress_logs_and_warning
@providers_configuration_loaded
def doctor(args: Namespace) -> None:
    """Make the checks, print what was found, and exit with how grave it is."""
    names = [name for name in args.check or CHECKS if name not in (args.skip or ())]
    logs = [Path(file) for file in args.log or ()]
    for log in logs:
        if not log.is_file():
            print(f"--log {log}: there is no such file", file=sys.stderr)
            sys.exit(Status.FAIL.code)
    with create_session() as session:
        findings = list(examine(Patient(session, logs), names))
    if args.output == "table":
        _print(findings)
    else:
        AirflowConsole().print_as([_line(finding) for finding in findings], args.output)
    sys.exit(max((finding.status.code for finding in findings), default=0))


def _line(finding: Finding) -> dict[str, str]:
    return {"check": finding.check, "status": finding.status.value, "found": finding.found, "do": finding.do}


def _print(findings: list[Finding]) -> None:
    """Print one paragraph for each finding: its texts are longer than the columns of a table are wide."""
    for finding in findings:
        print(f"{finding.status.value:<7} {finding.check}: {finding.found}")
        if finding.do:
            print(f"        -> {finding.do}")
    worst = max((finding.status for finding in findings), key=lambda status: status.code, default=Status.OK)
    counts = ", ".join(
        f"{sum(finding.status is status for finding in findings)} {status.value}"
        for status in Status
        if any(finding.status is status for finding in findings)
    )
    print(f"\n{worst.value if worst.code else 'OK'}: {counts}")

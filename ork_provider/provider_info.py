"""What Airflow is told about this package: one list of modules, links and settings."""

from __future__ import annotations

from typing import Any

SERVICES = {
    "Google BigQuery": "ork_provider.bigquery",
    "HTTP jobs": "ork_provider.http",
    "Google Cloud Run": "ork_provider.cloud_run",
    "DQOps": "ork_provider.dqops",
    "Google Dataproc": "ork_provider.dataproc",
    "Airflow dependencies": "ork_provider.dependency",
}
"""Each service's name and its module; operators, triggers and sensors of a service live in one module."""

MANY = "Many jobs"
"""Name of what waits for jobs of any services."""


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata (schema: airflow/provider_info.schema.json)."""
    modules = [{"integration-name": name, "python-modules": [module]} for name, module in SERVICES.items()]
    return {
        "package-name": "airflow-provider-ork",
        "name": "Ork",
        "description": "Deferrable operators that hand a job to any service and give the worker back.",
        "integrations": [
            {"integration-name": name, "external-doc-url": url, "tags": ["service"]} for name, url in _DOCS.items()
        ],
        "operators": [*modules, {"integration-name": MANY, "python-modules": ["ork_provider.operator"]}],
        "sensors": [module for module in modules if module["integration-name"] == "HTTP jobs"],
        "triggers": [*modules, {"integration-name": MANY, "python-modules": ["ork_provider.trigger"]}],
        "hooks": [{"integration-name": "DQOps", "python-modules": ["ork_provider.dqops.hook"]}],
        "connection-types": [_DQOPS_CONNECTION],
        "cli": ["ork_provider.cli.get_commands"],
        "task-decorators": [
            {"name": "deferred", "class-name": "ork_provider.decorators.deferred_task"},
            {"name": "dependency_wait", "class-name": "ork_provider.dependency.decorator.dependency_wait_task"},
        ],
        "extra-links": ["ork_provider.operator.ConsoleLink"],
        "config": {
            "ork": {
                "description": "Settings of the Ork provider's operators and triggers.",
                "options": {
                    "default_deferrable": {
                        "description": "Whether operators defer unless told otherwise.",
                        "version_added": "0.1.0",
                        "type": "boolean",
                        "example": "False",
                        "default": "True",
                    },
                    "shared_poll_interval": {
                        "description": "Seconds between two polls that serve all waiting jobs of one scope, such as "
                        "the list of the running BigQuery jobs of a project.",
                        "version_added": "0.1.0",
                        "type": "float",
                        "example": "1",
                        "default": "2",
                    },
                    "allowed_hosts": {
                        "description": "Hosts that the URLs of HTTP jobs may lead to, separated by commas or line "
                        "breaks: host, host:port, *.domain or *.domain:port. Empty: any. The host of the task's "
                        "Airflow connection is always allowed. Set it for workers and triggerers alike.",
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "jobs.example.com, *.internal.example.com:8443",
                        "default": "",
                    },
                },
            }
        },
    }


_DOCS = {
    "Google BigQuery": "https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs",
    "HTTP jobs": "https://www.rfc-editor.org/rfc/rfc9110",
    "Google Cloud Run": "https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.jobs.executions",
    "DQOps": "https://dqops.com/docs/client/operations/jobs/",
    "Google Dataproc": "https://cloud.google.com/dataproc/docs/reference/rest",
    "Airflow dependencies": "https://airflow.apache.org/docs/apache-airflow/stable/core-concepts/dag-run.html",
    MANY: "https://airflow.apache.org/docs/apache-airflow/stable/authoring-and-scheduling/deferring.html",
}

_DQOPS_CONNECTION = {
    "connection-type": "dqops",
    "hook-name": "DQOps",
    "hook-class-name": "ork_provider.dqops.hook.DqopsHook",
    "ui-field-behaviour": {
        "hidden-fields": ["login"],
        "relabeling": {"host": "Base URL", "password": "API key"},
        "placeholders": {"host": "http://dqops:8888", "password": "only if authentication is on"},
    },
    "conn-fields": {
        "data_domain": {
            "label": "Data domain",
            "description": "Data domain to work in; empty: the default one.",
            "schema": {"type": ["string", "null"]},
        },
        "verify": {
            "label": "Verify TLS",
            "description": "False skips TLS verification; a path names a CA bundle. Empty: verify.",
            "schema": {"type": ["string", "null"]},
        },
    },
}
"""The connection form of DQOps; Airflow reads it here, without importing the hook."""

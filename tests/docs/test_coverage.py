"""Nothing public is undocumented: every name, parameter, error, command, setting and metric is in the built pages."""

from __future__ import annotations

import html
import inspect
import re
from collections.abc import Iterable
from functools import cache
from importlib import import_module
from typing import Any

import pytest
from airflow.triggers.base import BaseTrigger

from ork_provider import errors, metrics, testing
from ork_provider.cli import get_commands
from ork_provider.cli.names import CHECKS
from ork_provider.decorators import DeferredOperator, deferred_task
from ork_provider.dependency.decorator import DependencyWaitDecoratedOperator, dependency_wait_task
from ork_provider.dqops import DqopsHook
from ork_provider.job import Job
from ork_provider.operator import WaitOperator
from ork_provider.provider_info import get_provider_info
from tests.conftest import Tell
from tests.docs.conftest import Site
from tests.docs.pages import PAGES, ROOT
from tests.docs.test_public_names import _modules, _public

pytestmark = pytest.mark.timeout(400)

_site: list[Site] = []


@pytest.fixture(autouse=True)
def _built(site: Site) -> None:
    _site[:] = [site]


@cache
def _html() -> str:
    return "\n".join(_site[0].html(page) for page in sorted(_site[0].pages))


@cache
def _described() -> dict[str, str]:
    """Return what the pages say of each name of the API: its signature and its text, without tags."""
    parts = re.split(r'<dt class="sig [^"]*" id="([\w.]+)">', _html())
    return {name: _text(part) for name, part in zip(parts[1::2], parts[2::2], strict=True)}


def _text(part: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", part))


def _markdown() -> str:
    return "\n".join(page.read_text() for page in PAGES)


def _check(tell: Tell, what: str, wanted: set[str], found: set[str]) -> None:
    tell(f"{what} in the pages: {len(wanted & found)} of {len(wanted)}")
    assert wanted
    missing = sorted(wanted - found)
    assert missing == []


def _home(module: str, name: str) -> str:
    """Return the path under which a name is documented: its module, or the package that exports it."""
    package = module.rpartition(".")[0]
    exported = getattr(import_module(package), "__all__", ()) if package else ()
    return f"{package if name in exported else module}.{name}"


def _classes() -> dict[str, type]:
    """List the public operators, triggers, jobs, hooks and decorators by their documented path."""
    bases = (WaitOperator, BaseTrigger, Job, DqopsHook)
    found = [(name, value) for name in _modules() for _, value in _public(import_module(name))]
    classes = [(name, value) for name, value in found if inspect.isclass(value) and issubclass(value, bases)]
    return {_home(name, value.__name__): value for name, value in classes}  # an alias is its class


def test_public_names(tell: Tell) -> None:
    """Every public class and function of every module has its place in docs/api/."""
    wanted = {_home(name, public) for name in _modules() for public, _ in _public(import_module(name))}
    wanted |= {f"ork_provider.testing.{name}" for name in testing.__all__}
    _check(tell, "public names", wanted, set(_described()))


def test_parameters(tell: Tell) -> None:
    """Every parameter of every operator, trigger, job, hook and decorator stands with its class, inherited ones too."""
    classes = _classes()
    for cls in (DeferredOperator, DependencyWaitDecoratedOperator):  # what the decorators take
        assert cls in classes.values()
    wanted = {f"{path}({name})" for path, cls in classes.items() for name in _parameters(cls)}
    described = _described()
    found = {one for one in wanted if re.search(rf"\b{one[:-1].split('(')[1]}\b", described.get(one.split("(")[0], ""))}
    tell(f"classes whose parameters are looked for: {len(classes)}")
    _check(tell, "parameters", wanted, found)


def test_decorators(tell: Tell) -> None:
    """Every parameter of the decorators' functions, too."""
    for function in (deferred_task, dependency_wait_task):
        names = set(inspect.signature(function).parameters) - {"kwargs"}
        text = _described()[f"{function.__module__}.{function.__name__}"]
        assert {name for name in names if name not in text} == set()
    named = {decorator["name"] for decorator in get_provider_info()["task-decorators"]}
    _check(tell, "decorators", {f"@task.{name}" for name in named}, set(re.findall(r"@task\.\w+", _markdown())))


def _parameters(cls: type) -> set[str]:
    """Name the parameters of a constructor of ours and, as far as it passes them on, of its bases of ours."""
    names: set[str] = set()
    for base in cls.__mro__:
        if "__init__" in vars(base) and base.__module__.startswith("ork_provider"):
            parameters = list(inspect.signature(inspect.unwrap(vars(base)["__init__"])).parameters.values())[1:]
            names |= {p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
            if not any(p.kind is p.VAR_KEYWORD for p in parameters):
                break
    return names


def test_errors(tell: Tell) -> None:
    """Every error class is in the tree and in docs/api/; those that end a task are in a page that says what to do."""
    tree = {
        name for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, errors.OrkError)
    }
    _check(tell, "errors", {f"ork_provider.errors.{name}" for name in tree}, set(_described()))
    drawn = set(re.findall(r"\w+", errors.__doc__ or ""))
    assert tree <= drawn
    ends = {cls.__name__ for cls in (*_subclasses(errors.JobError), errors.BadRequest, *_subclasses(errors.BadRequest))}
    _check(tell, "errors that end a task", ends & tree, set(re.findall(r"`(\w+)`", _markdown())))


def _subclasses(cls: type) -> set[type]:
    return {cls, *(below for one in cls.__subclasses__() for below in _subclasses(one))}


def test_commands(tell: Tell) -> None:
    """Every command of `airflow ork`, its arguments and its checks stand in docs/command-line.md."""
    page = (ROOT / "docs/command-line.md").read_text()
    wanted, found = set(), set()
    for group in get_commands():
        for command in group.subcommands:
            name = f"airflow {group.name} {command.name}"
            head, _, rest = page.partition(f"\n## `{name}")
            section = rest.partition("\n## ")[0] + head.partition("\n## ")[0]  # what holds for all is said once, on top
            wanted |= {name} | {f"{name} {argument.flags[-1]}" for argument in command.args}
            found |= {name} if rest else set()
            found |= {f"{name} {argument.flags[-1]}" for argument in command.args if _is_said(argument.flags, section)}
    _check(tell, "commands and arguments", wanted, found)
    _check(tell, "checks of the doctor", set(CHECKS), set(re.findall(r"^\| `([\w-]+)` \|", page, re.MULTILINE)))


def _is_said(flags: Iterable[str], text: str) -> bool:
    return any(re.search(rf"(?<![\w-]){flag}(?![\w-])", text) for flag in flags)


def test_settings(tell: Tell) -> None:
    """Every setting of `[ork]` stands in docs/configuration.md."""
    options = set(get_provider_info()["config"]["ork"]["options"])
    _check(tell, "settings", options, set(re.findall(r"`(\w+)`", (ROOT / "docs/configuration.md").read_text())))


def test_metrics(tell: Tell) -> None:
    """Every metric that the code names stands in a page."""
    source = "\n".join(file.read_text() for file in ROOT.glob("ork_provider/**/*.py"))
    named: set[str] = set(getattr(metrics, "METRICS", ()))
    named |= {f"ork.wait.{name}" for name in re.findall(r'(?:metrics\.|\b)count\(\s*"(\w+)"', source)}
    named |= set(re.findall(r'"(ork\.[\w.]+)"', (ROOT / "ork_provider/metrics.py").read_text()))
    _check(tell, "metrics", named, set(re.findall(r"`(ork\.[\w.]+)`", _markdown())))


SERVICE_PAGES = ["bigquery", "cloud_run", "dataproc", "dqops", "http"]
HEADINGS = [
    *("What it does", "Example", "Parameters", "Result", "How success and failure are told"),
    *("Retries and re-attaching", "Cancel", "Connection and permissions", "What it does not do"),
]


@pytest.mark.parametrize("page", SERVICE_PAGES)
def test_service_pages_have_one_order(page: str) -> None:
    """A page of a service has these headings in this order; others may stand between them."""
    headings = re.findall(r"^## (.*)$", (ROOT / f"docs/{page}.md").read_text(), re.MULTILINE)
    assert [heading for heading in headings if heading in HEADINGS] == HEADINGS


def test_dependency_page_has_that_order() -> None:
    """The page on dependencies, where nothing is started, re-attached or cancelled, has those that make sense."""
    headings = re.findall(r"^## (.*)$", (ROOT / "docs/dependency-wait.md").read_text(), re.MULTILINE)
    assert [heading for heading in headings if heading in HEADINGS] == HEADINGS[:4]


def test_service_pages_are_all() -> None:
    """Every service that Airflow is told of has its page, in that order or, for dependencies, in one of its own."""
    modules: list[Any] = [entry["python-modules"] for entry in get_provider_info()["triggers"]]
    services = {module.rpartition(".")[2] for (module,) in modules} - {"trigger"}
    assert services == {*SERVICE_PAGES, "dependency"}

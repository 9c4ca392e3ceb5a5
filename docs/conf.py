"""How the pages of docs/ become a site, without a network: `sphinx-build -W --keep-going -b html docs build/docs`."""

from __future__ import annotations

import inspect
import os
import pkgutil
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path.insert(0, str(ROOT))

# autodoc imports the package, and with it Airflow, which writes its configuration where AIRFLOW_HOME says.
HOME = None if "AIRFLOW_HOME" in os.environ else tempfile.mkdtemp(prefix="ork-docs-")
os.environ.setdefault("AIRFLOW_HOME", HOME or "")
os.environ.setdefault("AIRFLOW__CORE__LOAD_EXAMPLES", "False")

import ork_provider  # noqa: E402 - the checkout's, not an installed one

project = "ork_provider"
author = "the authors of ork_provider"
version = release = ork_provider.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc"]
html_theme = "furo"
html_title = f"ork_provider {release}"
html_show_copyright = False
html_copy_source = False

myst_heading_anchors = 4  # anchors as GitHub makes them, so that a link to a heading works in both

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
add_module_names = False
python_use_unqualified_type_names = True
maximum_signature_line_length = 100

HOMES = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
"""Pages that live outside docs/, and which page of the site shows them."""

_SHOWN = re.compile(r"^<!-- show (\S+) -->\n.*?^<!-- end -->$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#)([^)\s#]+)")


def show_files(app: Any, docname: str, source: list[str]) -> None:
    """Put the text of another file where a page says `<!-- show ../FILE -->`; lead links out of docs/ to the site."""
    page = Path(app.env.doc2path(docname)).resolve()

    def shown(match: re.Match[str]) -> str:
        file = (page.parent / match[1]).resolve()
        app.env.note_dependency(str(file))
        text = file.read_text(encoding="utf-8").partition("\n")[2]  # the page has a title of its own
        return _led(text, file.parent, page.parent)

    text = _SHOWN.sub(shown, _led(source[0], page.parent, page.parent))
    source[0] = text.replace("<!-- modules -->", "\n".join(_other_modules()))


def _other_modules() -> Iterator[str]:
    """Yield a heading and an `automodule` for each module that no page of docs/api/ names."""
    named = set(re.findall(r"automodule:: (\S+)", "".join(page.read_text() for page in DOCS.glob("api/*.md"))))
    for found in pkgutil.walk_packages(ork_provider.__path__, "ork_provider."):
        if found.name not in named and not found.name.startswith("ork_provider.testing."):
            extra = "".join(f"\n.. autoclass:: {found.name}.{name}\n" for name in _not_exported(found.name))
            yield f"## {found.name}\n\n```{{eval-rst}}\n.. automodule:: {found.name}\n{extra}```\n"


def _not_exported(name: str) -> list[str]:
    """Name the public classes of a module that its `__all__` leaves out."""
    module = import_module(name)
    ours = [n for n, value in vars(module).items() if getattr(value, "__module__", None) == name and n[0] != "_"]
    return [n for n in ours if n not in getattr(module, "__all__", ours) and inspect.isclass(vars(module)[n])]


def _led(text: str, base: Path, folder: Path) -> str:
    """Return the text with its links, which are relative to `base`, as a page in `folder` needs them."""

    def link(match: re.Match[str]) -> str:
        target = (base / match[1]).resolve()
        home = HOMES.get(os.path.relpath(target, ROOT))
        if home is None and base == folder:
            return match[0]
        return os.path.relpath(DOCS / home if home else target, folder)

    parts = re.split(r"(^```.*?^```$)", text, flags=re.MULTILINE | re.DOTALL)  # code has brackets, too
    return "".join(part if part.startswith("```") else _LINK.sub(link, part) for part in parts)


def add_parameters_of_bases(*event: Any) -> None:
    """Say in a class's text which parameters it takes of its bases, with their defaults and what they mean."""
    _app, what, _name, obj, _options, lines = event
    if what not in ("class", "exception"):
        return
    own = set(_parameters(obj)) if "__init__" in vars(obj) else set()
    for base in _bases_with_parameters(obj):
        taken = {name: default for name, default in _parameters(base).items() if name not in own}
        own |= set(taken)
        if taken:
            meanings = _meanings(base)
            lines += ["", f"Takes also, of ``{base.__name__}``:", ""]
            for parameter, default in taken.items():
                lines.append(f"* ``{parameter}{default}``{_said(meanings.get(parameter))}")
    airflow = "airflow.sdk.bases.operator"
    if any(f"{base.__module__}.{base.__name__}" == f"{airflow}.BaseOperator" for base in obj.__mro__):
        lines += ["", "And what every operator of Airflow takes: ``task_id``, ``retries``, ``pool`` and so on.", ""]


def _said(meaning: str | None) -> str:
    return f": {meaning}" if meaning else ""


def _bases_with_parameters(cls: type) -> Iterator[type]:
    """Yield the bases of ours whose constructors get what `cls` is called with and does not name itself."""
    for number, base in enumerate(cls.__mro__):
        if not base.__module__.startswith("ork_provider"):
            continue
        if "__init__" not in vars(base):
            continue
        if number:
            yield base
        kinds = {p.kind for p in inspect.signature(inspect.unwrap(vars(base)["__init__"])).parameters.values()}
        if inspect.Parameter.VAR_KEYWORD not in kinds:
            return


def _parameters(cls: type) -> dict[str, str]:
    """Return the named parameters of a class's own constructor, each with `=default` if it has one."""
    signature = inspect.signature(inspect.unwrap(vars(cls)["__init__"]))
    named = [p for p in list(signature.parameters.values())[1:] if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    return {p.name: "" if p.default is p.empty else f"={_default(p.default)}" for p in named}


def _default(value: Any) -> str:
    text = repr(value)
    return "..." if text.startswith("<") else text


def _meanings(cls: type) -> dict[str, str]:
    """Return what a class's docstring says of its parameters."""
    found = re.findall(r"^:param (\w+): (.*?)(?=^:|^\S|\n\n|\Z)", inspect.getdoc(cls) or "", re.MULTILINE | re.DOTALL)
    return {name: " ".join(text.split()) for name, text in found}


def skip_what_is_shown_elsewhere(*event: Any) -> bool | None:
    """Leave out of a module's page what it has from elsewhere, and what its package exports and shows."""
    app, what, name, obj, _skip, _options = event
    module = sys.modules.get(app.env.temp_data.get("autodoc:module") or "")
    if what != "module" or module is None or hasattr(module, "__all__"):
        return None
    if getattr(obj, "__module__", module.__name__) != module.__name__:
        return True
    package = sys.modules.get(module.__name__.rpartition(".")[0])
    return True if name in getattr(package, "__all__", ()) else None


def remove_home(app: Any, exception: Exception | None) -> None:
    """Remove the AIRFLOW_HOME that this file has made."""
    if HOME:
        shutil.rmtree(HOME, ignore_errors=True)


def setup(app: Any) -> None:
    """Tell Sphinx when to call what is above."""
    app.connect("source-read", show_files)
    app.connect("autodoc-process-docstring", add_parameters_of_bases)
    app.connect("autodoc-skip-member", skip_what_is_shown_elsewhere)
    app.connect("build-finished", remove_home)

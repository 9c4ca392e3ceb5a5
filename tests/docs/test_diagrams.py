"""docs/diagrams: each file is an Excalidraw drawing without faults, and the SVG beside it is what it gives."""

from __future__ import annotations

import copy
import importlib
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import airflow
import pytest

from tests.conftest import Tell
from tests.docs.pages import ROOT

FOLDER = ROOT / "docs" / "diagrams"
NAMES = ["complete-flow", "debugging", "states", "trigger-table", "triggerer"]
Drawing = dict[str, Any]


@pytest.fixture(scope="module")
def tools() -> Any:
    """Return our renderer and our checks, which live in dev/."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "dev"))
        modules = {
            name: importlib.import_module(f"_diagrams.{name}") for name in ("check", "layout", "pictures", "render")
        }
    return SimpleNamespace(**modules)


def _drawing(name: str) -> Drawing:
    return dict(json.loads((FOLDER / f"{name}.excalidraw").read_text(encoding="utf-8")))


def test_all_are_rendered(tools: Any, tell: Tell) -> None:
    """Every drawing is valid JSON without a fault, and drawn anew it is the committed SVG; no SVG is left over."""
    files = sorted(FOLDER.glob("*.excalidraw"))
    assert [file.stem for file in files] == NAMES
    assert sorted(file.stem for file in FOLDER.glob("*.svg")) == NAMES
    titles = {sheet.name: sheet.title for sheet in tools.pictures.SHEETS}
    rendered = 0
    for file in files:
        drawing = _drawing(file.stem)
        assert tools.check.problems(drawing) == []
        svg = tools.render.svg(drawing, titles[file.stem])
        assert svg == file.with_suffix(".svg").read_text(encoding="utf-8"), f"{file}: run python dev/diagrams.py"
        assert _words(ElementTree.fromstring(svg)) == [
            line for e in drawing["elements"] if e["type"] == "text" for line in e["text"].split("\n")
        ]
        rendered += 1
    tell(f"diagrams rendered: {rendered} / {len(files)}")
    assert rendered == len(files)


def _words(svg: ElementTree.Element) -> list[str]:
    return [element.text or "" for element in svg.iter("{http://www.w3.org/2000/svg}text")]


def test_the_command_draws_them() -> None:
    """`python dev/diagrams.py` ends with 0 and changes nothing that is committed."""
    before = {file: file.read_bytes() for file in FOLDER.iterdir()}
    subprocess.run([sys.executable, "dev/diagrams.py"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    assert {file: file.read_bytes() for file in FOLDER.iterdir()} == before


def _first(drawing: Drawing, kind: str, **fields: Any) -> Drawing:
    return next(
        dict_
        for dict_ in drawing["elements"]
        if dict_["type"] == kind and all(dict_[name] == value for name, value in fields.items())
    )


def _named(drawing: Drawing, name: str) -> Drawing:
    return next(element for element in drawing["elements"] if element["id"] == name)


def _same_id(drawing: Drawing) -> None:
    drawing["elements"].append(copy.deepcopy(drawing["elements"][0]))


def _no_version(drawing: Drawing) -> None:
    drawing["version"] = 1


def _no_points(drawing: Drawing) -> None:
    del _first(drawing, "arrow")["points"]


def _unknown_end(drawing: Drawing) -> None:
    _first(drawing, "arrow")["endBinding"]["elementId"] = "nobody"


def _one_sided(drawing: Drawing) -> None:
    _named(drawing, "deferred")["boundElements"].pop()


def _forgotten(drawing: Drawing) -> None:
    drawing["elements"].remove(_first(drawing, "arrow"))


def _moved(drawing: Drawing) -> None:
    _named(drawing, "none")["x"] -= 50


def _long(drawing: Drawing) -> None:
    text = _named(drawing, "queued-text")
    text["text"] = text["originalText"] = "one two three four five six seven eight nine ten eleven twelve"


def _unwrapped(drawing: Drawing) -> None:
    text = _named(drawing, "resume-text")
    text["text"] = text["text"].replace("\n", " ")


def _over(drawing: Drawing) -> None:
    _named(drawing, "retry").update(x=_named(drawing, "queued")["x"], y=_named(drawing, "queued")["y"])


def _through(drawing: Drawing) -> None:
    arrow = next(e for e in drawing["elements"] if e["id"] == "fail-scheduled-1")
    arrow["points"] = [[0, 0], [150, 0], [150, -100], [arrow["points"][-1][0], -100], arrow["points"][-1]]


def _hidden(drawing: Drawing) -> None:
    label = _named(drawing, "queued-running-1-text")
    label.update(width=100, x=label["x"] - (100 - label["width"]) / 2)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_same_id, "this id is there twice"),
        (_no_version, "not an Excalidraw file of version 2"),
        (_no_points, "no points"),
        (_unknown_end, "is bound to nobody, which does not exist"),
        (_one_sided, "which does not know of it"),
        (_forgotten, "which does not know of it"),
        (_moved, "does not reach none"),
        (_long, "does not fit into queued"),
        (_unwrapped, "in other lines than the file has"),
        (_over, "queued and retry overlap"),
        (_through, "fail-scheduled-1 runs through"),
        (_hidden, "hides its arrow"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_faults_are_found(tools: Any, damage: Callable[[Drawing], None], words: str) -> None:
    """What is broken in a drawing is said; so the check of the whole ones can fail."""
    drawing = _drawing("states")
    damage(drawing)
    assert any(words in problem for problem in tools.check.problems(drawing))


def test_a_drawing_is_laid_out_alike(tools: Any) -> None:
    """The layouts in dev/ still give drawings without a fault; two that cross are refused."""
    assert [problem for sheet in tools.pictures.SHEETS for problem in tools.check.problems(sheet.drawing())] == []
    sheet = tools.layout.Sheet("test", "test")
    for name, place in {"a": (0, 0), "b": (200, 200), "c": (200, 0), "d": (0, 200)}.items():
        sheet.box(name, name, (*place, 100, 60), "#ffffff")
    sheet.arrow("a.bottom", "b.top:0.9", at=110)
    sheet.arrow("c.bottom", "d.top", at=140)
    assert tools.check.problems(sheet.drawing()) == ["a-b-1 and c-d-1 cross"]


def _texts(drawing: Drawing) -> dict[str, str]:
    """Give the text of each shape."""
    return {
        e["containerId"]: e["originalText"] for e in drawing["elements"] if e["type"] == "text" and e["containerId"]
    }


def test_every_leaf_of_debugging_is_a_command() -> None:
    """Each way through the flowchart ends in a command that its parser takes; each check of the doctor is in one."""
    from airflow.cli.cli_parser import get_parser

    from ork_provider.cli.names import CHECKS

    drawing = _drawing("debugging")
    texts = _texts(drawing)
    begun = {e["startBinding"]["elementId"] for e in drawing["elements"] if e["type"] == "arrow"}
    leaves = [
        texts[e["id"]] for e in drawing["elements"] if e["type"] in ("rectangle", "diamond") and e["id"] not in begun
    ]
    commands = [text for text in texts.values() if text.startswith("airflow ")]
    assert len(leaves) == 13
    assert set(leaves) <= set(commands)
    checks: set[str] = set()
    for command in commands:
        parsed = get_parser().parse_args(shlex.split(command)[1:])
        checks |= set(getattr(parsed, "check", None) or [])
    assert checks == set(CHECKS)


def test_names_are_those_of_airflow() -> None:
    """Functions, columns, settings and classes in the drawings are names of the installed Airflow, or ours."""
    names = {name for drawing in NAMES for text in _texts(_drawing(drawing)).values() for name in _identifiers(text)}
    assert len(names) > 30
    source = _source(Path(airflow.__file__).parent) + _source(ROOT / "ork_provider")
    assert {name for name in names if not re.search(rf"\b{name}\b", source)} == set()


def _identifiers(text: str) -> list[str]:
    if text.startswith("airflow "):
        return []
    return [word for word in re.findall(r"\w+", text) if "_" in word.strip("_") or re.search(r"[a-z][A-Z]", word)]


def _source(folder: Path) -> str:
    kinds = ("*.py", "*.yml")
    files = [file for kind in kinds for file in folder.rglob(kind) if "migrations" not in file.parts]
    return "\n".join(file.read_text(encoding="utf-8") for file in files)

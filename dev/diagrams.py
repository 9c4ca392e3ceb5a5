"""python dev/diagrams.py: check docs/diagrams/*.excalidraw and draw each as SVG beside it.

--layout writes the .excalidraw files anew first, as dev/_diagrams/pictures.py lays them out; what was changed in them
by hand is lost.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from _diagrams.check import problems
from _diagrams.pictures import SHEETS
from _diagrams.render import svg

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "diagrams"


def main(arguments: list[str]) -> int:
    """Draw all; return how many have problems, which are printed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layout", action="store_true", help="write the .excalidraw files anew first")
    if parser.parse_args(arguments).layout:
        for sheet in SHEETS:
            drawing = json.dumps(sheet.drawing(), indent=2, ensure_ascii=False)
            (FOLDER / f"{sheet.name}.excalidraw").write_text(drawing + "\n", encoding="utf-8")
    bad = 0
    for file in sorted(FOLDER.glob("*.excalidraw")):
        drawing = json.loads(file.read_text(encoding="utf-8"))
        wrong = problems(drawing)
        bad += bool(wrong)
        print(f"{file.name}: {len(drawing['elements'])} elements" + "".join(f"\n  {problem}" for problem in wrong))
        if not wrong:
            title = next((sheet.title for sheet in SHEETS if sheet.name == file.stem), file.stem)
            file.with_suffix(".svg").write_text(svg(drawing, title), encoding="utf-8")
    return bad


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

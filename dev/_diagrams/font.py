"""How wide a text is: the widths of Helvetica (Arial and Liberation Sans have the same) and of a monospaced font."""

from __future__ import annotations

SANS, MONO = 2, 3
"""Excalidraw's numbers of fonts."""
FAMILIES = {
    SANS: "Helvetica, Arial, 'Liberation Sans', Arimo, sans-serif",
    MONO: "'Cascadia Code', Menlo, 'DejaVu Sans Mono', 'Liberation Mono', monospace",
}
LINE_HEIGHT = 1.25
WIDEST = 1000

_WIDTHS = {
    191: "'",
    222: "ijl",
    260: "|",
    278: " !,./:;I[\\]ft",
    333: "()-`r“”",
    334: "{}",
    355: '"',
    389: "*",
    469: "^",
    500: "Jcksvxyz",
    556: "#$0123456789?L_abdeghnopqu",
    584: "+<=>~",
    611: "FTZ",
    667: "&ABEKPSVXY",
    722: "CDHNRUw",
    778: "GOQ",
    833: "Mm",
    889: "%",
    944: "W",
}
_WIDTH = {letter: width for width, letters in _WIDTHS.items() for letter in letters}


def width(text: str, size: float, family: int = SANS) -> float:
    """Return the width of one line in pixels; a letter that is not in the table counts as the widest."""
    if family == MONO:
        return len(text) * size * 0.602
    return sum(_WIDTH.get(letter, WIDEST) for letter in text) * size / 1000


def wrap(text: str, limit: float, size: float, family: int = SANS) -> str:
    """Break a text into lines that are not wider than `limit`, between words only; its own line breaks stay."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split(" "):
            longer = f"{line} {word}" if line else word
            if line and width(longer, size, family) > limit:
                lines.append(line)
                line = word
            else:
                line = longer
        lines.append(line)
    return "\n".join(lines)


def height(text: str, size: float) -> float:
    """Return the height of all lines of a text in pixels."""
    return (text.count("\n") + 1) * size * LINE_HEIGHT

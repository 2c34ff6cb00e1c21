"""Breaking text into lines of a given width."""

from collections.abc import Iterable, Sequence


def words(text: str, width: int) -> list[str]:
    """The words of a text; those longer than a line are cut into pieces that fit."""
    found: list[str] = []
    for word in text.split():
        while len(word) > width:
            found.append(word[:width])
            word = word[width:]
        found.append(word)
    return found


def wrap(text: str, width: int = 40, indent: str = "", hanging: str | None = None) -> list[str]:
    """Lines of at most ``width`` characters, filled greedily.

    The first line begins with ``indent``, the others with ``hanging`` (by default the same).
    """
    if hanging is None:
        hanging = indent
    room = width - max(len(indent), len(hanging))
    if room < 1:
        raise ValueError("no room beside the indentation")
    lines: list[str] = []
    line = ""
    for word in words(text, room):
        if line and len(line) + 1 + len(word) > room:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}" if line else word
    if line:
        lines.append(line)
    return [(hanging if i else indent) + line for i, line in enumerate(lines)]


def fill(text: str, width: int = 40) -> str:
    """Each paragraph wrapped; paragraphs are parted by empty lines, and stay so."""
    paragraphs = [p for p in text.split("\n\n") if p.strip()]
    return "\n\n".join("\n".join(wrap(p, width)) for p in paragraphs)


def justify(line: str, width: int) -> str:
    """Spaces are widened, from the left, until the line is as wide as it should be."""
    parts = line.split()
    if len(parts) < 2:
        return line.strip()
    letters = sum(len(p) for p in parts)
    spaces, extra = divmod(max(width - letters, len(parts) - 1), len(parts) - 1)
    out = parts[0]
    for i, part in enumerate(parts[1:]):
        out += " " * (spaces + (1 if i < extra else 0)) + part
    return out


def shorten(text: str, width: int, mark: str = "...") -> str:
    """Words from the left as far as they fit, and a mark if any is missing."""
    text = " ".join(text.split())
    if len(text) <= width:
        return text
    kept = ""
    for word in text.split():
        longer = f"{kept} {word}".lstrip()
        if len(longer) + len(mark) > width:
            break
        kept = longer
    return kept + mark


def dedent(lines: Sequence[str]) -> list[str]:
    """The indentation that all lines share is taken off; blank lines become empty."""
    depths = [len(line) - len(line.lstrip()) for line in lines if line.strip()]
    depth = min(depths, default=0)
    return [line[depth:].rstrip() for line in lines]


def columns(rows: Iterable[Sequence[str]], gap: int = 2) -> list[str]:
    """Cells set under each other, each column as wide as its widest cell."""
    table = [list(row) for row in rows]
    count = max((len(row) for row in table), default=0)
    for row in table:
        row += [""] * (count - len(row))
    widths = [max(len(row[i]) for row in table) for i in range(count)]
    return [(" " * gap).join(cell.ljust(w) for cell, w in zip(row, widths)).rstrip() for row in table]

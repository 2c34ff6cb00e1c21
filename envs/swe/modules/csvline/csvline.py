"""Reading and writing lines of comma-separated values."""

from collections.abc import Iterable, Sequence
from typing import Any


class CsvError(ValueError):
    """A line that cannot be read."""


def split_line(line: str, delimiter: str = ",", quote: str = '"', strip: bool = False) -> list[str]:
    """The fields of one line.

    A field in quotes may hold the delimiter; a quote inside of it is written twice.
    """
    fields: list[str] = []
    field = ""
    quoted = False
    closed = False
    i = 0
    while i < len(line):
        char = line[i]
        if quoted:
            if char == quote and line[i + 1 : i + 2] == quote:
                field += quote
                i += 1
            elif char == quote:
                quoted = False
                closed = True
            else:
                field += char
        elif char == delimiter:
            fields.append(field.strip() if strip and not closed else field)
            field = ""
            closed = False
        elif char == quote and not field.strip() and not closed:
            field = ""
            quoted = True
        elif closed and char != " ":
            raise CsvError(f"unexpected {char!r} behind a quote at {i + 1}")
        elif not closed:
            field += char
        i += 1
    if quoted:
        raise CsvError("a quote is not closed")
    fields.append(field.strip() if strip and not closed else field)
    return fields


def join_line(fields: Iterable[Any], delimiter: str = ",", quote: str = '"') -> str:
    """One line that ``split_line`` reads back; None is an empty field."""
    out: list[str] = []
    for value in fields:
        text = "" if value is None else str(value)
        if delimiter in text or quote in text or text != text.strip():
            text = quote + text.replace(quote, quote * 2) + quote
        out.append(text)
    return delimiter.join(out)


def convert(text: str) -> int | float | str | None:
    """A field as the number that it is, None where it is empty, else as it is."""
    if not text.strip():
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def read(text: str, delimiter: str = ",") -> list[dict[str, Any]]:
    """The rows below a heading, as dictionaries; empty lines and those that begin with # do not count.

    Missing fields at the end are None, more fields than the heading has are an error.
    """
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not lines:
        return []
    names = split_line(lines[0], delimiter, strip=True)
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(lines[1:], 2):
        values = [convert(f) for f in split_line(line, delimiter)]
        if len(values) > len(names):
            raise CsvError(f"row {number} has {len(values)} fields instead of {len(names)}")
        values += [None] * (len(names) - len(values))
        rows.append(dict(zip(names, values)))
    return rows


def write(rows: Sequence[dict[str, Any]], delimiter: str = ",") -> str:
    """A heading of all keys in the order in which they first come, and a line for each row."""
    names = list(dict.fromkeys(key for row in rows for key in row))
    lines = [join_line(names, delimiter)]
    lines += [join_line([row.get(n) for n in names], delimiter) for row in rows]
    return "\n".join(lines) + "\n" if rows else ""

"""A small MCP server of our own: a desk with notes, to-dos and a calendar. Run as a program, it talks over stdio, or over HTTP
on loopback with ``--port``. Deterministic: no clock, no randomness, ids are counted; ``reset`` puts the desk to its start.
"""

from __future__ import annotations

import argparse
import copy
import json
from typing import Annotated, Any, Literal

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import Field

Date = Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$", description="a day, YYYY-MM-DD")]
Time = Annotated[str, Field(pattern=r"^\d{2}:\d{2}$", description="a time of day, HH:MM")]
Minutes = Annotated[int, Field(ge=5, le=480)]
Priority = Literal["low", "normal", "high"]
Title = Annotated[str, Field(min_length=1, max_length=80)]

START: dict[str, dict[str, dict[str, Any]]] = {
    "notes": {
        "n1": {
            "title": "Greenhouse",
            "tag": "garden",
            "text": "The spare key hangs behind the blue door. Water on Mondays.",
        },
        "n2": {"title": "Seed order", "tag": "garden", "text": "14 bags of clover, 3 of rye, 5 of flax."},
        "n3": {"title": "Printer", "tag": "office", "text": "Driver code 7741. Toner is in cupboard C."},
        "n4": {"title": "Boat", "tag": "harbour", "text": "Berth 22. The engine needs oil before June."},
        "n5": {"title": "Ferry times", "tag": "harbour", "text": "Leaves at 09:40 and 17:15, last one back at 21:05."},
    },
    "todos": {
        "t1": {"title": "Order toner", "due": "2031-05-06", "priority": "normal", "done": False},
        "t2": {"title": "Change engine oil", "due": "2031-05-20", "priority": "high", "done": False},
        "t3": {"title": "Pay berth fee", "due": "2031-05-04", "priority": "high", "done": False},
        "t4": {"title": "Sharpen shears", "due": "2031-05-09", "priority": "low", "done": True},
        "t5": {"title": "Clean gutters", "due": "2031-05-06", "priority": "low", "done": False},
    },
    "events": {
        "e1": {"title": "Team meeting", "date": "2031-05-05", "start": "10:00", "minutes": 60},
        "e2": {"title": "Dentist", "date": "2031-05-05", "start": "14:30", "minutes": 45},
        "e3": {"title": "Seed delivery", "date": "2031-05-06", "start": "09:00", "minutes": 30},
        "e4": {"title": "Harbour tour", "date": "2031-05-06", "start": "13:00", "minutes": 120},
        "e5": {"title": "Budget review", "date": "2031-05-07", "start": "11:00", "minutes": 90},
    },
}
desk = copy.deepcopy(START)
server = MCPServer("desk", instructions="A desk with notes, to-dos and a calendar.", log_level="ERROR")
_read = ToolAnnotations(read_only_hint=True)


def _item(kind: str, ident: str) -> dict[str, Any]:
    found = desk[kind].get(ident)
    if found is None:
        raise ToolError(f"there is no {kind[:-1]} {ident[:20]!r}")
    return found


def _new(kind: str, item: dict[str, Any]) -> str:
    """Its id: one that no item of the desk has had."""
    last = max(int(i[1:]) for i in (*desk[kind], *START[kind]))
    ident = f"{kind[0]}{last + 1}"
    desk[kind][ident] = item
    return _said({"id": ident, **item})


def _said(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _all(kind: str, **wanted: Any) -> str:
    return _said(
        [{"id": i, **x} for i, x in desk[kind].items() if all(x[k] == v for k, v in wanted.items() if v != "")]
    )


def _minute(time: str) -> int:
    hours, minutes = map(int, time.split(":"))
    if hours > 23 or minutes > 59:
        raise ToolError(f"{time} is no time of day")
    return hours * 60 + minutes


def _free(ident: str, date: str, start: str, minutes: int) -> None:
    begin = _minute(start)
    for other, e in desk["events"].items():
        at = _minute(e["start"])
        if other != ident and e["date"] == date and begin < at + e["minutes"] and at < begin + minutes:
            raise ToolError(f"{date} {start} overlaps {other} {e['title']!r} at {e['start']}")


@server.tool(annotations=_read)
def find_notes(word: str = "", tag: str = "") -> str:
    """Ids, titles and tags of notes with a word in title or text, or with a tag; all of them by default."""
    hits = {i: n for i, n in desk["notes"].items() if word.lower() in f"{n['title']} {n['text']}".lower()}
    return _said([{"id": i, "title": n["title"], "tag": n["tag"]} for i, n in hits.items() if tag in ("", n["tag"])])


@server.tool(annotations=_read)
def read_note(note_id: str) -> str:
    """A note with its text."""
    return _said({"id": note_id, **_item("notes", note_id)})


@server.tool()
def add_note(title: Title, text: Annotated[str, Field(max_length=2000)], tag: str = "") -> str:
    """Writes a new note."""
    return _new("notes", {"title": title, "tag": tag, "text": text})


@server.tool()
def delete_note(note_id: str) -> str:
    """Throws a note away."""
    _item("notes", note_id)
    del desk["notes"][note_id]
    return "done"


@server.tool(annotations=_read)
def list_todos(due: str = "", priority: str = "") -> str:
    """To-dos, all of them or those of a day or a priority."""
    return _all("todos", due=due, priority=priority)


@server.tool()
def add_todo(title: Title, due: Date, priority: Priority = "normal") -> str:
    """Writes a new to-do."""
    return _new("todos", {"title": title, "due": due, "priority": priority, "done": False})


@server.tool()
def complete_todo(todo_id: str) -> str:
    """Ticks a to-do off."""
    item = _item("todos", todo_id)
    if item["done"]:
        raise ToolError(f"{todo_id} is done already")
    item["done"] = True
    return "done"


@server.tool(annotations=_read)
def list_events(date: str = "") -> str:
    """Events of the calendar, all of them or those of a day."""
    return _all("events", date=date)


@server.tool()
def add_event(title: Title, date: Date, start: Time, minutes: Minutes) -> str:
    """Puts an event into the calendar; it must not overlap another."""
    _free("", date, start, minutes)
    return _new("events", {"title": title, "date": date, "start": start, "minutes": minutes})


@server.tool()
def move_event(event_id: str, date: Date, start: Time) -> str:
    """Moves an event to another day or time; it must not overlap another."""
    event = _item("events", event_id)
    _free(event_id, date, start, event["minutes"])
    event |= {"date": date, "start": start}
    return _said({"id": event_id, **event})


@server.tool()
def cancel_event(event_id: str) -> str:
    """Takes an event out of the calendar."""
    _item("events", event_id)
    del desk["events"][event_id]
    return "done"


@server.tool()
def reset() -> str:
    """Puts the desk to its start."""
    desk.clear()
    desk.update(copy.deepcopy(START))
    return "done"


def main() -> None:
    """Talks over stdio, or over HTTP on loopback."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(".")[0])
    parser.add_argument("--port", type=int, help="serve http://127.0.0.1:PORT/mcp instead of stdio")
    port = parser.parse_args().port
    if port is None:
        server.run("stdio")
    else:
        server.run("streamable-http", host="127.0.0.1", port=port)


if __name__ == "__main__":
    main()

"""tau2's domains: where their data and tools are, and a database that copies only the records that are touched."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import itertools
import json
from collections.abc import ItemsView, Iterator, Mapping, MutableMapping, Sequence, ValuesView
from pathlib import Path
from typing import Any, NamedTuple

DOMAINS = ("retail", "airline")
Record = dict[str, Any]


class Domain(NamedTuple):
    """What is read of a domain, once a process."""

    server: Any
    """Module with the tools."""
    base: Mapping[str, Mapping[str, Record]]
    """Table -> id -> record; never changed."""
    tasks: tuple[Record, ...]
    policy: str
    test: frozenset[str]
    """Ids of the tasks of the test split."""


@functools.cache
def domain(name: str, path: str | None = None) -> Domain:
    """A domain.

    Args:
        name: ``retail`` or ``airline``.
        path: tau2-bench's data directory, None for the data in the wheel.

    Raises:
        ValueError: the wheel with the tools is not installed, or the directory lacks a file.
    """
    module = f"tau2_{name}_mcp"
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(f"tau2's {name} tools are not installed: milepost setup tau2")
    server = importlib.import_module(f"{module}.server")
    inner = Path("tau2", "domains", name)
    folder = Path(next(iter(spec.submodule_search_locations)), "data", inner)
    if path is not None:
        tried = (Path(path) / inner, Path(path, "data") / inner, Path(path) / name, Path(path))
        folder = next((f for f in tried if (f / "db.json").is_file()), folder / "none")
        if not (folder / "tasks.json").is_file() or not (folder / "policy.md").is_file():
            raise ValueError(
                f"path is {path!r}; allowed: tau2-bench's data directory, with tau2/domains/{name}/"
                "{db.json,tasks.json,policy.md}"
            )
    tasks = tuple(_json(folder / "tasks.json"))
    split = folder / "split_tasks.json"
    odd = [t["id"] for t in tasks[1::2]]
    test = _json(split).get("test", odd) if split.is_file() else odd
    policy = (folder / "policy.md").read_text(encoding="utf-8")
    return Domain(server, _json(folder / "db.json"), tasks, policy, frozenset(map(str, test)))


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def copied(value: Any) -> Any:
    """A copy of a JSON value; several times faster than ``copy.deepcopy``."""
    if isinstance(value, dict):
        return {k: copied(v) for k, v in value.items()}
    if isinstance(value, list):
        return [copied(v) for v in value]
    return value


class Table(MutableMapping[str, Record]):
    """Id -> record. A record is copied when it is asked for by its id; walks over all show the shared ones, to read only.

    Args:
        base: shared records.
        own: records of this table that take their place.
    """

    def __init__(self, base: Mapping[str, Record], own: dict[str, Record] | None = None) -> None:
        self.base, self.own = base, {} if own is None else own

    def __getitem__(self, key: str) -> Record:
        found = self.own.get(key)
        if found is None:
            found = self.own[key] = copied(self.base[key])
        return found

    def __setitem__(self, key: str, record: Record) -> None:
        self.own[key] = record

    def __delitem__(self, key: str) -> None:
        raise TypeError("records are not deleted")  # no tool does

    def __contains__(self, key: object) -> bool:
        return key in self.own or key in self.base

    def __iter__(self) -> Iterator[str]:
        yield from self.base
        yield from (k for k in self.own if k not in self.base)

    def __len__(self) -> int:
        return len(self.base) + sum(k not in self.base for k in self.own)

    def shared(self, key: str) -> Record:
        """A record, not copied.

        Raises:
            KeyError: there is none.
        """
        return self.own[key] if key in self.own else self.base[key]

    def items(self) -> ItemsView[str, Record]:
        """(id, record) of all, not copied."""
        return _Items(self)

    def values(self) -> ValuesView[Record]:
        """All records, not copied."""
        return _Values(self)


class _Items(ItemsView[str, Record]):
    def __init__(self, table: Table) -> None:
        super().__init__(table)
        self._table = table

    def __iter__(self) -> Iterator[tuple[str, Record]]:
        return ((k, self._table.shared(k)) for k in self._table)


class _Values(ValuesView[Record]):
    def __init__(self, table: Table) -> None:
        super().__init__(table)
        self._table = table

    def __iter__(self) -> Iterator[Record]:
        return (self._table.shared(k) for k in self._table)


class Database:
    """Tables as state of a tool environment.

    What a failing call changed stays, as in tau2: ``mark`` and ``undo`` do nothing.

    Args:
        base: shared tables.
        own: table -> id -> record that differs.
    """

    def __init__(
        self, base: Mapping[str, Mapping[str, Record]], own: Mapping[str, dict[str, Record]] | None = None
    ) -> None:
        self.base = base
        self.tables = {name: Table(records, (own or {}).get(name)) for name, records in base.items()}

    def save(self) -> dict[str, dict[str, Record]]:
        """Copies of the touched records."""
        return {name: copied(t.own) for name, t in self.tables.items()}

    def load(self, saved: Mapping[str, dict[str, Record]]) -> None:
        """The base with copies of saved records in it."""
        for name, table in self.tables.items():
            table.own = copied(saved[name])

    def fork(self) -> Database:
        """A database of its own with the same content."""
        return Database(self.base, self.save())

    def adopt(self, branch: Database) -> None:
        """Becomes what a fork is, which is not used any more."""
        self.tables = branch.tables

    def mark(self) -> None:
        """Nothing: nothing is taken back."""

    def undo(self, mark: None) -> None:
        """Nothing: what a failing call changed stays."""

    def keep(self, mark: None) -> None:
        """The changes stay."""

    def changed(self) -> tuple[tuple[str, str], ...]:
        """(table, id) of records that are not as in the base."""
        return tuple((name, k) for name, t in self.tables.items() for k, r in t.own.items() if r != t.base.get(k))

    def same(self, other: Database, records: tuple[tuple[str, str], ...] | None = None) -> bool:
        """Both have the same records, of all by default.

        Args:
            other: a database over the same base.
            records: (table, id) of those that are compared.
        """
        keys = {*self.changed(), *other.changed()} if records is None else records
        return all(_same(self.tables[name], other.tables[name], k) for name, k in keys)


def _same(a: Table, b: Table, key: str) -> bool:
    return key in a and key in b and a.shared(key) == b.shared(key)


def lookups(base: Mapping[str, Mapping[str, Record]], calls: Sequence[tuple[str, Record]]) -> list[tuple[str, Record]]:
    """Calls, by name and arguments, that show what other calls name: the user, orders, reservations, products, flights."""
    given = {
        name: [a[name] for _, a in calls if isinstance(a.get(name), str)] for name in ("order_id", "reservation_id")
    }
    records = [r for n, table in (("order_id", "orders"), ("reservation_id", "reservations")) for i in given[n]
               if (r := base.get(table, {}).get(i))]  # fmt: skip
    users = dict.fromkeys([a["user_id"] for _, a in calls if "user_id" in a] + [str(r["user_id"]) for r in records])
    out: list[tuple[str, Record]] = []
    for user in (u for u in users if u in base["users"]):
        record = base["users"][user]
        if "zip" in record["address"] and "orders" in base:
            name = {k: record["name"][k] for k in ("first_name", "last_name")}
            out += [("find_user_id_by_name_zip", name | {"zip": record["address"]["zip"]})]
            out += [("find_user_id_by_email", {"email": record["email"]})]
        out.append(("get_user_details", {"user_id": user}))
        # all of them: an address may be another order's, and who does not know the number looks through them
        out += [("get_order_details", {"order_id": o}) for o in record.get("orders", ())]
    out += [("get_reservation_details", {"reservation_id": i}) for i in given["reservation_id"]]
    items = {i for _, a in calls for i in a.get("new_item_ids") or ()}
    if items:
        products = [p for p, r in base["products"].items() if items & r["variants"].keys()]
        out += [("get_product_details", {"product_id": p}) for p in products]
    for flights in (a.get("flights") or () for _, a in calls):
        known = [base["flights"][f["flight_number"]] | {"date": f["date"]} for f in flights]
        for first, second in itertools.pairwise(known):
            if first["destination"] == second["origin"] != first["origin"] != second["destination"]:
                about = {"origin": first["origin"], "destination": second["destination"], "date": first["date"]}
                out.append(("search_onestop_flight", about))
        out += [("search_direct_flight", {k: f[k] for k in ("origin", "destination", "date")}) for f in known]
    return [look for k, look in enumerate(out) if look not in out[:k]]

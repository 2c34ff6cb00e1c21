"""The shop's database: its tables, the image that all tasks share, and a state that goes back to it quickly."""

from __future__ import annotations

import contextlib
import functools
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..state import Sql

TODAY = "2026-03-15"
WINDOW = 30  # days after the delivery in which things may come back
SEED = 20260315  # of the image
CUSTOMERS, SIZES = 400, ("S", "M", "L", "XL")
COLOURS = ("black", "white", "red", "blue", "green", "grey", "yellow", "purple")
THINGS = {
    "clothing": "Rain Jacket,Wool Sweater,Cotton Shirt,Running Shorts,Hiking Trousers,Winter Coat,Linen Dress,Fleece Vest",
    "kitchen": "Tea Kettle,Chef Knife,Cast Pan,Salad Bowl,Coffee Grinder,Lunch Box,Bread Toaster,Soup Pot",
    "office": "Desk Lamp,Office Chair,Paper Tray,Wall Clock,Pencil Case,Standing Mat,Monitor Arm,Document Folder",
    "sports": "Yoga Mat,Tennis Racket,Water Bottle,Jump Rope,Bike Helmet,Swim Goggles,Climbing Harness,Skate Board",
    "travel": "Travel Backpack,Carry Suitcase,Neck Pillow,Passport Wallet,Camping Tent,Sleeping Bag,Picnic Blanket,Head Torch",
}
FIRST = (
    "Anna,Boris,Clara,David,Elena,Felix,Greta,Hugo,Irene,Jonas,Karin,Louis,Maria,Nadia,Oscar,Paula,Quinn,Rosa,Simon,Tessa,"
    "Ulric,Vera,Walter,Xenia,Yusuf,Zoe,Amir,Bella,Chen,Dora"
).split(",")
LAST = (
    "Abbott,Becker,Castro,Dalton,Ekberg,Fischer,Garcia,Hansen,Ibrahim,Jensen,Keller,Lambert,Moreau,Novak,Okafor,Petrov,"
    "Quist,Romano,Sato,Tanaka,Ulrich,Vargas,Weber,Xavier,Young,Zeman,Arslan,Bianchi,Costa,Dubois"
).split(",")
STREETS = "Oak,Maple,Cedar,Birch,Willow,Chestnut,Elm,Hazel,Juniper,Linden,Poplar,Rowan".split(",")
CITIES = "Ashford,Bellmere,Crowhill,Dunmore,Eastwick,Fairhaven,Glenside,Hartley,Kingsport,Larkspur".split(",")

# what tools can change, by table; a new gift card is noted by its tool, for tasks add payments too
WATCHED = {
    "orders": "id, status, address_id, payment_id, exchanged, reason",
    "items": "id, variant_id, price, status",
    "payments": "id, customer_id, kind, balance",
    "variants": "id, stock",
}
_SCHEMA = """
CREATE TABLE customers (id TEXT PRIMARY KEY, first TEXT, last TEXT, email TEXT UNIQUE, zip TEXT, pin TEXT) WITHOUT ROWID;
CREATE TABLE addresses (id TEXT PRIMARY KEY, customer_id TEXT, street TEXT, city TEXT, zip TEXT) WITHOUT ROWID;
CREATE TABLE payments (id TEXT PRIMARY KEY, customer_id TEXT, kind TEXT, label TEXT, balance INTEGER CHECK (balance >= 0))
    WITHOUT ROWID;
CREATE TABLE products (id TEXT PRIMARY KEY, name TEXT, category TEXT) WITHOUT ROWID;
CREATE TABLE variants (id TEXT PRIMARY KEY, product_id TEXT, colour TEXT, size TEXT, price INTEGER,
    stock INTEGER CHECK (stock >= 0)) WITHOUT ROWID;
CREATE TABLE orders (id TEXT PRIMARY KEY, customer_id TEXT, status TEXT, placed TEXT, delivered TEXT, address_id TEXT,
    payment_id TEXT, exchanged INTEGER, reason TEXT) WITHOUT ROWID;
CREATE TABLE items (id TEXT PRIMARY KEY, order_id TEXT, variant_id TEXT, price INTEGER, status TEXT) WITHOUT ROWID;
CREATE INDEX by_name ON customers (last, zip);
CREATE INDEX by_owner ON addresses (customer_id);
CREATE INDEX by_payer ON payments (customer_id);
CREATE INDEX by_product ON variants (product_id);
CREATE INDEX by_customer ON orders (customer_id);
CREATE INDEX by_order ON items (order_id);
CREATE TABLE refunds (order_id TEXT, item_id TEXT, payment_id TEXT, amount INTEGER);
CREATE TABLE transfers (reason TEXT);
CREATE TABLE verified (customer_id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE changed (kind TEXT, id TEXT, PRIMARY KEY (kind, id)) WITHOUT ROWID;
"""
_TRIGGER = (
    "CREATE TRIGGER {0}_changed AFTER UPDATE ON {0} BEGIN INSERT OR IGNORE INTO changed VALUES ('{0}', NEW.id); END"
)
_INTO = {
    "customers": "INSERT INTO customers VALUES (?, ?, ?, ?, ?, ?)",
    "addresses": "INSERT INTO addresses VALUES (?, ?, ?, ?, ?)",
    "payments": "INSERT INTO payments VALUES (?, ?, ?, ?, ?)",
    "orders": "INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?, ?, ?, '')",
    "items": "INSERT INTO items VALUES (?, ?, ?, ?, ?)",
}
Rows = Mapping[str, Sequence[tuple[Any, ...]]]
_CHANGED = "SELECT kind, id FROM changed"
_ADDED = ("SELECT order_id, item_id, payment_id, amount FROM refunds", "SELECT reason FROM transfers")


class Person(NamedTuple):
    """A customer of the image, with a card that its order there is paid with, another card, and perhaps a gift card."""

    code: str
    """Six digits, in all its ids; ``C`` and these are the customer's."""
    name: tuple[str, str]
    email: str
    zip: str
    pin: str
    streets: tuple[str, str]
    """Of its two addresses, ``A``, the code, 1 or 2."""
    labels: tuple[str, str]
    """Of its cards, ``card_``, the code, 1 or 2."""
    gift: bool
    """It has a gift card, ``gift_``, the code, 9."""


class Product:
    """A product of the image.

    Args:
        id: "P" and four digits.
        name: two words.
        variants: (id, colour, size, price in cents, stock), two out of stock at most.
    """

    __slots__ = ("id", "name", "variants")

    def __init__(self, id: str, name: str, variants: tuple[tuple[str, str, str, int, int], ...]) -> None:
        self.id, self.name, self.variants = id, name, variants


@functools.lru_cache(1)
def catalogue() -> tuple[Product, ...]:
    """The products, the same in every process."""
    rng = np.random.default_rng([SEED, 1])
    out = []
    names = [n for group in THINGS.values() for n in group.split(",")]
    for p, name in enumerate(names):
        price, variants = int(rng.integers(9, 180)) * 100 + 50, []
        for v, (colour, size) in enumerate(zip(rng.permutation(COLOURS)[:5], rng.choice(SIZES, 5))):
            stock = 0 if v == 4 else int(rng.integers(5, 60))
            variants.append((f"V{100000 + 10 * p + v}", str(colour), str(size), price + 250 * v, stock))
        out.append(Product(f"P{1000 + p}", name, tuple(variants)))
    return tuple(out)


@functools.lru_cache(1)
def people() -> tuple[Person, ...]:
    """The customers, the same in every process."""
    rng = np.random.default_rng([SEED, 2])
    out = []
    for n in range(CUSTOMERS):
        first, last = (str(rng.choice(names)) for names in (FIRST, LAST))
        houses, cards = rng.integers(1, 49, 2), rng.choice(9000, 2, replace=False) + 1000
        one, two = (f"{2 * h + k} {s} Street" for k, (h, s) in enumerate(zip(houses, rng.choice(STREETS, 2))))
        person = Person(
            f"1{n:05d}",
            (first, last),
            f"{first}.{last}{n}@mail.example".lower(),
            f"{rng.integers(10000, 99999)}",
            f"{rng.integers(1000, 9999)}",
            (one, two),
            (f"card ending {cards[0]}", f"card ending {cards[1]}"),
            bool(rng.random() < 0.5),
        )
        out.append(person)
    return tuple(out)


@functools.lru_cache(1)
def image() -> bytes:
    """The database that every task begins with: products, and customers with an order each."""
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        db.execute("PRAGMA page_size=2048")
        db.executescript(_SCHEMA)
        groups = [g for g, names in THINGS.items() for _ in names.split(",")]
        for product, group in zip(catalogue(), groups):
            db.execute("INSERT INTO products VALUES (?, ?, ?)", (product.id, product.name, group))
            rows = [(v, product.id, c, s, price, stock) for v, c, s, price, stock in product.variants]
            db.executemany("INSERT INTO variants VALUES (?, ?, ?, ?, ?, ?)", rows)
        for table, new in _rows().items():
            db.executemany(_INTO[table], new)
        for table in WATCHED:
            db.execute(_TRIGGER.format(table))
        return db.serialize()


def _rows() -> Rows:
    """Of the customers, each with one order."""
    rng = np.random.default_rng([SEED, 3])
    rows: dict[str, list[tuple[Any, ...]]] = {t: [] for t in _INTO}
    things = [v for p in catalogue() for v in p.variants]
    for p in people():
        customer, order = f"C{p.code}", f"W{p.code}0"
        rows["customers"].append((customer, *p.name, p.email, p.zip, p.pin))
        places = enumerate(zip(p.streets, rng.choice(CITIES, 2, replace=False)), 1)
        rows["addresses"] += [(f"A{p.code}{k}", customer, street, str(city), p.zip) for k, (street, city) in places]
        rows["payments"] += [(f"card_{p.code}{k}", customer, "card", c, 0) for k, c in enumerate(p.labels, 1)]
        if p.gift:
            rows["payments"].append((f"gift_{p.code}9", customer, "gift card", "gift card", 250_000))
        status = str(rng.choice(("pending", "processed", "shipped", "delivered")))
        dates = "2026-02-20", "2026-03-01" if status == "delivered" else None
        rows["orders"].append((order, customer, status, *dates, f"A{p.code}1", f"card_{p.code}1", 0))
        for k, n in enumerate(rng.choice(len(things), int(rng.integers(1, 3)), replace=False)):
            rows["items"].append((f"I{p.code}0{k}", order, things[n][0], things[n][3], "kept"))
    return rows


class Desk(Sql):
    """The shop's database, with one task's rows in an open transaction over the image.

    Going to another task rolls the transaction back; only after ``load`` is the image copied anew. A saved value is the image
    with all changes.
    """

    def __init__(self, saved: bytes = b"") -> None:
        super().__init__()
        self.load(saved or image())
        self._pristine = not saved

    def begin(self, rows: Rows) -> None:
        """The image and a task's rows."""
        if self._pristine:
            self.db.execute("ROLLBACK")
            self.db.execute("BEGIN")
        else:
            self.load(image())
            self._pristine = True
        for table, new in rows.items():
            self.db.executemany(_INTO[table], new)

    def load(self, saved: bytes) -> None:
        """The database becomes that of an image, with an open transaction."""
        if self.db.in_transaction:
            self.db.execute("ROLLBACK")
        # copied page by page: a deserialized database would not show open changes to ``save``
        with contextlib.closing(sqlite3.connect(":memory:")) as other:
            other.deserialize(saved)
            other.backup(self.db)
        self._pristine = False
        self.db.execute("BEGIN")

    def fork(self) -> Desk:
        """A database of its own with the same content."""
        return Desk(self.save())

    def adopt(self, branch: Sql) -> None:
        """Becomes what a fork is, which is not used any more."""
        self.load(branch.save())
        branch.close()

    def mark(self) -> str:
        """Where ``undo`` goes back to; marks of one name are nested."""
        self.db.execute("SAVEPOINT m")
        return "m"

    def one(self, query: str, *values: Any) -> Any:
        """The first row of a query, or None."""
        return self.db.execute(query, values).fetchone()

    def all(self, query: str, *values: Any) -> list[Any]:
        """The rows of a query."""
        return self.db.execute(query, values).fetchall()

    def same(self, other: Desk) -> bool:
        """All rows that tools changed or added, in one of the two, are the same in both."""
        keys = {*self.all(_CHANGED), *other.all(_CHANGED)}
        for kind, key in keys:
            query = f"SELECT {WATCHED[kind]} FROM {kind} WHERE id = ?"
            if self.one(query, key) != other.one(query, key):
                return False
        return all(sorted(self.all(query)) == sorted(other.all(query)) for query in _ADDED)

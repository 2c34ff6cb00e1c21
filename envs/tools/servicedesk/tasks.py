"""Tasks of the service desk: a customer with orders, requests, and what the policy wants done about each."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ...text.base import TEST
from ..base import Item
from ..calls import Call
from .data import CUSTOMERS, TODAY, WINDOW, Person, Product, Rows, catalogue, people

LONGEST = 5  # requests
REASONS = ("no longer needed", "ordered by mistake", "found cheaper")  # of a cancellation, as the tool takes them
DECLINE = "decline"
STATES = ("pending", "processed", "shipped", "delivered", "cancelled")
_STREAM = 5  # beside a task's number
_T = TypeVar("_T")
_AGO = [(datetime.date.fromisoformat(TODAY) - datetime.timedelta(d)).isoformat() for d in range(100)]


class Request(NamedTuple):
    """What the customer wants, and what becomes of it."""

    family: str
    order: str
    """The order's id."""
    said: str
    """In full."""
    short: str
    """Without what it is about."""
    first: str
    """In full, but with another wish that is taken back later; "" where there is none."""
    reads: tuple[Call, ...]
    """Of the reference."""
    writes: tuple[Call, ...]
    """What the policy wants done."""
    told: str = ""
    """What the customer must hear: a state, ``DECLINE``, or "" for anything."""
    forbidden: tuple[Call, ...] = ()
    """What must not be done; an argument that is left out stands for any."""


class Task(NamedTuple):
    """One conversation."""

    person: Person
    customer: str
    """The person's id."""
    requests: tuple[Request, ...]
    rows: Rows
    """The orders that it adds to the database."""
    items: tuple[Item, ...]
    trace: tuple[Call, ...]


class _Maker:
    """Draws one task. Numbers are drawn at once: single draws would cost more than all else."""

    def __init__(self, number: int, horizon: int | None) -> None:
        drawn = np.random.default_rng([number, _STREAM]).random(100 if horizon is None else 10 + 30 * horizon)
        self._drawn: Iterator[float] = iter(drawn.tolist())
        half = CUSTOMERS // 2
        self.person = people()[self.below(half) + (half if number >= TEST else 0)]
        self.code = self.person.code
        self.customer, self.gift = f"C{self.code}", f"gift_{self.code}9"
        self.cards = f"card_{self.code}1", f"card_{self.code}2"
        self.issued = False  # a gift card by the reference, for a request before
        self.orders: list[tuple[Any, ...]] = []
        self.items: list[tuple[Any, ...]] = []

    def below(self, n: int) -> int:
        """A number from 0 to n - 1."""
        return int(next(self._drawn) * n)

    def pick(self, values: Sequence[_T]) -> _T:
        """One of them."""
        return values[self.below(len(values))]

    def order(self, status: str, days: int = 0, exchanged: int = 0) -> tuple[str, list[tuple[str, Product, int]]]:
        """A new order with two items, delivered so many days ago: its id, and its items with product and variant."""
        k, made = len(self.orders) + 1, []
        order, delivered = f"W{self.code}{k}", _AGO[days] if status == "delivered" else None
        where = f"A{self.code}1"
        self.orders.append((order, self.customer, status, _AGO[days + 4], delivered, where, self.cards[0], exchanged))
        products, start = catalogue(), self.below(20)
        for j in (0, 1):
            product, v = products[start + 20 * j], self.below(4)
            state = "exchanged" if exchanged and j else "cancelled" if status == "cancelled" else "kept"
            self.items.append((f"I{self.code}{k}{j}", order, product.variants[v][0], product.variants[v][3], state))
            made.append((f"I{self.code}{k}{j}", product, v))
        return order, made


def _look(order: str) -> Call:
    return Call("get_order", {"order_id": order})


def _cancel(m: _Maker) -> Request:
    order, _ = m.order("pending")
    n = m.below(len(REASONS))
    said = [f'Please cancel my order {order}, the reason is "{r}".' for r in (REASONS[n], REASONS[n - 1])]
    write = Call("cancel_order", {"order_id": order, "reason": REASONS[n]})
    return Request("cancel", order, said[0], "I want to cancel an order.", said[1], (_look(order),), (write,))


def _address(m: _Maker) -> Request:
    order, _ = m.order("pending")
    said = f'Please send my order {order} to my other address, "{m.person.streets[1]}".'
    reads = (_look(order), Call("get_customer", {"customer_id": m.customer}))
    write = Call("modify_address", {"order_id": order, "address_id": f"A{m.code}2"})
    return Request("address", order, said, "One of my orders goes to the wrong address.", "", reads, (write,))


def _payment(m: _Maker) -> Request:
    order, _ = m.order("pending")
    gift = m.person.gift and m.below(2) == 0
    label, payment = ("gift card", m.gift) if gift else (m.person.labels[1], m.cards[1])
    said = f"Please charge my order {order} to my {label} instead."
    reads = (_look(order), Call("get_customer", {"customer_id": m.customer}))
    write = Call("modify_payment", {"order_id": order, "payment_id": payment})
    return Request("payment", order, said, "I want to pay an order in another way.", "", reads, (write,))


def _variant(m: _Maker, status: str, family: str, tool: str, say: str, short: str) -> Request:
    order, items = m.order(status, 1 + m.below(WINDOW - 2))
    item, product, old = m.pick(items)
    others = [v for k, v in enumerate(product.variants[:4]) if k != old]
    n = m.below(len(others))
    said = [say.format(order, product.name, v[1], v[2]) for v in (others[n], others[n - 1])]
    reads = (_look(order), Call("get_product", {"product_id": product.id}))
    write = Call(tool, {"item_id": item, "variant_id": others[n][0]})
    return Request(family, order, said[0], short, said[1], reads, (write,))


def _item(m: _Maker) -> Request:
    say = "In my order {0}, please change the {1} to the one in {2}, size {3}."
    return _variant(m, "pending", "item", "modify_item", say, "I ordered the wrong thing.")


def _exchange(m: _Maker) -> Request:
    say = "From my order {0}, please exchange the {1} for the one in {2}, size {3}."
    return _variant(m, "delivered", "exchange", "exchange_item", say, "Something that I got does not suit me.")


def _return(m: _Maker) -> Request:
    order, items = m.order("delivered", 1 + m.below(WINDOW - 1))
    item, product, _ = m.pick(items)
    said = f"I want to return the {product.name} from my order {order}. Refund it the way I paid."
    write = Call("return_item", {"item_id": item, "payment_id": m.cards[0]})
    return Request("return", order, said, "I want to send something back.", "", (_look(order),), (write,))


def _gift(m: _Maker) -> Request:
    order, items = m.order("delivered", 1 + m.below(WINDOW - 1))
    item, product, _ = m.pick(items)
    said = f"I want to return the {product.name} from my order {order}. Refund it to a gift card."
    reads = (_look(order), Call("get_customer", {"customer_id": m.customer}))
    issue = () if m.person.gift or m.issued else (Call("issue_gift_card", {"customer_id": m.customer}),)
    m.issued = True
    write = Call("return_item", {"item_id": item, "payment_id": m.gift})
    return Request("gift", order, said, "I want to send something back.", "", reads, (*issue, write))


def _status(m: _Maker) -> Request:
    state = m.pick(STATES)
    order, _ = m.order(state, 1 + m.below(20))
    said = f"What is the state of my order {order}?"
    return Request("status", order, said, "I have a question about an order.", "", (_look(order),), (), state)


def _transfer(m: _Maker) -> Request:
    order, _ = m.order("shipped")
    said = f"Somebody else placed the order {order} in my name. This is fraud."
    write = Call("transfer_to_human", {"customer_id": m.customer, "reason": "fraud"})
    return Request("transfer", order, said, "Something is wrong with my account.", "", (_look(order),), (write,))


def _forbidden(m: _Maker) -> Request:
    kind = m.below(6)
    days = WINDOW + 1 + m.below(30)
    if kind == 0:
        order, _ = m.order("processed")
        said = f'Please cancel my order {order}, the reason is "{m.pick(REASONS)}".'
        bad = Call("cancel_order", {"order_id": order})
    elif kind == 1:
        order, _ = m.order("processed")
        said = f'Please send my order {order} to my other address, "{m.person.streets[1]}".'
        bad = Call("modify_address", {"order_id": order})
    elif kind == 2:
        order, items = m.order("delivered", days)
        said = f"I want to return the {items[0][1].name} from my order {order}. Refund it the way I paid."
        bad = Call("return_item", {"item_id": items[0][0]})
    elif kind == 3:
        order, items = m.order("delivered", days - WINDOW)
        said = f"I want to return the {items[0][1].name} from my order {order}. Refund it to my {m.person.labels[1]}."
        bad = Call("return_item", {"item_id": items[0][0]})
    elif kind == 4:
        order, items = m.order("delivered", days - WINDOW, 1)
        item, product, old = items[0]
        new = product.variants[(old + 1) % 4]
        said = f"From my order {order}, please exchange the {product.name} for the one in {new[1]}, size {new[2]}."
        bad = Call("exchange_item", {"item_id": item})
    else:
        other = people()[m.below(CUSTOMERS - 1)]
        order = f"W{(other if other is not m.person else people()[-1]).code}0"
        said = f'Please cancel the order {order} of my friend, the reason is "{m.pick(REASONS)}".'
        bad = Call("cancel_order", {"order_id": order})
    return Request("forbidden", order, said, "I need a favour.", "", (_look(order),), (), DECLINE, (bad,))


MAKERS: dict[str, Callable[[_Maker], Request]] = {
    "cancel": _cancel, "return": _return, "exchange": _exchange, "address": _address, "payment": _payment, "item": _item,
    "status": _status, "gift": _gift, "transfer": _transfer, "forbidden": _forbidden,
}  # fmt: skip
FAMILIES = tuple(MAKERS)
ENDS = "transfer"  # nothing can follow it


@functools.lru_cache(512)
def build(number: int, horizon: int | None = None, families: tuple[str, ...] = FAMILIES) -> Task:
    """A task by its number, always the same.

    Args:
        number: of the task.
        horizon: requests, 1 to ``LONGEST``; None for one to three, by the task.
        families: from which the requests are.
    """
    m = _Maker(number, horizon)
    n = 1 + m.below(3) if horizon is None else horizon
    if families == (ENDS,):
        n = 1
    requests = []
    for k in range(n):
        allowed = [f for f in families if f != ENDS or k == n - 1]
        requests.append(MAKERS[m.pick(allowed)](m))
    items = _items(tuple((bool(r.writes), bool(r.told)) for r in requests))
    first = (
        Call("find_customer_by_email", {"email": m.person.email}),
        Call("verify_customer", {"customer_id": m.customer, "pin": m.person.pin}),
    )
    calls = {c.text(): c for c in (*first, *(c for r in requests for c in (*r.reads, *r.writes)))}
    return Task(
        m.person, m.customer, tuple(requests), {"orders": m.orders, "items": m.items}, items, tuple(calls.values())
    )


_ABOUT = {
    "verify": ((), "tool_calls", True, "Did the agent verify the customer's identity?"),
    "look": ((), "tool_calls", False, "Did the agent look at the order that the request is about?"),
    "do": (("verify",), "tool_calls", False, "Did the agent do what was asked, and nothing else?"),
    "tell": (
        ("verify", "look"),
        "assistant",
        False,
        "Did the agent answer the question by what the tools say, or decline?",
    ),
}  # what it depends on, what it is about, is it required, the question


@functools.lru_cache(1024)
def _items(requests: tuple[tuple[bool, bool], ...]) -> tuple[Item, ...]:
    """The checklist of requests by (is something done, is something told): the identity at first, then look, do, tell."""
    out = []
    for k, (does, tells) in enumerate(requests):
        kinds = [*(() if k else ("verify",)), "look", *(("do",) if does else ()), *(("tell",) if tells else ())]
        for kind in kinds:
            needs, focus, required, question = _ABOUT[kind]
            depends = tuple(n if n == "verify" else f"{n}-{k}" for n in needs)
            name = kind if kind == "verify" else f"{kind}-{k}"
            out.append(Item(name, 1 / len(kinds), k, depends, focus, required, question))
    return tuple(out)

"""The tools of the service desk: what the shop's back end does, and refuses. The policy forbids more than they do."""

from __future__ import annotations

import ast
import datetime
import operator
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import Field

from ..tool import Tool, ToolFailed
from .data import TODAY, WINDOW, Desk

Email = Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+\.[a-z]+$", max_length=80)]
Name = Annotated[str, Field(pattern=r"^[A-Z][a-z]+$", max_length=40)]
Zip = Annotated[str, Field(pattern=r"^[0-9]{5}$")]
Pin = Annotated[str, Field(pattern=r"^[0-9]{4}$")]
CustomerId = Annotated[str, Field(pattern=r"^C[0-9]{6}$")]
AddressId = Annotated[str, Field(pattern=r"^A[0-9]{7}$")]
PaymentId = Annotated[str, Field(pattern=r"^(card|gift)_[0-9]{7}$")]
OrderId = Annotated[str, Field(pattern=r"^W[0-9]{7}$")]
ItemId = Annotated[str, Field(pattern=r"^I[0-9]{8}$")]
ProductId = Annotated[str, Field(pattern=r"^P[0-9]{4}$")]
VariantId = Annotated[str, Field(pattern=r"^V[0-9]{6}$")]
Reason = Literal["no longer needed", "ordered by mistake", "found cheaper"]
Why = Literal["fraud", "complaint", "other"]
_DAY = datetime.date.fromisoformat


def _row(desk: Desk, what: str, query: str, key: str) -> Any:
    row = desk.one(query, key)
    if row is None:
        raise ToolFailed(f"there is no {what} {key}")
    return row


def _money(cents: int) -> float:
    return cents / 100


# -- what changes nothing ----------------------------------------------------------------------------
def find_customer_by_email(desk: Desk, *, email: Email) -> dict[str, Any]:
    """Finds a customer by the email address."""
    row = _row(desk, "customer with the email", "SELECT id FROM customers WHERE email = ?", email)
    return {"customer_id": row[0]}


def find_customer_by_name(desk: Desk, *, first_name: Name, last_name: Name, zip: Zip) -> dict[str, Any]:
    """Finds a customer by first name, last name and zip code."""
    row = desk.one("SELECT id FROM customers WHERE last = ? AND zip = ? AND first = ?", last_name, zip, first_name)
    if row is None:
        raise ToolFailed(f"there is no customer {first_name} {last_name} with the zip code {zip}")
    return {"customer_id": row[0]}


def get_customer(desk: Desk, *, customer_id: CustomerId) -> dict[str, Any]:
    """Shows a customer's name, addresses and payment methods."""
    row = _row(desk, "customer", "SELECT first, last, email FROM customers WHERE id = ?", customer_id)
    addresses = desk.all("SELECT id, street, city, zip FROM addresses WHERE customer_id = ?", customer_id)
    payments = desk.all("SELECT id, kind, label, balance FROM payments WHERE customer_id = ?", customer_id)
    return {
        "customer_id": customer_id,
        "name": f"{row[0]} {row[1]}",
        "email": row[2],
        "addresses": [{"address_id": a, "street": s, "city": c, "zip": z} for a, s, c, z in addresses],
        "payment_methods": [
            {"payment_id": p, "kind": k, "label": t} | ({"balance": _money(b)} if k == "gift card" else {})
            for p, k, t, b in payments
        ],
    }


def list_orders(desk: Desk, *, customer_id: CustomerId) -> list[dict[str, Any]]:
    """Lists a customer's orders."""
    rows = desk.all("SELECT id, status, placed FROM orders WHERE customer_id = ?", customer_id)
    return [{"order_id": i, "status": s, "placed": p} for i, s, p in rows]


_ITEMS = """SELECT i.id, p.name, v.colour, v.size, i.variant_id, v.product_id, i.price, i.status
    FROM items i JOIN variants v ON v.id = i.variant_id JOIN products p ON p.id = v.product_id WHERE i.order_id = ?"""


def get_order(desk: Desk, *, order_id: OrderId) -> dict[str, Any]:
    """Shows an order: status, dates, whose it is, how it was paid, its items."""
    query = "SELECT customer_id, status, placed, delivered, address_id, payment_id, exchanged FROM orders WHERE id = ?"
    customer, status, placed, delivered, address, payment, exchanged = _row(desk, "order", query, order_id)
    out = {"order_id": order_id, "customer_id": customer, "status": status, "placed": placed}
    if delivered:
        days = (_DAY(TODAY) - _DAY(delivered)).days
        out |= {"delivered": delivered, "today": TODAY, "return_window": "open" if days <= WINDOW else "closed"}
        out["exchanges"] = "used" if exchanged else "none"
    items = [
        {"item_id": i, "product": p, "colour": c, "size": s, "variant_id": v, "product_id": d, "price": _money(m)}
        | ({} if state == "kept" else {"status": state})
        for i, p, c, s, v, d, m, state in desk.all(_ITEMS, order_id)
    ]
    return out | {"ships_to": address, "paid_with": payment, "items": items}


def search_products(desk: Desk, *, text: Annotated[str, Field(pattern=r"^[A-Z]", max_length=60)]) -> list[Any]:
    """Lists products whose name holds a text that begins with a capital, 20 at most."""
    rows = desk.all("SELECT id, name, category FROM products WHERE instr(name, ?) LIMIT 20", text)
    return [{"product_id": i, "product": n, "category": c} for i, n, c in rows]


def get_product(desk: Desk, *, product_id: ProductId) -> dict[str, Any]:
    """Shows a product's variants with price and stock."""
    name = _row(desk, "product", "SELECT name FROM products WHERE id = ?", product_id)[0]
    rows = desk.all("SELECT id, colour, size, price, stock FROM variants WHERE product_id = ?", product_id)
    found = [
        {"variant_id": v, "colour": c, "size": s, "price": _money(m), "stock": n or "sold out"}
        for v, c, s, m, n in rows
    ]
    return {"product_id": product_id, "product": name, "variants": found}


def get_variant(desk: Desk, *, variant_id: VariantId) -> dict[str, Any]:
    """Shows one variant of a product."""
    query = "SELECT product_id, colour, size, price, stock FROM variants WHERE id = ?"
    product, colour, size, price, stock = _row(desk, "variant", query, variant_id)
    about = {"variant_id": variant_id, "product_id": product, "colour": colour, "size": size}
    return about | {"price": _money(price), "stock": stock or "sold out"}


def refund_status(desk: Desk, *, order_id: OrderId) -> list[dict[str, Any]]:
    """Lists the refunds for an order."""
    _row(desk, "order", "SELECT id FROM orders WHERE id = ?", order_id)
    rows = desk.all("SELECT item_id, payment_id, amount FROM refunds WHERE order_id = ?", order_id)
    return [{"item_id": i, "payment_id": p, "amount": _money(a)} for i, p, a in rows]


_SIGNS: dict[type, Callable[[float, float], float]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
}  # fmt: skip


def calculate(desk: Desk, *, expression: Annotated[str, Field(pattern=r"^[-+*/()0-9. ]+$", max_length=80)]) -> float:
    """Works out numbers with + - * / and brackets."""
    try:
        return round(_value(ast.parse(expression.strip(), mode="eval").body), 2)
    except (SyntaxError, ZeroDivisionError, OverflowError) as e:
        raise ToolFailed(f"{expression!r} cannot be worked out: {type(e).__name__}") from None


def _value(node: ast.expr) -> float:
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        return float(node.value)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        return -_value(node.operand) if isinstance(node.op, ast.USub) else _value(node.operand)
    if isinstance(node, ast.BinOp) and type(node.op) in _SIGNS:
        return _SIGNS[type(node.op)](_value(node.left), _value(node.right))
    raise ToolFailed("only numbers, + - * / and brackets")


# -- what changes the database, for verified customers -----------------------------------------------
def verify_customer(desk: Desk, *, customer_id: CustomerId, pin: Pin) -> str:
    """Verifies a customer's identity by the PIN."""
    if _row(desk, "customer", "SELECT pin FROM customers WHERE id = ?", customer_id)[0] != pin:
        raise ToolFailed("the PIN is wrong")
    desk.db.execute("INSERT OR IGNORE INTO verified VALUES (?)", (customer_id,))
    return "identity verified"


def _verified(desk: Desk, customer_id: str) -> None:
    if not desk.one("SELECT 1 FROM verified WHERE customer_id = ?", customer_id):
        raise ToolFailed(f"the identity of {customer_id} is not verified")


def _order(desk: Desk, order_id: str, allowed: tuple[str, ...], what: str) -> tuple[str, str]:
    """(customer, payment method) of an order in one of these states."""
    query = "SELECT status, customer_id, payment_id FROM orders WHERE id = ?"
    status, customer, payment = _row(desk, "order", query, order_id)
    _verified(desk, customer)
    if status not in allowed:
        raise ToolFailed(f"the order is {status}: {what}")
    return customer, payment


def _own(desk: Desk, table: str, key: str, customer: str) -> None:
    what = {"payments": "payment method", "addresses": "address"}[table]
    if _row(desk, what, f"SELECT customer_id FROM {table} WHERE id = ?", key)[0] != customer:
        raise ToolFailed(f"the {what} {key} is another customer's")


def _pay(desk: Desk, order_id: str, item_id: str, payment_id: str, amount: int) -> None:
    """Money to the customer; a negative amount is taken from the method. Gift cards cannot be overdrawn."""
    kind, balance = _row(desk, "payment method", "SELECT kind, balance FROM payments WHERE id = ?", payment_id)
    if kind == "gift card":
        if balance + amount < 0:
            raise ToolFailed(f"the gift card holds {_money(balance)}, {_money(-amount)} is needed")
        desk.db.execute("UPDATE payments SET balance = balance + ? WHERE id = ?", (amount, payment_id))
    if amount:
        desk.db.execute("INSERT INTO refunds VALUES (?, ?, ?, ?)", (order_id, item_id, payment_id, amount))


def cancel_order(desk: Desk, *, order_id: OrderId, reason: Reason) -> str:
    """Cancels an order that has not left and refunds it to its payment method."""
    _, payment = _order(desk, order_id, ("pending", "processed"), "it cannot be cancelled any more")
    desk.db.execute("UPDATE orders SET status = 'cancelled', reason = ? WHERE id = ?", (reason, order_id))
    total = 0
    for item, variant, price in desk.all("SELECT id, variant_id, price FROM items WHERE order_id = ?", order_id):
        total += price
        desk.db.execute("UPDATE items SET status = 'cancelled' WHERE id = ?", (item,))
        desk.db.execute("UPDATE variants SET stock = stock + 1 WHERE id = ?", (variant,))
    _pay(desk, order_id, "", payment, total)
    return f"order {order_id} cancelled, {_money(total)} refunded"


def modify_address(desk: Desk, *, order_id: OrderId, address_id: AddressId) -> str:
    """Sends an order that has not left to another address of the customer."""
    customer, _ = _order(desk, order_id, ("pending", "processed"), "its address cannot be changed any more")
    _own(desk, "addresses", address_id, customer)
    desk.db.execute("UPDATE orders SET address_id = ? WHERE id = ?", (address_id, order_id))
    return f"order {order_id} ships to {address_id}"


def modify_payment(desk: Desk, *, order_id: OrderId, payment_id: PaymentId) -> str:
    """Charges a pending order to another payment method of the customer and refunds the old one."""
    customer, old = _order(desk, order_id, ("pending",), "its payment cannot be changed any more")
    _own(desk, "payments", payment_id, customer)
    if old == payment_id:
        raise ToolFailed(f"order {order_id} is paid with {payment_id} already")
    total = desk.one("SELECT sum(price) FROM items WHERE order_id = ?", order_id)[0]
    _pay(desk, order_id, "", payment_id, -total)
    _pay(desk, order_id, "", old, total)
    desk.db.execute("UPDATE orders SET payment_id = ? WHERE id = ?", (payment_id, order_id))
    return f"order {order_id} is paid with {payment_id}"


def _item(desk: Desk, item_id: str, allowed: tuple[str, ...], what: str) -> tuple[str, str, str, str, int]:
    """(order, customer, payment method, variant, price) of an item that the customer has or will get."""
    order, variant, price, state = _row(
        desk, "item", "SELECT order_id, variant_id, price, status FROM items WHERE id = ?", item_id
    )
    customer, payment = _order(desk, order, allowed, what)
    if state != "kept":
        raise ToolFailed(f"the item {item_id} is {state}")
    return order, customer, payment, variant, price


def _swap(desk: Desk, item_id: str, old: str, new: str) -> int:
    """Checks another variant for an item and takes it from the stock; its price."""
    query = "SELECT product_id, price, stock FROM variants WHERE id = ?"
    product, price, stock = _row(desk, "variant", query, new)
    if old == new or product != desk.one(query, old)[0]:
        raise ToolFailed(f"{new} is no other variant of the same product")
    if not stock:
        raise ToolFailed(f"{new} is sold out")
    desk.db.execute("UPDATE variants SET stock = stock - 1 WHERE id = ?", (new,))
    return int(price)


def modify_item(desk: Desk, *, item_id: ItemId, variant_id: VariantId) -> str:
    """Changes an item of a pending order to another variant; the order's payment method settles the difference."""
    order, _, payment, old, price = _item(desk, item_id, ("pending",), "its items cannot be changed any more")
    new = _swap(desk, item_id, old, variant_id)
    desk.db.execute("UPDATE variants SET stock = stock + 1 WHERE id = ?", (old,))
    desk.db.execute("UPDATE items SET variant_id = ?, price = ? WHERE id = ?", (variant_id, new, item_id))
    _pay(desk, order, item_id, payment, price - new)
    return f"item {item_id} changed to {variant_id}"


def return_item(desk: Desk, *, item_id: ItemId, payment_id: PaymentId) -> str:
    """Takes back an item of a delivered order and refunds it to a payment method of the customer."""
    order, customer, _, _, price = _item(desk, item_id, ("delivered",), "nothing of it can be returned")
    _own(desk, "payments", payment_id, customer)
    desk.db.execute("UPDATE items SET status = 'returned' WHERE id = ?", (item_id,))
    if not desk.one("SELECT 1 FROM items WHERE order_id = ? AND status <> 'returned'", order):
        desk.db.execute("UPDATE orders SET status = 'returned' WHERE id = ?", (order,))
    _pay(desk, order, item_id, payment_id, price)
    return f"item {item_id} returned, {_money(price)} refunded to {payment_id}"


def exchange_item(desk: Desk, *, item_id: ItemId, variant_id: VariantId) -> str:
    """Exchanges an item of a delivered order for another variant; the order's payment method settles the difference."""
    order, _, payment, old, price = _item(desk, item_id, ("delivered",), "nothing of it can be exchanged")
    new = _swap(desk, item_id, old, variant_id)
    query = "UPDATE items SET variant_id = ?, price = ?, status = 'exchanged' WHERE id = ?"
    desk.db.execute(query, (variant_id, new, item_id))
    desk.db.execute("UPDATE orders SET exchanged = 1 WHERE id = ?", (order,))
    _pay(desk, order, item_id, payment, price - new)
    return f"item {item_id} exchanged for {variant_id}"


def issue_gift_card(desk: Desk, *, customer_id: CustomerId) -> dict[str, Any]:
    """Gives a customer who has none an empty gift card, to which refunds can go."""
    _row(desk, "customer", "SELECT id FROM customers WHERE id = ?", customer_id)
    _verified(desk, customer_id)
    if found := desk.one("SELECT id FROM payments WHERE customer_id = ? AND kind = 'gift card'", customer_id):
        raise ToolFailed(f"the customer has the gift card {found[0]}")
    new = f"gift_{customer_id[1:]}9"
    desk.db.execute("INSERT INTO payments VALUES (?, ?, 'gift card', 'gift card', 0)", (new, customer_id))
    desk.db.execute("INSERT INTO changed VALUES ('payments', ?)", (new,))
    return {"payment_id": new, "kind": "gift card", "balance": 0.0}


def transfer_to_human(desk: Desk, *, customer_id: CustomerId, reason: Why) -> str:
    """Hands a customer over to a human, which ends the conversation."""
    _row(desk, "customer", "SELECT id FROM customers WHERE id = ?", customer_id)
    _verified(desk, customer_id)
    desk.db.execute("INSERT INTO transfers VALUES (?)", (reason,))
    return "the customer is transferred"


READS = (
    find_customer_by_email, find_customer_by_name, get_customer, list_orders, get_order, get_product, search_products,
    get_variant, refund_status, calculate,
)  # fmt: skip
WRITES = (
    cancel_order, modify_address, modify_payment, modify_item, return_item, exchange_item, issue_gift_card,
    transfer_to_human,
)  # fmt: skip
TOOLS = (
    Tool.of(verify_customer),
    *(Tool.of(f) for f in WRITES),
    *(Tool.of(f, writes=False) for f in READS),
)
WRITING = frozenset(f.__name__ for f in WRITES)

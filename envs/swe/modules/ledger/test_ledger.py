# mypy: disable-error-code="import-not-found"
"""Tests of the ledger."""

import pytest
from ledger import Ledger, LedgerError, Overdrawn, UnknownAccount


def opened(fee: int | None = None) -> Ledger:
    """A ledger with two accounts, 100.00 in one and nothing in the other."""
    ledger = Ledger() if fee is None else Ledger(fee)
    ledger.open("ann", 10000)
    ledger.open("bob")
    return ledger


def test_opening() -> None:
    """With nothing or with something; the first entry says so."""
    ledger = opened()
    assert ledger.balance("ann") == 10000 and ledger.balance("bob") == 0
    assert ledger.statement("ann") == ["opening: +10000 -> 10000"]
    assert ledger.statement("bob") == []
    account = ledger.open("cat", 5, 7)
    assert account is ledger.account("cat") and (account.balance, account.limit) == (5, 7)


def test_names() -> None:
    """Have letters and are taken once."""
    ledger = opened()
    for name in ("", "  ", "ann"):
        with pytest.raises(LedgerError) as caught:
            ledger.open(name)
        assert caught.type is LedgerError
    assert ledger.balance("ann") == 10000


def test_unknown_accounts() -> None:
    """Are an error of their own."""
    with pytest.raises(UnknownAccount, match="eve"):
        opened().balance("eve")
    with pytest.raises(UnknownAccount):
        opened().deposit("eve", 1)


def test_deposits() -> None:
    """Raise the balance."""
    ledger = Ledger()
    ledger.open("bob")
    assert ledger.deposit("bob", 250) == 250
    assert ledger.deposit("bob", 1, "coin") == 251
    assert ledger.statement("bob") == ["deposit: +250 -> 250", "coin: +1 -> 251"]
    assert ledger.moved == 251


def test_withdrawals() -> None:
    """Lower it, down to nothing."""
    ledger = opened()
    assert ledger.withdraw("ann", 4000) == 6000
    assert ledger.withdraw("ann", 6000, "rest") == 0
    assert ledger.statement("ann")[1:] == ["withdrawal: -4000 -> 6000", "rest: -6000 -> 0"]
    assert ledger.moved == 10000
    with pytest.raises(Overdrawn, match="ann has 0, 1 are needed"):
        ledger.withdraw("ann", 1)


def test_amounts_are_positive() -> None:
    """Zero is none."""
    ledger = opened()
    for amount in (0, -5):
        with pytest.raises(LedgerError):
            ledger.deposit("bob", amount)
        with pytest.raises(LedgerError):
            ledger.withdraw("ann", amount)
    assert ledger.deposit("bob", 1) == 1 and ledger.withdraw("bob", 1) == 0


def test_credit() -> None:
    """An account may be overdrawn down to its limit."""
    ledger = opened()
    ledger.open("cat", 100, limit=500)
    assert ledger.account("cat").free() == 600
    assert ledger.withdraw("cat", 600) == -500
    with pytest.raises(Overdrawn):
        ledger.withdraw("cat", 1)


def test_fees() -> None:
    """Are taken on top of what is paid out, if it can be paid."""
    ledger = opened(fee=25)
    assert ledger.withdraw("ann", 1000) == 8975
    assert ledger.statement("ann", 2) == ["withdrawal: -1000 -> 9000", "fee: -25 -> 8975"]
    assert (ledger.earned, ledger.moved) == (25, 1000)
    with pytest.raises(Overdrawn, match="ann has 8975, 8976 are needed"):
        ledger.withdraw("ann", 8951)
    assert ledger.withdraw("ann", 8950) == 0
    assert ledger.earned == 50


def test_transfers() -> None:
    """Keep the total and are counted once."""
    ledger = opened()
    ledger.transfer("ann", "bob", 3000)
    assert (ledger.balance("ann"), ledger.balance("bob"), ledger.total()) == (7000, 3000, 10000)
    assert ledger.moved == 3000
    assert ledger.statement("ann")[-1] == "to bob: -3000 -> 7000"
    assert ledger.statement("bob") == ["from ann: +3000 -> 3000"]


def test_transfers_that_cannot_be_made() -> None:
    """Change nothing."""
    ledger = opened()
    with pytest.raises(UnknownAccount):
        ledger.transfer("ann", "eve", 10)
    with pytest.raises(Overdrawn):
        ledger.transfer("bob", "ann", 10)
    with pytest.raises(LedgerError):
        ledger.transfer("ann", "ann", 10)
    assert (ledger.balance("ann"), ledger.balance("bob"), ledger.moved) == (10000, 0, 0)


def test_paying_several() -> None:
    """In the order of their names."""
    ledger = opened(fee=10)
    ledger.open("cat")
    assert ledger.pay_all("ann", {"cat": 300, "bob": 200}) is True
    assert (ledger.balance("ann"), ledger.balance("bob"), ledger.balance("cat")) == (9480, 200, 300)
    assert ledger.statement("ann", 2)[0] == "to cat: -300 -> 9490"
    assert (ledger.moved, ledger.earned) == (500, 20)


def test_paying_several_fails_as_one() -> None:
    """Nothing is left of the transfers before."""
    ledger = opened(fee=10)
    ledger.open("cat")
    ledger.deposit("bob", 5)
    assert ledger.pay_all("ann", {"bob": 200, "cat": 9900}) is False
    assert ledger.pay_all("ann", {"bob": 200, "eve": 1}) is False
    assert (ledger.balance("ann"), ledger.balance("bob"), ledger.balance("cat")) == (10000, 5, 0)
    assert (ledger.moved, ledger.earned) == (5, 0)
    assert ledger.statement("bob") == ["deposit: +5 -> 5"]


def test_interest() -> None:
    """In whole cents, on what is there and not on debt."""
    ledger = opened()
    ledger.open("cat", 66)
    ledger.open("dan", limit=500)
    ledger.withdraw("dan", 400)
    assert ledger.interest(3) == 300 + 1
    assert (ledger.balance("ann"), ledger.balance("cat")) == (10300, 67)
    assert (ledger.balance("bob"), ledger.balance("dan")) == (0, -400)
    assert len(ledger.statement("bob")) == 0
    assert ledger.interest(0) == 0


def test_closing() -> None:
    """Only what has neither money nor debt."""
    ledger = opened()
    with pytest.raises(LedgerError):
        ledger.close("ann")
    ledger.close("bob")
    with pytest.raises(UnknownAccount):
        ledger.balance("bob")
    ledger.open("cat", limit=10)
    ledger.withdraw("cat", 10)
    with pytest.raises(LedgerError):
        ledger.close("cat")


def test_totals() -> None:
    """Of all accounts, of some, of none."""
    ledger = opened()
    ledger.deposit("bob", 5)
    assert ledger.total() == 10005
    assert ledger.total(["bob"]) == 5 and ledger.total([]) == 0


def test_statements_show_the_last_entries() -> None:
    """Ten unless told otherwise, with the right balances."""
    ledger = opened()
    for n in range(1, 13):
        ledger.deposit("bob", n)
    lines = ledger.statement("bob")
    assert len(lines) == 10 and lines[0] == "deposit: +3 -> 6" and lines[-1] == "deposit: +12 -> 78"
    assert ledger.statement("bob", 1) == lines[-1:]


def test_the_richest() -> None:
    """By balance, then by name."""
    ledger = opened()
    for name, cents in {"eve": 500, "dan": 500, "cat": 20000}.items():
        ledger.open(name, cents)
    assert ledger.richest() == ["cat", "ann", "dan"]
    assert ledger.richest(5) == ["cat", "ann", "dan", "eve", "bob"]
    assert ledger.richest(1) == ["cat"]

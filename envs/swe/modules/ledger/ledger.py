"""Accounts with balances in cents, and what moved them."""

from collections.abc import Iterable
from dataclasses import dataclass, field


class LedgerError(Exception):
    """A movement that the ledger does not make."""


class UnknownAccount(LedgerError):
    """No account has this name."""


class Overdrawn(LedgerError):
    """An account has not enough."""


@dataclass
class Account:
    """Its balance is the sum of its entries."""

    name: str
    limit: int = 0
    entries: list[tuple[str, int]] = field(default_factory=list)

    @property
    def balance(self) -> int:
        """Cents, negative while it is overdrawn."""
        return sum(amount for _, amount in self.entries)

    def free(self) -> int:
        """What can be taken out, the credit limit included."""
        return self.balance + self.limit


class Ledger:
    """All accounts; every movement is checked before anything changes."""

    def __init__(self, fee: int = 0) -> None:
        self.fee = fee
        self.moved = 0
        self.earned = 0
        self._accounts: dict[str, Account] = {}

    def open(self, name: str, balance: int = 0, limit: int = 0) -> Account:
        """A new account."""
        if not name.strip():
            raise LedgerError("an account needs a name")
        if name in self._accounts:
            raise LedgerError(f"{name} is there already")
        account = Account(name, limit)
        if balance:
            account.entries.append(("opening", balance))
        self._accounts[name] = account
        return account

    def account(self, name: str) -> Account:
        """The account of that name."""
        try:
            return self._accounts[name]
        except KeyError:
            raise UnknownAccount(name) from None

    def balance(self, name: str) -> int:
        """Cents of an account."""
        return self.account(name).balance

    def deposit(self, name: str, amount: int, note: str = "deposit") -> int:
        """Pay in; returns the new balance."""
        if amount <= 0:
            raise LedgerError("amounts are positive")
        account = self.account(name)
        account.entries.append((note, amount))
        self.moved += amount
        return account.balance

    def withdraw(self, name: str, amount: int, note: str = "withdrawal") -> int:
        """Pay out, the fee on top; returns the new balance."""
        if amount <= 0:
            raise LedgerError("amounts are positive")
        account = self.account(name)
        if amount + self.fee > account.free():
            raise Overdrawn(f"{name} has {account.free()}, {amount + self.fee} are needed")
        account.entries.append((note, -amount))
        if self.fee:
            account.entries.append(("fee", -self.fee))
            self.earned += self.fee
        self.moved += amount
        return account.balance

    def transfer(self, source: str, target: str, amount: int) -> None:
        """From one account to another; both are there or nothing happens."""
        if source == target:
            raise LedgerError("an account pays itself")
        self.account(target)
        self.withdraw(source, amount, f"to {target}")
        self.deposit(target, amount, f"from {source}")
        self.moved -= amount

    def pay_all(self, source: str, amounts: dict[str, int]) -> bool:
        """Several transfers, all or none; whether they were made."""
        saved = {name: list(a.entries) for name, a in self._accounts.items()}
        counts = self.moved, self.earned
        try:
            for target, amount in sorted(amounts.items()):
                self.transfer(source, target, amount)
        except LedgerError:
            for name, entries in saved.items():
                self._accounts[name].entries = entries
            self.moved, self.earned = counts
            return False
        return True

    def interest(self, percent: int) -> int:
        """Pay interest, in whole cents, on all that is not overdrawn; returns what was paid."""
        paid = 0
        for account in self._accounts.values():
            amount = account.balance * percent // 100
            if amount > 0:
                account.entries.append(("interest", amount))
                paid += amount
        return paid

    def close(self, name: str) -> None:
        """Remove an account without money or debt."""
        if self.balance(name) != 0:
            raise LedgerError(f"{name} is not empty")
        del self._accounts[name]

    def total(self, names: Iterable[str] | None = None) -> int:
        """Cents of some accounts together, or of all."""
        if names is None:
            names = self._accounts
        return sum(self.balance(name) for name in names)

    def statement(self, name: str, last: int = 10) -> list[str]:
        """The last entries of an account, each with the balance after it."""
        lines: list[str] = []
        balance = 0
        for note, amount in self.account(name).entries:
            balance += amount
            lines.append(f"{note}: {amount:+d} -> {balance}")
        return lines[-last:]

    def richest(self, count: int = 3) -> list[str]:
        """Names of the accounts with the most, those with equal balances by name."""
        ranked = sorted(self._accounts.values(), key=lambda a: (-a.balance, a.name))
        return [a.name for a in ranked[:count]]

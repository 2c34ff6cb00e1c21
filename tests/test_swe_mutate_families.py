"""What each family of bugs makes of a small source, all of it written down; and what is spared."""

import difflib
import textwrap
from collections import Counter

import pytest

from milepost.envs.swe.mutate import ALL, apply, candidates, sites

pytestmark = pytest.mark.core

GOLDEN = [
    (
        "comparison",
        """
        def f(a, b):
            return a < b
        """,
        ["return a <= b", "return a > b"],
    ),
    (
        "comparison",
        """
        def f(a, b):
            return (a) not  in (b)
        """,
        ["return (a) in (b)"],
    ),
    (
        "comparison",
        """
        def f(a, b):
            return a is not b != 1
        """,
        ["return a is b != 1", "return a is not b == 1"],
    ),
    (
        "control_flow",
        """
        def f(a, b):
            while a or(b):
                a()
        """,
        ["while not (a or(b)):", "while a and(b):"],
    ),
    (
        "control_flow",
        """
        def f(a):
            if(a):
                return 1
        """,
        ["if(not a):"],
    ),
    (
        "control_flow",
        """
        def f(a):
            if not (a
                    or 1):
                a()
        """,
        ["if (a", "and 1):"],
    ),
    (
        "control_flow",
        """
        def f(a):
            if a > 1:  # why
                x = 1
            else:
                # or
                x = 2
            return x
        """,
        ["x = 2; x = 1"],
    ),
    (
        "control_flow",
        """
        def f(a):
            return (a) if a() else a.b
        """,
        ["return a.b if a() else (a)"],
    ),
    (
        "control_flow",
        """
        def f(a):
            for x in a:
                if x:
                    break
                a()
        """,
        ["if not x:", "continue"],
    ),
    (
        "control_flow",
        """
        def f(a):
            for x in a:
                break
            else:
                a()
        """,
        ["continue", "else: / a() => a()"],
    ),
    (
        "control_flow",
        """
        def f(a):
            if a:
                a()
            elif a.b:
                a.c()
        """,
        ["if not a:", "elif not a.b:", "if a.b:"],
    ),
    (
        "default_argument",
        """
        def f(a, n=3, *, k=True):
            a(1, k=k)
        """,
        [
            "def f(a, n=4, *, k=True):",
            "def f(a, n=2, *, k=True):",
            "def f(a, n=None, *, k=True):",
            "def f(a, n=3, *, k=False):",
            "a(1)",
        ],
    ),
    (
        "default_argument",
        """
        def f(a=None):
            if a is None:
                a = []
            return a
        """,
        ["def f(a=[]):", "def f(a=False):"],
    ),
    (
        "dropped_guard",
        """
        def f(a, b):
            if a is None:  # nothing
                return 0
            return a and (b)
        """,
        ["if a is None:  # nothing / return 0 => ", "return (b)", "return a"],
    ),
    (
        "dropped_guard",
        """
        def f(a):
            for b in a:
                if b:
                    raise KeyError(b)
        """,
        ["if b: / raise KeyError(b) => pass"],
    ),
    (
        "exception_handling",
        """
        def f(a, b):
            try:
                return a[b]
            except (KeyError, TypeError):
                return None
        """,
        ["except TypeError:", "except KeyError:", "pass", "raise"],
    ),
    (
        "exception_handling",
        """
        def f(a):
            try:
                a()
            except OSError:
                raise
        """,
        ["except FileNotFoundError:", "except ValueError:", "except TimeoutError:", "pass"],
    ),
    (
        "off_by_one",
        """
        def f(a):
            return a[-1]
        """,
        ["return a[0]", "return a[-2]"],
    ),
    (
        "off_by_one",
        """
        def f(a, n):
            return [a for i in range(n)]
        """,
        ["return [a for i in range(n + 1)]", "return [a for i in range(n - 1)]", "return [a for i in range(1, n)]"],
    ),
    (
        "off_by_one",
        """
        def f(a, n):
            return a[n if n else a:] + a[n - 1]
        """,
        [
            "return a[(n if n else a) + 1:] + a[n - 1]",
            "return a[(n if n else a) - 1:] + a[n - 1]",
            "return a[n if n else a:] + a[n - 2]",
            "return a[n if n else a:] + a[n]",
        ],
    ),
    (
        "off_by_one",
        """
        def f(a):
            return list(enumerate(a)), enumerate(a, 1)
        """,
        [
            "return list(enumerate(a, 1)), enumerate(a, 1)",
            "return list(enumerate(a)), enumerate(a)",
            "return list(enumerate(a)), enumerate(a, 2)",
            "return list(enumerate(a)), enumerate(a, 0)",
        ],
    ),
    (
        "operator",
        """
        def f(a, b):
            a += b
            return (a - b) / -b
        """,
        [
            "a -= b",
            "a *= b",
            "return (a + b) / -b",
            "return (b - a) / -b",
            "return (a - b) * -b",
            "return (a - b) // -b",
            "return (a - b) / b",
        ],
    ),
    (
        "removed_call",
        """
        def f(a, b):
            b(a)
            return sorted(a.b + 1), b[0].strip(), max(0, a)
        """,
        [
            "b(a) => ",
            "return (a.b + 1), b[0].strip(), max(0, a)",
            "return sorted(a.b + 1), b[0], max(0, a)",
            "return sorted(a.b + 1), b[0].strip(), a",
        ],
    ),
    (
        "return_value",
        """
        def f(a, b):
            c = a + b
            return c
        """,
        ["return None", "return a", "return b", "return c => "],
    ),
    (
        "return_value",
        """
        def is_ok(a, b):
            return a.x(b) or b
        """,
        ["return None", "return not (a.x(b) or b)", "a.x(b) or b"],
    ),
    (
        "return_value",
        """
        def f(a, b):
            return a, b.c
        """,
        ["return None", "a, b.c", "return b.c, a"],
    ),
    (
        "state",
        """
        class C:
            def f(self, a):
                self.n += 1
                self.m = list(a)
        """,
        [
            "self.n += 1 => ",
            " => self.n += 1",
            "self.m += 1",
            "self.n = 1",
            "self.m = list(a) => ",
            "self.n = list(a)",
            "self.m = a",
        ],
    ),
    (
        "state",
        """
        class C:
            def f(self):
                a = self.n
                self.n += a
        """,
        [" => self.n += a; self.n += a => ", "self.n += a => ", " => self.n += a", "self.n = a"],
    ),
    (
        "string_slice",
        """
        def f(a, n):
            return ','.join(a.split(';')[1:n]) + a.b.lower()[n:]
        """,
        [
            "return ','.join(a.split(';')[1:]) + a.b.lower()[n:]",
            "return ','.join(a.split(';')[:n]) + a.b.lower()[n:]",
            "return ','.join(a.split(';')[1:n]) + a.b.upper()[n:]",
            "return ','.join(a.split(';')[1:n]) + a.b.lower()[:n]",
            "return ', '.join(a.split(';')[1:n]) + a.b.lower()[n:]",
            "return ''.join(a.split(';')[1:n]) + a.b.lower()[n:]",
            "return ';'.join(a.split(';')[1:n]) + a.b.lower()[n:]",
            "return ','.join(a.split('; ')[1:n]) + a.b.lower()[n:]",
            "return ','.join(a.split(',')[1:n]) + a.b.lower()[n:]",
        ],
    ),
    (
        "swapped_arguments",
        """
        def f(a, b):
            return a(b,  # one
                (a.b), k=a, j=b)
        """,
        ["return a(b,  # one / (a.b), k=a, j=b) => return a(a.b,  # one / (b), k=a, j=b)", "(a.b), k=b, j=a)"],
    ),
    (
        "wrong_call",
        """
        def f(a):
            a.pop(0)
            return min(a.values())
        """,
        ["a.pop()", "return max(a.values())", "return min(a.keys())", "return min(a.items())"],
    ),
    (
        "wrong_variable",
        """
        def f(a, b):
            c = a + 1
            return c + b
        """,
        ["c = b + 1", "return b + b", "return a + b", "return c + a", "return c + c"],
    ),
    (
        "wrong_variable",
        """
        class C:
            def f(self):
                self.x, self.y = 1, 2
                return self.x * 2
        """,
        ["return self.y * 2"],
    ),
]


def change(before, after):
    """What became of the lines: the new line, or ``old / old => new`` where lines were added or went."""
    old, new = before.splitlines(), after.splitlines()
    parts = []
    for tag, i, j, k, m in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag != "equal":
            gone, come = (" / ".join(line.strip() for line in lines) for lines in (old[i:j], new[k:m]))
            parts.append(come if (j - i, m - k) == (1, 1) else f"{gone} => {come}")
    return "; ".join(parts)


@pytest.mark.parametrize("number", range(len(GOLDEN)))
def test_golden_examples(number):
    """All that a family makes of a small source, and nothing else."""
    family, text, after = GOLDEN[number]
    before = textwrap.dedent(text).lstrip("\n")
    made = [apply(before, [s]) for s in sites(before, [family])]
    assert Counter(change(before, m) for m in made) == Counter(after)
    kept = [line[: len(line) - len(line.lstrip())] for line in before.splitlines()]
    assert all(line[: len(line) - len(line.lstrip())] in kept for m in made for line in m.splitlines())


def test_every_family_has_an_example():
    assert len(ALL) >= 13 and {family for family, _, _ in GOLDEN} == set(ALL)


SPARED = '''"""A docstring with 1 < 2."""

import sys
from typing import TYPE_CHECKING, Literal, TypeVar

if TYPE_CHECKING:
    WIDTH = 3 - 1

__all__ = ["f"[0:1]]
__version__ = str(1 + 1)
T = TypeVar("T", bound=int)

if sys.version_info >= (3, 11):
    LIMIT = 2
try:
    import fast
except ImportError:
    fast = None


def f(a: Literal[1, 2]) -> Literal[3]:
    """Another with 1 + 1."""
    b: Literal[4]
    assert a < 3 and not a, 5
    print(a + 1)
    f"{a - 1} {a < 2:>10}"
    global G
    ...


@f(1 + 1)
class C(f(2, 3)):
    "No docstring is changed."


if __name__ == "__main__":
    f(1)
'''


def test_places_where_no_bug_belongs_are_spared():
    assert sites(SPARED) == []
    inside = SPARED.replace("    global G\n", "    a(a < 1)\n")
    assert {s.lineno for s in sites(inside)} == {27}


def test_what_changes_nothing_is_left_out():
    same = "def f(a):\n    return a(a, a), a * 1, a + 0, a - a, max(a, 3), [1, 2]\n"
    assert sites(same, ["swapped_arguments"]) == []
    assert [(s.old, s.new) for s in sites(same, ["operator"])] == [("-", "+")]
    assert sites("def f(a):\n    if a == a:\n        return None\n", ["comparison", "return_value"]) == []
    assert sites("def f(a):\n    if not a.strip():\n        return a.split(',')\n", ["string_slice"])[0].new == "', '"
    closed = "def f(a):\n    if a:\n        return 1\n    elif a():\n        return 2\n    return 3\n"
    assert "`elif` became `if`" not in {s.description for s in sites(closed)}


def test_only_variables_that_are_bound_can_be_mistaken():
    source = "def f(a, b):\n    if a:\n        inner = 1\n    last = [x for x in b]\n    return last + a\n"
    found = {(s.lineno, s.old, s.new) for s in sites(source, ["wrong_variable"])}
    assert found == {
        (2, "a", "b"), (4, "x", "b"), (4, "x", "a"), (4, "b", "a"),
        (5, "last", "a"), (5, "last", "b"), (5, "a", "b"), (5, "a", "last"),
    }  # fmt: skip
    assert (5, "a", "inner") in {(s.lineno, s.old, s.new) for s in candidates(source, ["wrong_variable"])}

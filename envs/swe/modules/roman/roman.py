"""Roman numerals, and the numbering of lists."""

_ONES = ("", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX")
_VALUES = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}
LARGEST = 3999


class RomanError(ValueError):
    """No Roman numeral, or a number that has none."""


def to_roman(number: int) -> str:
    """The numeral of 1 to 3999."""
    if not 0 < number <= LARGEST:
        raise RomanError(f"{number} has no numeral")
    thousands, rest = divmod(number, 1000)
    hundreds, rest = divmod(rest, 100)
    tens, ones = divmod(rest, 10)
    return "M" * thousands + _digit(hundreds, "CDM") + _digit(tens, "XLC") + _ONES[ones]


def _digit(n: int, letters: str) -> str:
    """One decimal digit in the letters for one, five and ten of its place."""
    one, five, ten = tuple(letters)
    if n == 9:
        return one + ten
    if n >= 5:
        return five + one * (n - 5)
    if n == 4:
        return one + five
    return one * n


def from_roman(text: str, strict: bool = True) -> int:
    """The number of a numeral, in either case.

    Strict reading takes only the one usual spelling: ``IV``, not ``IIII``.
    """
    letters = text.strip().upper()
    total = 0
    highest = 0
    for letter in reversed(letters):
        try:
            value = _VALUES[letter]
        except KeyError:
            raise RomanError(f"{letter!r} is no Roman digit") from None
        if value < highest:
            total -= value
        else:
            total += value
            highest = value
    if not letters or (strict and (total > LARGEST or to_roman(total) != letters)):
        raise RomanError(f"{text!r} is no usual numeral")
    return total


def is_roman(text: str) -> bool:
    """Whether a text is a numeral in its usual spelling."""
    try:
        from_roman(text)
    except RomanError:
        return False
    return True


def add(first: str, second: str) -> str:
    """The sum of two numerals."""
    return to_roman(from_roman(first) + from_roman(second))


def outline(titles: list[str], start: int = 1, lower: bool = False, end: str = ".") -> list[str]:
    """Titles with numerals in front, set flush right."""
    numbers = [to_roman(start + i) for i in range(len(titles))]
    if lower:
        numbers = [n.lower() for n in numbers]
    width = max((len(n) for n in numbers), default=0)
    return [f"{n.rjust(width)}{end} {title.strip()}" for n, title in zip(numbers, titles)]


def sort_chapters(names: list[str]) -> list[str]:
    """Names such as ``Part IV``, by their last word; those without a numeral come last, as they were."""
    known = [n for n in names if n.split() and is_roman(n.split()[-1])]
    others = [n for n in names if n not in known]
    return sorted(known, key=lambda n: from_roman(n.split()[-1])) + others

"""The joined list, and the lines that are no addresses."""


def lines(path: str) -> list[str]:
    """Of a file."""
    with open(path, encoding="utf-8") as f:
        return f.read().splitlines()


def test_addresses() -> None:
    """Once each, in order, without who left."""
    assert lines("/app/all.txt") == [
        "ada@example.org", "bo@example.org", "cem@example.org", "fay@example.org", "eli@example.org",
    ]  # fmt: skip


def test_bad_lines() -> None:
    """Unchanged and in order."""
    assert lines("/app/bad.txt") == ["not an address", "x@y@example.org", "@example.org", "not an address"]


def test_lists_are_as_they_were() -> None:
    """The sources are still there."""
    assert lines("/app/lists/10-late.txt")[-1] == "eli@example.org" and len(lines("/app/lists/01-spring.txt")) == 5

"""The merge and its conflicts."""

import configparser

MERGED = {
    "core": {"colour": "red", "level": "4", "name": "tool"},
    "net": {"host": "b.example", "port": "8080"},
    "tmp": {"path": "/var/tmp"},
    "ui": {"theme": "dark = black"},
}


def merged() -> dict[str, dict[str, str]]:
    """What was written, in its order."""
    parser = configparser.ConfigParser(interpolation=None)
    with open("/app/merged.ini", encoding="utf-8") as f:
        parser.read_file(f)
    return {s: dict(parser[s]) for s in parser.sections()}


def test_values() -> None:
    """Each key as the rules say."""
    assert merged() == MERGED


def test_order() -> None:
    """By alphabet."""
    assert [(s, list(keys)) for s, keys in merged().items()] == [
        (s, sorted(keys)) for s, keys in sorted(MERGED.items())
    ]


def test_conflicts() -> None:
    """What both changed differently."""
    with open("/app/conflicts.txt", encoding="utf-8") as f:
        assert f.read().split() == ["core.level", "net.proxy", "tmp.path"]

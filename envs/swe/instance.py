"""Task instances in SWE-bench's own format (Jimenez et al. 2024, arXiv 2310.06770): one JSON object a task."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_REQUIRED = ("instance_id", "repo", "base_commit", "problem_statement", "patch", "test_patch")
_LISTS = ("FAIL_TO_PASS", "PASS_TO_PASS")


@dataclass(frozen=True)
class Instance:
    """One task.

    Raises:
        ValueError: (``parse``) a field is missing or of a wrong type; names the instance and the field.
    """

    instance_id: str
    repo: str
    base_commit: str
    problem_statement: str
    patch: str
    """The reference repair, a diff of source files. Never shown; the oracle applies it."""
    test_patch: str
    """A diff of test files that only the grader applies."""
    fail_to_pass: tuple[str, ...]
    """Tests that fail before the repair and pass after it."""
    pass_to_pass: tuple[str, ...]
    """Tests that pass before and must still pass."""
    extra: Mapping[str, Any] = field(default_factory=dict, compare=False)
    """All other fields as they stood."""

    @classmethod
    def parse(cls, row: Mapping[str, Any]) -> Instance:
        """From one JSON object; the two lists of tests may be lists or JSON texts of lists, as in the published files."""
        name = row.get("instance_id", "?")
        for key in _REQUIRED:
            if not isinstance(row.get(key), str):
                raise ValueError(f"instance {name!r}: {key} is {row.get(key)!r:.60}; allowed: a text")
        lists = []
        for key in _LISTS:
            value = row.get(key)
            try:
                value = json.loads(value) if isinstance(value, str) else value
            except ValueError:
                pass
            if not isinstance(value, Iterable) or isinstance(value, str) or not all(isinstance(v, str) for v in value):
                raise ValueError(f"instance {name!r}: {key} is {value!r:.60}; allowed: a list of test names")
            lists.append(tuple(value))
        extra = {k: v for k, v in row.items() if k not in (*_REQUIRED, *_LISTS)}
        name, repo, commit, statement, patch, test_patch = (row[k] for k in _REQUIRED)
        return cls(name, repo, commit, statement, patch, test_patch, lists[0], lists[1], extra)

    def row(self) -> dict[str, Any]:
        """As one JSON object."""
        out: dict[str, Any] = {key: getattr(self, key) for key in _REQUIRED}
        return out | {"FAIL_TO_PASS": list(self.fail_to_pass), "PASS_TO_PASS": list(self.pass_to_pass), **self.extra}

    @property
    def held_out(self) -> bool:
        """It belongs to ``split="test"``: a quarter of all, by the checksum of its id, or as its field ``split`` says."""
        said = self.extra.get("split")
        return said == "test" if said in ("train", "test") else zlib.crc32(self.instance_id.encode()) % 4 == 0


def load(path: str | Path) -> list[Instance]:
    """Instances of a JSON file (a list, or an object of lists), a JSONL file, or a parquet file.

    Raises:
        ValueError: another kind of file, or an instance that is none; names the file and the line.
        ModuleNotFoundError: parquet without pyarrow.
    """
    path = Path(path)
    if path.suffix == ".parquet":
        import pyarrow.parquet as parquet

        rows = parquet.read_table(path).to_pylist()
    elif path.suffix == ".jsonl":
        rows = []
        for n, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if line.strip():
                try:
                    rows.append(json.loads(line))
                except ValueError as e:
                    raise ValueError(f"{path}, line {n}: {e}") from None
    elif path.suffix == ".json":
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as e:
            raise ValueError(f"{path}: {e}") from None
        rows = [r for part in found.values() for r in part] if isinstance(found, dict) else found
    else:
        raise ValueError(f"instance file is {str(path)!r}; allowed: .json, .jsonl, .parquet")
    if not isinstance(rows, list) or not rows or not all(isinstance(r, dict) for r in rows):
        raise ValueError(f"{path} holds no instances; allowed: a list of objects in SWE-bench's format")
    return [Instance.parse(row) for row in rows]


def save(instances: Iterable[Instance], path: str | Path) -> None:
    """Writes a JSONL file that ``load`` reads."""
    text = "".join(json.dumps(i.row(), ensure_ascii=False) + "\n" for i in instances)
    Path(path).write_text(text, encoding="utf-8")

"""A scorer that is affordable: cached, off the step, within a budget, and never a reward when it fails."""

from __future__ import annotations

import atexit
import functools
import itertools
import json
import math
import os
import sqlite3
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from ..shaper import nearest, use
from .cache import WAIT, Cache
from .query import Query, Question, Reply, Scorer, key
from .settings import check
from .student import Student

MEMO = 50_000  # answers that a process keeps beside the file; a kilobyte or two each
PART = 1_000  # queries that are looked up and waited for at once
IDLE = 2.0  # seconds after which the worker ends; the next question starts another
LAST = 5.0  # seconds that ``close`` waits for the batch that is under way
SAID = 300  # characters of an error that are kept
BUSY = 0.02  # seconds that ``async`` waits for a locked file before it leaves the look-up to the worker

_OPEN: weakref.WeakSet[Service] = weakref.WeakSet()  # those that had a worker: closed when the process ends
Mode = Literal["sync", "async", "frozen"]


class MissingAnswer(RuntimeError):
    """A frozen judge was asked what its cache does not know."""


@dataclass(eq=False)
class Service:
    """Asks a scorer, or remembers what it said.

    ``ask`` gives a value a query; None is "no answer": not known (yet), unreadable, failed, or beyond the budget. It is
    never turned into a reward here or by a shaper. Values are shared: do not write to them.

    Modes. ``sync``: what is not known is asked now, in order. ``async``: never waits; unknown queries go to a bounded
    queue, the newest are asked first, the oldest fall out; a query is queued once. ``frozen``: only the cache is read,
    bit for bit the same in every process.

    A query that failed (the scorer raised, said nothing, or returned something that is no reply) is not asked again in
    this process; the next run asks it again. A call that has outlived ``timeout`` is waited for once: until it returns,
    what is unknown has no answer, and when it does, its answers are kept. Budgets hold for each process. Threads,
    connections and queues do not cross a fork or a pickle: each process has its own, and shares the file.

    Raises:
        ValueError: a setting that is not allowed.
        FileNotFoundError: ``frozen`` without a cache file.
        ModuleNotFoundError: the model's package is missing (not ``frozen``, which needs no model).
        MissingAnswer: ``frozen``, ``on_miss="error"``, and the cache does not know.
        ModuleNotFoundError: the scorer's model is not installed (unless ``frozen``); names the command that does it.
    """

    scorer: Any
    """A scorer, or its name or settings (see ``scorers.make``)."""
    cache: str = ":memory:"
    """SQLite file of answers, shared by any number of processes."""
    mode: Mode = "sync"
    """``sync``, ``async`` or ``frozen``."""
    on_miss: Literal["error", "default"] = "error"
    """What ``frozen`` does without an answer: raise, or give None."""
    canon: str | Callable[[str], str] = "milepost.wrappers.scorers.query:strip_volatile"
    """Strips what is volatile from every text of a query (function or ``"module:function"``)."""
    batch: int = 32
    """Queries that a scorer gets at once at most."""
    queue: int = 1_000
    """Queries that wait at most in ``async``; the oldest fall out."""
    timeout: float | None = 120.0
    """Seconds that ``sync`` waits for its answers (to 1,000 queries at a time); later ones are kept for the next time."""
    max_calls: int | None = None
    """Queries that are put to the scorer at most; after that it is as if frozen, with None for a miss."""
    max_seconds: float | None = None
    """The same for seconds spent in the scorer."""
    student: dict[str, Any] | None = None
    """Settings of a ``Student`` that is distilled from answers to questions and takes the teacher's place; None: none."""
    stats: Counter[str] = field(default_factory=Counter, init=False, repr=False)
    """Counts. ``asked`` = ``hits`` (no call needed) + ``misses`` + ``student``; ``calls`` (queries put to the scorer),
    ``tokens``, ``cost``, ``seconds``; without an answer: ``unreadable``, ``silent``, ``failed``, ``timeouts``, ``dropped``,
    ``over_budget``; ``errors`` of scorer and file, also by name."""
    trouble: str = field(default="", init=False, repr=False)
    """The scorer's latest error in its own words; empty: none."""

    def __post_init__(self) -> None:
        check("judge", "batch", self.batch, 1, whole=True)
        check("judge", "queue", self.queue, 1, whole=True)
        check("judge", "timeout", self.timeout, 0, none=True)
        check("judge", "max_calls", self.max_calls, 0, whole=True, none=True)
        check("judge", "max_seconds", self.max_seconds, 0, none=True)
        for name, allowed in (("mode", ("sync", "async", "frozen")), ("on_miss", ("error", "default"))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"judge: {name} is {getattr(self, name)!r}; allowed: {', '.join(map(repr, allowed))}")
        self._canon = use(self.canon)
        if not callable(self._canon):
            raise ValueError(f"judge: canon is {self.canon!r}; allowed: a function of a text")
        if self.student is not None:
            known = [f.name for f in fields(Student)]
            for k in self.student:
                if k not in known:
                    raise ValueError(f"the student has no setting {k!r}{nearest(k, known)} It has: {', '.join(known)}")
        from . import make

        self.model: Scorer = make(self.scorer)
        if self.mode != "frozen":  # a frozen judge needs neither model nor key
            getattr(self.model, "ready", lambda: None)()
        self._student = Student(**self.student) if self.student is not None else None
        self._cache = Cache(self.cache, self.mode == "frozen")
        self._memo: dict[Query, Any] = {}  # by query as it was asked
        self._known: dict[str, Any] = {}  # by key; None: there is no answer to be had
        self._start_over()

    def _start_over(self) -> None:
        """What belongs to this process: threads do not survive a fork."""
        self._pid = os.getpid()
        self._lock = threading.Condition()  # of all that both threads write
        self._waiting: dict[str, Query] = {}  # in order of arrival
        self._asking: set[str] = set()
        self._overdue = False  # is the scorer in a call that has outlived the timeout?
        self._closed = False
        self._worker: threading.Thread | None = None

    def __reduce__(self) -> Any:
        return Service, tuple(getattr(self, f.name) for f in fields(self) if f.init)

    @functools.cached_property
    def _identity(self) -> dict[str, Any]:
        return json.loads(json.dumps(self.model.identity, allow_nan=False))  # type: ignore[no-any-return]

    # -- asking ----------------------------------------------------------------------------------
    def ask(self, queries: Sequence[Query]) -> list[Any]:
        """The values, one a query, in order; see the class for None.

        Raises:
            ValueError: the scorer does not answer this kind of query.
            MissingAnswer: see the class.
        """
        if self._pid != os.getpid():
            self._start_over()
        memo = self._memo
        try:
            out = [memo[q] for q in queries]  # the warm path: a look-up a query
        except KeyError:
            return [v for i in range(0, len(queries), PART) for v in self._ask(queries[i : i + PART])]
        with self._lock:
            self.stats["asked"] += len(out)
            self.stats["hits"] += len(out)
        return out

    def handle(self, query: Query) -> str:
        """What to remember of a query that has no answer yet: its key."""
        return key(self._identity, query.canonical(self._canon))

    def arrived(self, handles: Iterable[str]) -> dict[str, Any]:
        """The values that are there by now, of these handles; None for what failed. Only looks, and asks nothing."""
        with self._lock:
            return {h: self._known[h] for h in handles if h in self._known}

    def _ask(self, queries: Sequence[Query]) -> list[Any]:
        for q in queries:
            if q.kind not in self.model.kinds:
                name = type(self.model).__name__
                raise ValueError(f"the scorer {name} answers {', '.join(self.model.kinds)}, not a {q.kind}")
        pure = {q: q.canonical(self._canon) for q in dict.fromkeys(queries)}
        keys = {q: key(self._identity, p) for q, p in pure.items()}
        asked = {keys[q]: p for q, p in pure.items()}
        found = self._recall(asked, BUSY if self.mode == "async" else WAIT)
        unknown = {k: p for k, p in asked.items() if k not in found}
        taught = self._taught(unknown)
        unknown = {k: p for k, p in unknown.items() if k not in taught}
        if unknown and self.mode == "frozen":
            self._refuse(next(iter(unknown.values())))
        elif unknown:
            found |= self._wait_for(unknown) if self.mode == "sync" else self._enqueue(unknown)
        with self._lock:
            for q, k in keys.items():
                if k in found:
                    self._keep(self._memo, q, found[k])  # next time without canonical form and hash
        hits = sum(keys[q] in found and keys[q] not in unknown for q in queries)
        student = sum(keys[q] in taught for q in queries)
        self._count(asked=len(queries), hits=hits, misses=len(queries) - hits - student, student=student)
        return [found[keys[q]] if keys[q] in found else taught.get(keys[q]) for q in queries]

    def _count(self, **more: float) -> None:
        with self._lock:
            for name, n in more.items():
                self.stats[name] += n  # type: ignore[assignment]

    def _keep(self, memory: dict[Any, Any], k: Any, value: Any) -> None:
        while len(memory) >= MEMO and k not in memory:  # oldest first
            del memory[next(iter(memory))]
        memory[k] = value

    def _recall(self, asked: dict[str, Query], wait: float = WAIT) -> dict[str, Any]:
        """What is known, in memory or in the file."""
        with self._lock:
            found = {k: self._known[k] for k in asked if k in self._known}
        rest = [k for k in asked if k not in found]
        try:
            raws = self._cache.get(rest, wait) if rest else {}
        except (sqlite3.Error, OSError, ValueError) as e:
            if self.mode == "frozen":
                raise
            self._error(e)
            raws = {}
        return found | self._settle([(k, asked[k], raw) for k, raw in raws.items()])

    def _settle(self, texts: Iterable[tuple[str, Query, str]]) -> dict[str, Any]:
        """Texts read; the student learns from what can be understood."""
        out = {}
        for k, q, raw in texts:
            try:
                value = self.model.read(raw, q)
                value = value if value is not None and q.allows(value) else None
            except Exception:  # text of a model may be anything
                value = None
            out[k] = value
            with self._lock:
                self._keep(self._known, k, value)
                if value is None:
                    self._count(unreadable=1)
                elif self._student is not None and self.mode != "frozen" and isinstance(q, Question):
                    self._student.learn(q, value)
        return out

    def _taught(self, unknown: dict[str, Query]) -> dict[str, Any]:
        """What the student is sure of, but for a random share that goes to the teacher as an audit."""
        if self._student is None or self.mode == "frozen":
            return {}
        with self._lock:
            said = {k: self._student.answer(q) for k, q in unknown.items() if isinstance(q, Question)}
        return {k: value for k, value in said.items() if value is not None}

    def _refuse(self, query: Query) -> None:
        if self.on_miss == "error":
            raise MissingAnswer(
                f"the frozen cache {self.cache} has no answer of {self._identity.get('scorer', 'this scorer')} with these "
                f"settings to {str(query)[:300]}: run once with mode='sync' on that cache, or allow on_miss='default'"
            )

    # -- the scorer's turn -----------------------------------------------------------------------
    def _spent(self) -> bool:
        return (self.max_calls is not None and self.stats["calls"] >= self.max_calls) or (
            self.max_seconds is not None and self.stats["seconds"] >= self.max_seconds
        )

    def _enqueue(self, unknown: dict[str, Query]) -> dict[str, Any]:
        """To the worker, but for what has become known meanwhile, which is returned."""
        with self._lock:
            found = {k: self._known[k] for k in unknown if k in self._known}
            new = {k: p for k, p in unknown.items() if k not in found and k not in self._asking}
            if self._spent():
                self._count(over_budget=len(new))
                return found
            for k, p in new.items():
                self._waiting.pop(k, None)
                self._waiting[k] = p  # seen again: among the newest
            while self.mode == "async" and len(self._waiting) > self.queue:
                del self._waiting[next(iter(self._waiting))]
                self._count(dropped=1)
            self._closed = False
            if self._waiting and (self._worker is None or not self._worker.is_alive()):
                _OPEN.add(self)
                self._worker = threading.Thread(target=self._work, name="milepost-judge", daemon=True)
                self._worker.start()
            self._lock.notify_all()
        return found

    def _wait_for(self, unknown: dict[str, Query]) -> dict[str, Any]:
        """Through the same worker, so that a scorer that hangs costs ``timeout`` once and not the run."""
        with self._lock:
            if self._overdue:
                self._count(timeouts=len(unknown))
                return {}
            found = self._enqueue(unknown)
            self._lock.wait_for(lambda: not any(self._pending(k) for k in unknown), self.timeout)
            if late := sum(self._pending(k) for k in unknown):
                self._count(timeouts=late)
                self._overdue = bool(self._asking)
            return found | {k: self._known[k] for k in unknown if k in self._known}

    def _pending(self, k: str) -> bool:
        return k in self._asking or k in self._waiting

    def _work(self) -> None:
        while batch := self._next():
            try:
                self._call(batch)
            except BaseException as e:  # whatever a scorer does, it is counted and no reward
                self._error(e)
                self.trouble = " ".join(str(e).split())[:SAID] or type(e).__name__
                self._fail(batch, "failed")
            with self._lock:
                self._asking.clear()
                self._overdue = False
                self._lock.notify_all()

    def _next(self) -> dict[str, Query]:
        """What is asked next; empty when the worker is to end."""
        with self._lock:
            self._lock.wait_for(lambda: self._waiting or self._closed, IDLE)
            room = self.batch
            if self.max_calls is not None:
                room = min(room, int(self.max_calls - self.stats["calls"]))
            if self._spent() or self._closed:
                self._count(over_budget=0 if self._closed else len(self._waiting))
                self._waiting.clear()
                self._lock.notify_all()
            order: Iterable[str] = reversed(self._waiting) if self.mode == "async" else self._waiting
            batch = {k: self._waiting.pop(k) for k in list(itertools.islice(order, max(0, room)))}
            self._asking.update(batch)
            if not batch:
                self._worker = None
                if self._closed:
                    self._cache.close()
            return batch

    def _call(self, batch: dict[str, Query]) -> None:
        """One call of the scorer, for what no other process has answered meanwhile."""
        found = self._recall(batch)
        batch = {k: q for k, q in batch.items() if k not in found}
        if not batch:
            return
        start = time.perf_counter()
        self._count(calls=len(batch))
        try:
            replies = list(self.model.reply(list(batch.values())))
        finally:
            seconds = time.perf_counter() - start
            self._count(seconds=seconds)
        if len(replies) != len(batch):
            raise ValueError(f"{len(replies)} replies to {len(batch)} queries")
        said = {k: r for k, r in zip(batch, replies) if r is not None and _sound(r)}
        self._fail([k for k, r in zip(batch, replies) if r is None], "silent")
        self._fail([k for k, r in zip(batch, replies) if r is not None and k not in said], "failed")
        self._count(tokens=sum(r.tokens for r in said.values()), cost=sum(r.cost for r in said.values()))
        kept: dict[str, str] = {}
        try:
            if said:
                kept = self._cache.put(
                    [(k, batch[k], r) for k, r in said.items()], self._identity, seconds / len(batch)
                )
        except Exception as e:  # a full disk must not end training
            self._error(e)
        self._settle([(k, batch[k], kept.get(k, r.raw)) for k, r in said.items()])

    def _fail(self, keys: Iterable[str], why: str) -> None:
        with self._lock:
            for k in keys:
                if k not in self._known:
                    self._keep(self._known, k, None)
                    self._count(**{why: 1})

    def _error(self, e: BaseException) -> None:
        self._count(errors=1, **{f"error: {type(e).__name__}": 1})

    # -- the rest --------------------------------------------------------------------------------
    def wait(self, seconds: float = 60.0) -> bool:
        """Until the queue is empty (tests, the end of a run); False if it is not by then."""
        if self._pid != os.getpid():
            self._start_over()
        with self._lock:
            return bool(self._lock.wait_for(lambda: not self._waiting and not self._asking, seconds))

    def report(self) -> dict[str, float]:
        """The counts, with ``hit_rate`` and what the student was found to agree on."""
        if self._pid != os.getpid():
            self._start_over()
        with self._lock:
            out = {k: float(v) for k, v in sorted(self.stats.items())}
            out["hit_rate"] = self.stats["hits"] / self.stats["asked"] if self.stats["asked"] else 0.0
            if self._student is not None:
                out |= {f"student_{k}": v for k, v in self._student.report().items()}
        return out

    def close(self) -> None:
        """Ends the worker after its batch (waits 5 seconds for it) and closes the cache; the next question reopens both."""
        if self._pid != os.getpid():
            self._start_over()
        with self._lock:
            self._closed = True
            self._waiting.clear()
            self._lock.notify_all()
            worker = self._worker
        if worker is not None:
            worker.join(LAST)
        self._cache.close()


@atexit.register
def _close_all() -> None:
    """A thread that is inside torch when the interpreter goes would abort the process."""
    for service in list(_OPEN):
        service.close()


def _sound(r: Any) -> bool:
    """Is this a reply that can be kept?"""
    return (
        isinstance(r, Reply)
        and isinstance(r.raw, str)
        and all(isinstance(n, (int, float)) and math.isfinite(n) for n in (r.tokens, r.cost))
    )

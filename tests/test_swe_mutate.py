"""The engine that puts bugs into source code, and the small modules that embedded tasks are built on."""

import ast
import functools
import hashlib
import importlib.util
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import milepost
from milepost.envs.swe import mutate
from milepost.envs.swe.mutate import ALL, Site, apply, candidates, choose, inverse, sites

pytestmark = pytest.mark.core

MODULES = Path(milepost.__file__).parent / "envs" / "swe" / "modules"
NAMES = sorted(p.name for p in MODULES.iterdir() if p.is_dir())
LIBRARY = ("textwrap", "heapq", "shlex", "statistics")


def text_of(name):
    """The text of one of our modules, or of one of Python's, which is only read."""
    path = MODULES / name / f"{name}.py"
    found = path if path.exists() else importlib.util.find_spec(name).origin
    return Path(found).read_text(encoding="utf-8")


@functools.cache
def sites_of(name):
    return sites(text_of(name))


def lines_of(text):
    return re.split(rb"(?<=\n)|(?<=\r)(?!\n)", text.encode())


# --- what a site promises ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*NAMES, *LIBRARY])
def test_a_site_changes_its_own_span_and_nothing_else(name):
    source = text_of(name)
    every, raw = sites_of(name), source.encode()
    starts = list(itertools.accumulate((len(line) for line in lines_of(source)), initial=0))
    assert len(every) > 150 and len(set(every)) == len(every)
    assert [s.span[0] for s in every] == sorted(s.span[0] for s in every)
    before = ast.dump(ast.parse(source))
    functions = {n.name for n in ast.walk(ast.parse(source)) if hasattr(n, "name")}
    for site in every[:: len(every) // (60 if name in NAMES else 12)]:
        after = apply(source, [site])
        a, b = site.span
        assert source[a:b] == site.old != site.new
        assert after == source[:a] + site.new + source[b:]
        at = starts[site.lineno - 1] + site.col
        assert raw[at : at + len(site.old.encode())] == site.old.encode()
        assert site.end_lineno == site.lineno + len(re.findall(r"\r\n|\r|\n", site.old))
        assert ast.dump(ast.parse(after)) != before
        assert site.family in ALL and site.description
        assert not site.function or site.function.rpartition(".")[2] in functions


@pytest.mark.parametrize("name", [*NAMES[::4], *LIBRARY])
def test_a_candidate_does_too(name):
    source = text_of(name)
    every = candidates(source)
    assert set(sites_of(name)) <= set(every) and len(every) > 1.5 * len(sites_of(name))
    for site in every[:: len(every) // (60 if name in NAMES else 12)]:
        a, b = site.span
        after = apply(source, [site])
        assert after == source[:a] + site.new + source[b:]


def test_no_hash_seed_changes_what_is_found():
    code = (
        "import hashlib, sys, numpy as np; from pathlib import Path; from milepost.envs.swe.mutate import *\n"
        "text = Path(sys.argv[1]).read_text()\n"
        "drawn = choose({'b': text, 'a': text}, 3, np.random.default_rng(5))\n"
        "print(hashlib.sha256(repr((sites(text), candidates(text), drawn)).encode()).hexdigest())"
    )
    said = set()
    for seed in ("0", "1"):
        env = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", code, str(MODULES / "ledger" / "ledger.py")]
        said.add(subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout)
    text = text_of("ledger")
    drawn = choose({"a": text, "b": text}, 3, np.random.default_rng(5))
    here = hashlib.sha256(repr((sites(text), candidates(text), drawn)).encode()).hexdigest()
    assert said == {here + "\n"}


LETTERS = st.text(
    st.characters(blacklist_categories=["Cs", "Cc", "Zl", "Zp"], blacklist_characters="\"'\\{}"), max_size=12
)


@given(LETTERS, LETTERS, st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_longer_characters_stay_as_they_are(one, two, newline, final):
    lines = [
        f'def größe(ß, b):  # {one}"',
        f'    t = ("{one}", ß < b, "{two}")  # {two}',
        f'    if ß in "é{two}":  # 😀',
        "        return -1",
        f'    return t[1] + größe("{one}", b - 1)',
    ]
    source = newline.join(lines) + (newline if final else "")
    raw, found = source.encode(), sites(source)
    starts = list(itertools.accumulate((len(line.encode()) + len(newline) for line in lines), initial=0))
    assert {s.family for s in found} >= {"comparison", "operator", "off_by_one", "wrong_variable", "swapped_arguments"}
    assert "`<` became `<=`" in {s.description for s in found}
    for site in [*found, *candidates(source)[::9]]:
        at = starts[site.lineno - 1] + site.col
        old = site.old.encode()
        assert raw[at : at + len(old)] == old and source[slice(*site.span)] == site.old
        assert apply(source, [site]).encode() == raw[:at] + site.new.encode() + raw[at + len(old) :]
        assert newline == "\n" or not re.search(r"(?<!\r)\n", site.new)


@given(st.sampled_from(NAMES), st.data())
def test_two_sites_apart_can_go_in_in_any_order(name, data):
    source = text_of(name)
    every = sites_of(name)
    one, two = (every[data.draw(st.integers(0, len(every) - 1))] for _ in range(2))
    assume(one.span[1] < two.span[0] or two.span[1] < one.span[0])
    first, last = sorted((one, two), key=lambda s: s.span)
    try:
        both = apply(source, [one, two])
    except ValueError as e:  # such as two statements gone that were all of a block
        assert "no valid Python" in str(e)
        return
    assert both == apply(source, [two, one])
    assert both == apply(apply(source, [last]), [first])
    shift = len(first.new) - len(first.old)
    moved = Site(**{**vars(last), "span": (last.span[0] + shift, last.span[1] + shift)})
    assert both == apply(apply(source, [first]), [moved])


def test_our_modules_have_sites_of_every_family():
    found = Counter(s.family for name in NAMES for s in sites_of(name))
    assert set(found) == set(ALL) and min(found.values()) >= 10


# --- drawing bugs --------------------------------------------------------------------------------------------------


def test_families_are_drawn_evenly():
    source = "def f(a, b):\n" + "".join(f"    x{i} = a + b\n" for i in range(9)) + "    return a < b\n"
    every = Counter(s.family for s in sites(source, ["comparison", "operator"]))
    assert every["operator"] == 9 * every["comparison"]
    rng = np.random.default_rng(0)
    drawn = Counter(choose({"m.py": source}, 1, rng, ["comparison", "operator"])[0][1].family for _ in range(200))
    assert 70 < drawn["comparison"] < 130


@pytest.mark.parametrize("n_bugs", [1, 2, 3])
def test_bugs_that_are_drawn_fit_together(n_bugs):
    files = {f"{name}.py": text_of(name) for name in NAMES[:3]}
    seen = set()
    for seed in range(6):
        drawn = choose(files, n_bugs, np.random.default_rng(seed))
        assert len(drawn) == n_bugs and drawn == choose(
            dict(reversed(files.items())), n_bugs, np.random.default_rng(seed)
        )
        assert len({(path, site.function) for path, site in drawn}) == n_bugs
        for path in {p for p, _ in drawn}:
            apply(files[path], [s for p, s in drawn if p == path])
        seen.add(repr(drawn))
    assert len(seen) == 6


def test_bad_input_is_named():
    text = "def f(a, b):\n    return a < b\n"
    (site,) = [s for s in sites(text) if s.new == "<="]
    near = next(s for s in sites(text) if s.new == "None")
    rng = np.random.default_rng(0)
    for call, words in (
        (lambda: sites(text, ["compare"]), "family is 'compare'; allowed: .*did you mean 'comparison'"),
        (lambda: candidates("def f(:\n"), "no valid Python in line 1"),
        (lambda: sites("x = '\ud800'"), "no valid Python"),
        (lambda: sites("x = 1\0"), "no valid Python"),
        (lambda: apply(text, []), "no site is given"),
        (lambda: apply(text, [site, near]), "two sites overlap in line 2"),
        (lambda: apply(text, [site, site]), "two sites overlap in line 2"),
        (lambda: apply("x" + text, [site]), "line 2 has no '<' at"),
        (lambda: choose({"m.py": text}, 0, rng), "n_bugs is 0; allowed: a whole number from 1"),
        (lambda: choose({"m.py": text}, 9, rng), "n_bugs is 9; allowed: up to 4,"),
        (lambda: choose({"m.py": "x ="}, 1, rng), "m.py: the source is no valid Python"),
    ):
        with pytest.raises(ValueError, match=words):
            call()


# --- repairs -------------------------------------------------------------------------------------------------------

# Share of bugs whose exact repair is among the candidates of the buggy code, at least, over all bugs of our modules. What is
# gone altogether cannot be guessed: a guard, a call and its arguments, what was returned or assigned.
FOUND = {
    "comparison": 1.0,
    "control_flow": 1.0,
    "default_argument": 0.8,
    "dropped_guard": 0.05,
    "exception_handling": 0.85,
    "off_by_one": 1.0,
    "operator": 0.99,
    "removed_call": 0.2,
    "return_value": 0.65,
    "state": 0.55,
    "string_slice": 0.93,
    "swapped_arguments": 1.0,
    "wrong_call": 1.0,
    "wrong_variable": 0.97,
}


def repaired(name, some):
    """How many of some bugs have their repair among the candidates."""
    source, found = text_of(name), 0
    for site in some:
        buggy = apply(source, [site])
        repair = inverse(buggy, source, [site.family])
        if repair is not None:
            found += 1
            assert ast.dump(ast.parse(apply(buggy, [repair]))) == ast.dump(ast.parse(source))
    return found


@pytest.mark.parametrize("family", ALL)
def test_repairs_are_among_the_candidates(family):
    tried = found = 0
    for i, name in enumerate(NAMES):
        every = [s for s in sites_of(name) if s.family == family]
        some = every[i % 3 :: max(4, len(every) // 2 + 1)]
        found, tried = found + repaired(name, some), tried + len(some)
    least = FOUND[family] if FOUND[family] == 1 else FOUND[family] - 0.2
    assert tried >= 15 and found / tried >= least, (found, tried)


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_repairs_of_all_bugs_of_our_modules():
    tried, found = Counter(), Counter()
    for name, family in itertools.product(NAMES, ALL):
        every = [s for s in sites_of(name) if s.family == family]
        tried[family] += len(every)
        found[family] += repaired(name, every)
    assert {f: found[f] / tried[f] >= FOUND[f] for f in ALL} == dict.fromkeys(ALL, True), (found, tried)
    assert found.total() / tried.total() >= 0.85


WHOLE = """
class Box:
    def __init__(self, items):
        self.n = 0
        self.items = items.copy()

    def add(self, item):
        if item is None:
            raise ValueError("nothing")
        self.n += 1
        self.items.append(item)

    def find(self, item):
        if item is None:
            raise ValueError("nothing")
        for i, other in enumerate(self.items):
            if other == item:
                break
        else:
            i = -1
        return i

    def take(self, key):
        try:
            value = self.items.pop(key)
        except KeyError:
            raise
        self.n -= 1
        return value

    def room(self, size):
        return max(0, size - self.n)

    def names(self):
        return sorted(self.items)
"""


@pytest.mark.parametrize(
    "whole, broken",
    [
        ("items.copy()", "items"),
        ('        if item is None:\n            raise ValueError("nothing")\n        for', "        for"),
        ("        else:\n            i = -1\n", "        i = -1\n"),
        ("            raise\n", "            pass\n"),
        ("        self.n -= 1\n", ""),
        ("        return value\n", ""),
        ("max(0, size - self.n)", "size - self.n"),
        ("sorted(self.items)", "self.items"),
        ("self.n += 1", "self.n = 1"),
    ],
)
def test_repairs_that_no_bug_makes(whole, broken):
    assert WHOLE.count(whole) == 1
    buggy = WHOLE.replace(whole, broken)
    repair = inverse(buggy, WHOLE)
    assert repair is not None and repair not in sites(buggy)
    assert inverse(buggy, WHOLE.replace("self.n = 0", "self.n = nobody.could(guess=this)")) is None


# --- our own modules -----------------------------------------------------------------------------------------------


def copied(folder, names):
    for name in names:
        shutil.copytree(MODULES / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def test_the_tests_of_our_modules_pass(tmp_path):
    assert len(NAMES) >= 10
    copied(tmp_path, NAMES)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert re.search(r"1\d\d passed", done.stdout), done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_our_modules_are_small_and_old_enough(name):
    source, tests = text_of(name), (MODULES / name / f"test_{name}.py").read_text()
    assert 40 <= len(source.splitlines()) <= 150
    assert 6 <= tests.count("\ndef test_") <= 17
    for text in (source, tests):
        ast.parse(text, feature_version=(3, 10))
        assert not {"numpy", "gymnasium", "milepost"} & {w for w in re.findall(r"\w+", text)}


# one forked child a mutant, with limits, from a process that has imported nothing but pytest
DRIVER = """
import json, os, resource, signal, sys, types
import pytest

job = json.load(sys.stdin)
os.chdir(job["folder"])


def child(source):
    resource.setrlimit(resource.RLIMIT_CPU, (5, 6))
    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    signal.alarm(5)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(1, 2)
    try:
        for name, text in ((job["name"], source), ("tests", open("test_" + job["name"] + ".py").read())):
            module = sys.modules[name] = types.ModuleType(name)
            exec(compile(text, name, "exec"), module.__dict__)
        for name, test in list(module.__dict__.items()):
            if name.startswith("test_"):
                test()
    except BaseException:
        os._exit(1)
    os._exit(0)


out = []
for source in job["sources"]:
    pid = os.fork()
    if not pid:
        child(source)
    out.append(os.waitpid(pid, 0)[1] != 0)
print(json.dumps(out))
"""


def killed(folder, name, sources):
    """Whether the tests of a module fail, for each of several texts of it."""
    job = json.dumps({"folder": str(folder / name), "name": name, "sources": sources})
    command = [sys.executable, "-c", DRIVER]
    return json.loads(subprocess.run(command, input=job, capture_output=True, text=True, check=True).stdout)


def test_the_tests_of_our_modules_find_bugs(tmp_path):
    copied(tmp_path, NAMES)
    dead = tried = 0
    for name in ("calculator", "ledger", "trie"):  # no loops that a bug makes endless
        source = text_of(name)
        some = [apply(source, [s]) for s in sites_of(name)[3::20]]
        assert not killed(tmp_path, name, [source])[0]
        dead += sum(killed(tmp_path, name, some))
        tried += len(some)
    assert tried > 40 and dead / tried >= 0.85


@pytest.mark.full
@pytest.mark.parametrize("name", NAMES)
def test_the_tests_of_our_modules_find_nearly_all_bugs(name, tmp_path):
    copied(tmp_path, [name])
    source = text_of(name)
    verdicts = killed(tmp_path, name, [source, *(apply(source, [s]) for s in sites_of(name))])
    assert not verdicts[0] and sum(verdicts[1:]) / len(verdicts[1:]) >= 0.85


def test_the_engine_runs_nothing_and_knows_no_sandbox():
    folder = Path(mutate.__file__).parent
    for path in [folder / "mutate.py", *(folder / "mutations").glob("*.py")]:
        tree = ast.parse(path.read_text())
        called = {n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
        assert not called & {"eval", "exec", "compile", "__import__", "open"}, path
        modules = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        modules |= {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and not n.level}
        assert modules <= {"__future__", "numpy", *sys.stdlib_module_names, "collections.abc"}, path
        assert not modules & {"subprocess", "os", "importlib", "runpy"}, path

"""Every file in examples/ runs as a program, with a small budget, in a process of its own."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "examples").glob("*.py"))
NEEDS = {"stable_baselines3": "sb3", "torch": "torch"}  # imported module: extra


def run(file, *arguments):
    """Its output; asserts that it ended well."""
    got = subprocess.run(
        [sys.executable, str(file), *arguments],
        cwd=ROOT / "examples",
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert got.returncode == 0, f"{file.name} {arguments}\n{got.stdout[-2000:]}\n{got.stderr[-4000:]}"
    return got.stdout


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.name)
def test_an_example_runs(file):
    source = file.read_text()
    for module, extra in NEEDS.items():
        if re.search(rf"^(import|from) {module}", source, re.M):
            pytest.importorskip(module, reason=f"the extra {extra} is not installed")
    small = {"--steps": "600", "--episodes": "3"}  # what it has of these
    arguments = [x for k, v in small.items() if f'"{k}"' in source for x in (k, v)]
    out = run(file, *arguments)
    if "--steps" in arguments:
        assert "held-out" in out, out


def test_the_examples_that_the_readme_names_are_there():
    named = set(re.findall(r"\]\((examples/[\w.]+)\)", (ROOT / "README.md").read_text()))
    assert {"examples/sb3_recipe.py", "examples/cleanrl_loop.py"} <= named
    assert [n for n in named if not (ROOT / n).exists()] == []


@pytest.mark.full
def test_the_single_file_loop_really_learns():
    pytest.importorskip("torch", reason="the extra torch is not installed")
    out = run(ROOT / "examples" / "cleanrl_loop.py", "--steps", "12000")
    before, after = (float(x) for x in re.findall(r"held-out success (\d\.\d\d)", out))
    assert before < 0.4 and after >= 0.9


@pytest.mark.full
def test_the_sb3_recipe_really_learns():
    pytest.importorskip("stable_baselines3", reason="the extra sb3 is not installed")
    out = run(ROOT / "examples" / "sb3_recipe.py", "--steps", "10000")
    assert float(re.search(r"without shaping: return (\d\.\d\d)", out)[1]) >= 0.8, out

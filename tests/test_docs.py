"""What the documentation says is what the code does."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
if not (ROOT / "docs" / "generate.py").exists():
    pytest.skip("needs the whole checkout", allow_module_level=True)
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]


def test_generated_pages_are_current():
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "generate.py", "--check"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, f"run make docs: {done.stdout}{done.stderr[-500:]}"


@pytest.mark.parametrize("page", [p for p in PAGES if "_build" not in p.parts], ids=lambda p: p.name)
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text()):
        assert not target.startswith("http") and (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_readmes_python_runs(monkeypatch, capsys, tmp_path):
    """All blocks in order in one namespace, as somebody would paste them; training is cut short."""
    pytest.importorskip("stable_baselines3", reason="the extra sb3 is not installed")
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert len(blocks) >= 5
    monkeypatch.chdir(tmp_path)  # a judge makes its file
    space = {}
    for block in blocks:
        short = re.sub(r"learn\([\d_]+", "learn(600", re.sub(r"eval_freq=[\d_]+", "eval_freq=300", block))
        exec(compile(short.replace("n_eval_episodes=50", "n_eval_episodes=2"), "README.md", "exec"), space)
    assert "outcome" in capsys.readouterr().out
    env = space["env"]  # the last one that was wrapped: somebody's own environment with facts
    env.reset(seed=0)
    assert "potential_shaping" in env.step(2)[-1]["reward_terms"]


def test_the_page_of_the_games_runs(monkeypatch, tmp_path):
    for extra, module in (("multiagent", "pettingzoo"), ("sb3", "stable_baselines3"), ("games", "textarena")):
        pytest.importorskip(module, reason=f"the extra {extra} is not installed")
    monkeypatch.chdir(tmp_path)
    space = {}
    for block in re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "multiagent.md").read_text(), re.S):
        exec(compile(block, "multiagent.md", "exec"), space)
    assert (
        space["lanes"].num_envs == 8
        and space["env"].possible_agents
        and space["team"]
        and space["dice"].possible_agents
    )


def test_the_readmes_commands_exist():
    from milepost.__main__ import _parser

    known = _parser()._subparsers._group_actions[0].choices
    said = re.findall(r"^(?:\$ )?milepost (\w+)", (ROOT / "README.md").read_text(), re.M)
    assert said and set(said) <= set(known)
    make = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.M))
    for text in ((ROOT / "README.md").read_text(), (ROOT / "CONTRIBUTING.md").read_text()):
        assert set(re.findall(r"`make ([\w-]+)", text)) <= make


@pytest.mark.full
def test_the_pages_can_be_built_without_a_warning(tmp_path):
    pytest.importorskip("furo", reason="the extra docs is not installed")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "-b", "html", "docs", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "methods" / "potential_shaping.html").exists()

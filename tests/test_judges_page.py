"""docs/judges.md runs as it stands, with the answers that lie beside it; and frozen runs are equal bit for bit."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
if not (ROOT / "docs" / "judges.md").exists():
    pytest.skip("needs the whole checkout", allow_module_level=True)
pytest.importorskip("torch", reason="the extra torch is not installed")

TRAIN = """
import hashlib, sys
import gymnasium as gym
import milepost
from milepost.baselines.agent import make_agent
from milepost.wrappers import SubgoalOptions

judge = {"scorer": "split", "question": "minilm", "proposal": "smollm2", "mode": "frozen", "cache": "docs/judges.sqlite"}
env = milepost.shape(
    gym.make("milepost/Quest-easy-v0", worlds=4),
    [SubgoalOptions(beta=0.1, subgoals="discover", view="message", judge=judge)],
)
agent = make_agent("text", env, seed=3)
history = agent.learn(env, 1500)
agent.save(sys.argv[1])
print(repr(history))
print(sorted(env.stack.stats().items()))
print("transformers" in sys.modules)
"""


def test_the_page_runs_from_a_task_sentence_to_a_trained_agent(monkeypatch):
    monkeypatch.chdir(ROOT)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "judges.md").read_text(), re.S)
    space = {}
    for block in blocks:
        exec(compile(block, "judges.md", "exec"), space)
    assert space["subgoals"][:2] == ("bring the vase", "put the vase on the pedestal")
    assert space["ask"]("take vase", "You take the vase.")["bring the vase"] > 0.5
    assert max(space["ask"]("drop vase", "You drop the vase.").values()) < 0.5
    assert min(space["success"].values()) > 0.3  # random wins 0.16 of the held-out worlds
    stats = space["train"].stack.stats()
    assert stats["subgoal_options/judge/hit_rate"] == 1.0 and stats.get("subgoal_options/judge/calls", 0) == 0


def test_two_frozen_runs_in_two_processes_are_equal_bit_for_bit(tmp_path):
    import torch

    said, weights = [], []
    for hashes in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", TRAIN, tmp_path / hashes],
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": hashes, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        said.append(re.sub(r"'seconds': [\d.]+", "", done.stdout))
        files = sorted(p for p in (tmp_path / hashes).rglob("*") if p.is_file()) or [tmp_path / hashes]
        weights.append([_tensors(torch.load(p, weights_only=True)) for p in files if p.suffix in (".pt", "")])
    assert said[0] == said[1]
    assert said[0].strip().endswith("False")  # no model was loaded
    assert weights[0] and weights[0] == weights[1]


def _tensors(x):
    """Every number of a checkpoint as bytes."""
    if isinstance(x, dict):
        return {k: _tensors(v) for k, v in x.items() if k != "seconds"}
    if isinstance(x, (list, tuple)):
        return [_tensors(v) for v in x]
    return x.numpy().tobytes() if hasattr(x, "numpy") else repr(x)

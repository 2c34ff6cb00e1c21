"""milepost/MiniHack-v0 keeps its promises: the same in every process, Gymnasium's contract, errors, nothing left behind."""

import hashlib
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

import milepost  # noqa: F401
from milepost.envs.errors import InfraError
from milepost.envs.text import minihack_game
from milepost.envs.text.minihack import MiniHackEnv

pytest.importorskip("minihack", reason="the extra minihack is not installed")
pytestmark = pytest.mark.minihack


ROLLOUT = """
import hashlib, random, warnings
import numpy as np
random.seed(); np.random.seed()
from milepost.envs.text.minihack import MiniHackEnv
for level in ("KeyRoom-S5", "MultiRoom-N2", "Quest-Easy"):
    env, digest = MiniHackEnv(level), hashlib.sha256()
    for seed in (0, None, 5, None):
        rng = random.Random(1)
        *out, info = env.reset(seed=seed)
        for _ in range(40):
            digest.update(repr((out, info)).encode())
            *out, info = env.step(rng.choice(info["admissible_actions"]))
            if out[2] or out[3]:
                break
    print(level, digest.hexdigest())
    env.close()
"""


def test_the_same_seed_plays_the_same_in_two_processes():
    def played(hashseed):
        env = os.environ | {"PYTHONHASHSEED": hashseed}
        return subprocess.run([sys.executable, "-W", "ignore", "-c", ROLLOUT], capture_output=True, text=True, env=env)

    first, second = played("1"), played("4711")
    assert first.returncode == 0, first.stderr
    assert first.stdout.count("\n") == 3 and first.stdout == second.stdout


def test_the_level_does_not_depend_on_what_was_played_before(minihack):
    a, b = minihack("MultiRoom-N2"), minihack("MultiRoom-N2")
    for task in (3, 1, 2):
        a.reset(options={"task": task})
    assert a.reset(options={"task": 7})[0] == b.reset(options={"task": 7})[0]
    assert len({a.reset(options={"task": t})[1]["screen"] for t in range(8)}) > 6


def test_splits_share_no_task(minihack):
    train, test = minihack(worlds=3), minihack(split="test", worlds=3)
    assert train.unwrapped.tasks() == range(3) and test.unwrapped.tasks() == range(2**30, 2**30 + 3)
    assert train.reset(options={"task": 0})[0] != test.reset(options={"task": 2**30})[0]
    with pytest.raises(ValueError, match="task 0 is not in split 'test'"):
        test.reset(options={"task": 0})


def test_restored_games_go_on_the_same(minihack):
    env, rng = minihack("Quest-Easy"), np.random.default_rng(3)
    _, info = env.reset(seed=4)
    for _ in range(5):
        *_, info = env.step(str(rng.choice(info["admissible_actions"])))
    saved = env.unwrapped.snapshot()
    path = []
    for _ in range(10):
        command = str(rng.choice(info["admissible_actions"]))
        path.append((command, env.step(command)))
        info = path[-1][1][-1]
        if path[-1][1][2]:
            break
    other = minihack("Quest-Easy")
    other.reset(seed=99)
    for world in (env, other):
        world.unwrapped.restore(saved)
        for command, row in path:
            assert world.unwrapped.step(command) == row


def test_wrong_settings_are_refused_by_name():
    with pytest.raises(ValueError, match=r"level is 'KeyRom-S5'; allowed: .*did you mean 'KeyRoom-S5'"):
        MiniHackEnv("KeyRom-S5")
    with pytest.raises(ValueError, match=r"level is 5; allowed: 'Boxoban-Hard'"):
        MiniHackEnv(5)
    with pytest.raises(ValueError, match="max_steps is 0; allowed: None or a whole number from 1"):
        MiniHackEnv(max_steps=0)
    with pytest.raises(
        ValueError, match="expose_reference is True; allowed with level 'River': False, it has no oracle"
    ):
        MiniHackEnv("River", expose_reference=True)
    with pytest.raises(ImportError, match="level 'Boxoban-Hard' needs more than MiniHack: To use Boxoban"):
        MiniHackEnv("Boxoban-Hard")


def test_a_level_goes_by_its_id_too(minihack):
    assert minihack("MiniHack-KeyRoom-S5-v0").unwrapped.level == "KeyRoom-S5"
    assert (
        minihack("Room-5x5").unwrapped.max_steps == 100 and minihack("Room-5x5", max_steps=7).unwrapped.max_steps == 7
    )


def test_without_minihack_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(minihack_game.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"needs MiniHack: pip install 'milepost\[minihack\]'"):
        MiniHackEnv()


def test_a_nethack_that_breaks_down_is_no_zero(minihack, monkeypatch):
    env = minihack()
    _, info = env.reset(seed=0)
    keys = set(info) - {"meta"}

    def broken(key):
        raise RuntimeError("out of order")

    monkeypatch.setattr(env.unwrapped.game.raw.nethack, "step", broken)
    *_, terminated, truncated, info = env.step(info["admissible_actions"][0])
    assert (terminated, truncated, info["invalid"]) == (False, True, True) and "out of order" in info["infra_error"]
    assert keys <= set(info) and env.unwrapped.infra_failures == 1
    monkeypatch.setattr(env.unwrapped.game.raw, "reset", lambda: broken(0))
    with pytest.raises(InfraError, match="NetHack does not start level 'KeyRoom-S5': out of order"):
        env.reset()


@pytest.mark.parametrize("face", ["v0", "encoded-v0", "glyphs-v0", "features-v0"])
def test_gymnasium_is_content(face):
    env = gym.make(f"milepost/MiniHack-{face}", disable_env_checker=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=r".*is different from the unwrapped version.*")
        check_env(env if face != "v0" else env.unwrapped, skip_render_check=True)
    env.close()


def test_doing_nothing_earns_nothing(minihack):
    for env, nothing in ((minihack(max_steps=30), ""), (minihack(face="glyphs-v0", max_steps=30), 9)):
        env.reset(seed=0)
        total, over = 0.0, False
        while not over:
            _, reward, terminated, truncated, info = env.step(nothing)
            total, over = total + reward, terminated or truncated
        assert total == 0.0 and truncated and not info["success"]


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("face", ["v0", "glyphs-v0"])
def test_vectors_show_what_single_environments_show(minihack, face, kind, mode):
    def digest(obs):
        parts = [obs[k].tobytes() for k in sorted(obs)] if isinstance(obs, dict) else [obs.encode()]
        return hashlib.sha256(b"".join(parts)).hexdigest()

    single = minihack(face=face, max_steps=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        vector = gym.make_vec(
            f"milepost/MiniHack-{face}", 2, kind, {"autoreset_mode": mode}, None, max_steps=3, disable_env_checker=True
        )
    try:
        vector.reset(seed=[7, 7])
        _, info = single.reset(seed=7)
        for _ in range(3):
            command = info["admissible_actions"][0]
            act = single.get_wrapper_attr("index_of")(command) if face != "v0" else command
            obs, _, _, truncated, _ = vector.step(np.array([act] * 2) if face != "v0" else (act,) * 2)
            alone, *_, info = single.step(act)
        assert truncated.all()
        if mode == AutoresetMode.SAME_STEP:
            alone, _ = single.reset()
        first = {k: v[0] for k, v in obs.items()} if isinstance(obs, dict) else obs[0]
        assert digest(first) == digest(alone)
    finally:
        vector.close()


# -- nothing is left behind ------------------------------------------------------------------------
def leftovers():
    return {p.name for p in Path(tempfile.gettempdir()).glob("nle*")}


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder for temporary files that no other process uses."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_nothing_is_left_after_close(own):
    files, before = leftovers(), len(os.listdir("/proc/self/fd"))
    env = MiniHackEnv()
    env.reset(seed=0)
    assert leftovers() > files
    opened = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        _, info = env.reset()
        env.step(info["admissible_actions"][0])
    assert len(os.listdir("/proc/self/fd")) <= opened
    env.close()
    env.close()
    assert leftovers() == files and len(os.listdir("/proc/self/fd")) <= before
    assert env.reset(seed=0)[0]  # another NetHack
    env.close()
    assert leftovers() == files


@pytest.mark.full
def test_resets_do_not_leak(own):
    import resource

    env = MiniHackEnv("MultiRoom-N2")
    env.reset(seed=0)
    files, opened = leftovers(), len(os.listdir("/proc/self/fd"))
    kept = []
    for k in range(400):
        _, info = env.reset()
        for _ in range(5):
            *_, terminated, _, info = env.step(info["admissible_actions"][0])
            if terminated:
                break
        if k in (100, 399):
            kept.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    assert len(os.listdir("/proc/self/fd")) == opened and leftovers() == files
    assert kept[1] - kept[0] < 50_000  # kB
    env.close()

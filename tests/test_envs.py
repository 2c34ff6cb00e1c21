"""Every registered environment keeps the same promises."""

import copy
import importlib.util
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

import milepost  # noqa: F401
from milepost.cli.names import SETS
from milepost.envs.registry import Entry, entries

_spec = importlib.util.spec_from_file_location("transcripts", Path(__file__).parent / "regenerate_transcripts.py")
T = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(T)


def params(rows):
    return [pytest.param(e, id=e.id, marks=[getattr(pytest.mark, e.requires)] if e.requires else []) for e in rows]


EVERY = params(entries())
PLAIN = params([e for e in entries() if not e.wrappers])
FAMILIES = params([next(e for e in entries() if e.entry_point == p) for p in {e.entry_point: 0 for e in entries()}])
REPAIRS = params([f for p in FAMILIES for f in p.values if f.requires == "swe"])
TEXTS = params([e for e in entries() if not any(w.name in ("Encode", "Glyphs") for w in e.wrappers)])


@pytest.fixture(autouse=True)
def installed(request):
    for extra in {"textworld", "minihack", "tools"} & {m.name for m in request.node.iter_markers()}:
        module = "pydantic" if extra == "tools" else extra
        pytest.importorskip(module, reason=f"the extra {extra} is not installed")
    params = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    for entry in (p for p in params.values() if isinstance(p, Entry) and p.setup):
        for module in SETS[entry.setup][0]:
            if importlib.util.find_spec(module) is None:
                pytest.skip(f"{module} is not installed: milepost setup {entry.setup}")


@pytest.mark.core
@pytest.mark.smoke
@pytest.mark.parametrize("entry", EVERY)
def test_it_can_be_made_and_stepped(entry):
    env = T.make(entry)
    obs, info = env.reset(seed=1)
    assert obs in env.observation_space
    obs, reward, *_, info = env.step(T.action(env, info["admissible_actions"][0]))
    assert obs in env.observation_space and sum(info["reward_terms"].values()) == pytest.approx(reward)
    assert set(info) >= {"score", "max_score", "progress", "subgoals", "success", "valid_action", "messages"}
    env.close()


def test_the_module_form_of_an_id_works():
    code = "import gymnasium as gym; print(gym.make('milepost:milepost/Quest-v0').reset(seed=0)[0])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "Objective:" in out


@pytest.mark.core
@pytest.mark.parametrize("entry", EVERY)
def test_gymnasiums_checker_finds_nothing(entry):
    env = T.make(entry, render_mode="ansi")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # the checker prefers bare environments; ours with wrappers are ids of their own
        warnings.filterwarnings("ignore", message=r".*is different from the unwrapped version.*")
        check_env(env if entry.wrappers else env.unwrapped, skip_render_check=bool(entry.wrappers))
    env.close()


def mutable(x, found):
    """Ids of all objects in a tree that somebody could change."""
    if isinstance(x, dict):
        found[id(x)] = x
        for v in x.values():
            mutable(v, found)
    elif isinstance(x, (list, set, np.ndarray)):
        found[id(x)] = x
        for v in x if isinstance(x, list) else ():
            mutable(v, found)
    elif isinstance(x, tuple):
        for v in x:
            mutable(v, found)
    return found


@pytest.mark.core
@pytest.mark.parametrize("entry", EVERY)
def test_no_mutable_object_is_shared_between_steps(entry):
    env = T.make(entry)
    kept = [env.reset(seed=0)]
    for _ in range(5):
        info = kept[-1][-1]
        kept.append(env.step(T.action(env, info["admissible_actions"][-1])))
    trees = [mutable(k, {}) for k in kept]
    for i, a in enumerate(trees):
        assert not any(a.keys() & b.keys() for b in trees[i + 1 :])
    env.close()


ROLLOUT = """
import hashlib, importlib.util, sys
import numpy as np
spec = importlib.util.spec_from_file_location("transcripts", sys.argv[1]); T = importlib.util.module_from_spec(spec)
spec.loader.exec_module(T)
for entry in T.entries():
    if entry.id in sys.argv[2:]:
        env, digest = T.make(entry), hashlib.sha256()
        for seed in (0, None, 5, None):
            rng = np.random.default_rng(1)
            obs, info = env.reset(seed=seed)
            for _ in range(40):
                digest.update((T.shown(obs) + T.facts(info) + repr(info["admissible_actions"])).encode())
                command = str(info["admissible_actions"][rng.integers(len(info["admissible_actions"]))])
                obs, reward, terminated, truncated, info = env.step(T.action(env, command))
                digest.update(repr((reward, terminated, truncated)).encode())
                if terminated or truncated:
                    break
        print(entry.id, digest.hexdigest())
"""


def hashes(ids, hashseed):
    env = os.environ | {"PYTHONHASHSEED": hashseed}
    script = str(Path(__file__).parent / "regenerate_transcripts.py")
    done = subprocess.run(
        [sys.executable, "-c", ROLLOUT, script, *ids], capture_output=True, text=True, env=env, check=True
    )
    return done.stdout


@pytest.mark.core
@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_seed_gives_the_same_bytes_in_two_processes(family):
    ids = [e.id for e in entries() if e.entry_point == family.entry_point]
    first = hashes(ids, "1")
    assert first.count("\n") == len(ids) and first == hashes(ids, "4711")


@pytest.mark.core
@pytest.mark.parametrize("entry", EVERY)
def test_the_transcript_is_the_behaviour(entry):
    golden = T.path(entry)
    assert golden.exists(), f"no transcript: run python tests/regenerate_transcripts.py {entry.id}"
    assert T.transcript(entry) == golden.read_text(), (
        f"python tests/regenerate_transcripts.py {entry.id}, then read the diff"
    )


@pytest.mark.parametrize("entry", EVERY)
def test_the_audit_is_what_was_recorded(entry):
    recorded = json.loads(T.AUDIT.read_text())[entry.id]
    assert recorded["null"] == 0.0 and recorded["null_return"] <= 0.0
    assert recorded["oracle"] == 1.0 and recorded["random"] < recorded["oracle"] / 2
    if not any(w.name == "ShapedEnv" for w in entry.wrappers) and "weights" not in entry.kwargs:
        assert recorded["oracle_return"] == 1.0
    if not entry.wrappers and not entry.requires:  # others take minutes: recorded by the script only
        assert T.audit(entry) == recorded


@pytest.mark.parametrize("entry", EVERY)
def test_doing_nothing_earns_nothing(entry):
    success, returns, _ = T.play(entry, "null", 1)
    assert success == 0.0 and returns <= 0.0


@pytest.mark.parametrize("cheats", [3, pytest.param(len(T.CHEATS), marks=pytest.mark.full)])  # test_swe_env has more
@pytest.mark.parametrize("entry", REPAIRS)
def test_laying_hands_on_the_checking_earns_nothing(entry, cheats):
    success, returns, length = T.play(entry, "tamper", cheats)
    assert (success, returns, length) == (0.0, 0.0, 2.0)
    assert json.loads(T.AUDIT.read_text())[entry.id]["tamper"] == 0.0


@pytest.mark.parametrize("entry", TEXTS)
def test_choices_do_not_come_from_the_reference(entry):
    a, b = T.make(entry), T.make(entry, expose_reference=True)
    (obs, info), (obs2, info2) = a.reset(seed=3), b.reset(seed=3)
    assert "reference" not in info and len(info2["reference"]) > 0
    for _ in range(5):
        assert T.shown(obs) == T.shown(obs2) and info["admissible_actions"] == info2["admissible_actions"]
        act = T.action(a, info["admissible_actions"][-1])
        (obs, *_, info), (obs2, *_, info2) = a.step(act), b.step(act)


@pytest.mark.parametrize("entry", PLAIN)
def test_tasks_and_unknown_options(entry):
    env = T.make(entry)
    task = env.unwrapped.tasks()[1]
    first, info = env.reset(seed=0, options={"task": task})
    assert env.reset(seed=9, options={"task": task})[0] == first
    names = {env.unwrapped._title(t) for t in env.unwrapped.tasks()[:50]}
    assert info["meta"]["task"] == env.unwrapped._title(task) and len(names) == min(50, len(env.unwrapped.tasks()))
    with pytest.raises(ValueError, match=r"a reset option is 'tsk'; allowed: 'task' .did you mean 'task'"):
        env.reset(options={"tsk": 1})
    test = T.make(entry, split="test")
    assert not set(test.unwrapped.tasks()[:50]) & set(env.unwrapped.tasks()[:50])


@pytest.mark.core
@pytest.mark.parametrize("entry", EVERY)
def test_restored_states_replay_the_same(entry):
    env, rng = T.make(entry), np.random.default_rng(0)
    snapshot, restore = env.get_wrapper_attr("snapshot"), env.get_wrapper_attr("restore")
    _, info = env.reset(seed=2)

    def chosen():
        return T.action(env, str(rng.choice(T.going_on(info))))

    for _ in range(3):
        *_, info = env.step(chosen())
    saved, ahead = snapshot(), []
    for _ in range(4):
        action = chosen()
        ahead.append((action, env.step(action)))
        info = ahead[-1][1][-1]
    after = env.reset()
    for _ in range(2):  # a snapshot can be used again
        restore(copy.deepcopy(saved))
        for action, row in ahead:
            assert same(env.step(action), row)
        assert same(env.reset(), after)


def same(a, b):
    """Equal trees of plain values and arrays."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return np.array_equal(a, b)


@pytest.mark.parametrize("entry", PLAIN)
def test_it_can_be_looked_at(entry, capsys):
    text = T.make(entry, render_mode="ansi")
    assert text.reset(seed=0)[0] == text.render()
    picture = T.make(entry, render_mode="rgb_array")
    picture.reset(seed=0)
    frame = picture.render()
    assert frame.dtype == np.uint8 and frame.shape == (480, 640, 3) and frame.std() > 5
    human = T.make(entry, render_mode="human")
    obs, _ = human.reset(seed=0)
    assert obs in capsys.readouterr().out


@pytest.mark.core
@pytest.mark.parametrize("entry", EVERY)
def test_the_spec_survives_json(entry):
    from gymnasium.envs.registration import EnvSpec

    env = T.make(entry)
    again = gym.make(EnvSpec.from_json(env.spec.to_json()), disable_env_checker=True)
    a, b = env.reset(seed=4)[0], again.reset(seed=4)[0]
    assert T.shown(a) == T.shown(b)


@pytest.mark.core
@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("entry", EVERY)
def test_sync_vectors_in_every_autoreset_mode(entry, mode):
    walk(entry, "sync", mode)


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("entry", FAMILIES)
def test_async_vectors_in_every_autoreset_mode(entry, mode):
    walk(entry, "async", mode)


def walk(entry, kind, mode):
    """Vector lanes show what single environments show, across the end of episodes."""
    n, steps = 2, 4
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        vector = gym.make_vec(
            entry.id, n, kind, {"autoreset_mode": mode}, None,
            max_steps=steps, disable_env_checker=True, **T.settings(entry),
        )  # fmt: skip
    try:
        obs, _ = vector.reset(seed=[7] * n)  # the same worlds, so that one command suits all lanes
        single = T.make(entry, max_steps=steps)
        alone, info = single.reset(seed=7)
        ends = 0
        while ends < 2:
            act = T.action(single, info["admissible_actions"][0])
            obs, rewards, term, trunc, _ = vector.step(np.array([act] * n) if T.is_encoded(single) else (act,) * n)
            alone, reward, terminated, truncated, info = single.step(act)
            assert rewards == pytest.approx([reward] * n)
            assert term.tolist() == [terminated] * n and trunc.tolist() == [truncated] * n
            if terminated or truncated:
                ends += 1
                alone, info = single.reset()
                if mode == AutoresetMode.NEXT_STEP:
                    obs, *_ = vector.step(np.array([0] * n) if T.is_encoded(single) else ("",) * n)
                elif mode == AutoresetMode.DISABLED:
                    obs, _ = vector.reset(options={"reset_mask": np.ones(n, bool)})
            first = {key: v[0] for key, v in obs.items()} if isinstance(obs, dict) else obs[0]
            assert T.shown(first) == T.shown(alone)
    finally:
        vector.close()

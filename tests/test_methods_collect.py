"""Collectors: guided retries with preference pairs, prefix trees with inference distances, CM2's early stop."""

import functools
import itertools
import math
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given
from hypothesis import strategies as st

import milepost  # noqa: F401
from milepost import shape
from milepost.baselines.preference_pairs import Pair, chat, dpo, preference_pairs, strip_guidance
from milepost.envs.flow import FlowSamplerEnv
from milepost.envs.text.hackable import HackableStepsEnv
from milepost.wrappers import Checklist, ScoreDelta, Trajectory
from milepost.wrappers.collect import guided_retry as G
from milepost.wrappers.collect import prefix_tree as T
from milepost.wrappers.collect.guided_retry import GuidedRetry
from milepost.wrappers.collect.prefix_tree import PrefixTree, preferences
from milepost.wrappers.collect.stop import StopWhen
from milepost.wrappers.probes.inference_distance import (
    inference_distance,
    inference_distances,
    mean_distance,
    tree_edges,
)

core = pytest.mark.core


def told(attempt):
    return f"Hint {attempt.number}: {attempt.infos[0]['reference'][0]} first."


def clock(**settings):
    return HackableStepsEnv(length=2, max_steps=3, expose_reference=True, **settings)


def played(env, choose, **reset):
    obs, info = env.reset(**reset)
    seen, infos, actions, rewards, done = [obs], [info], [], [], False
    while not done:
        actions.append(choose(env, seen[-1]))
        obs, r, terminated, truncated, info = env.step(actions[-1])
        seen, infos, done = [*seen, obs], [*infos, info], terminated or truncated
        rewards.append(r)
    return Trajectory(seen, actions, np.array(rewards), terminated, truncated, infos, dict(infos[0]["meta"]))


def right(env, obs):
    return env.unwrapped.oracle()


def wrong(env, obs):
    return env.unwrapped.idle[0]


# -- Agent-RLVR ----------------------------------------------------------------------------------
@core
def test_agent_rlvr_of_the_card():
    # three tasks: pass; fail, then pass with guidance; fail twice
    env = GuidedRetry(clock(), told)
    attempts = [played(env, how) for how in (right, wrong, right, wrong, wrong)]
    assert env.report()["pass@1"] == pytest.approx(1 / 3) and env.report()["solved"] == pytest.approx(2 / 3)
    assert env.report()["guided"] == pytest.approx(1 / 2)  # of the two retries
    assert [(t.meta["attempt"], t.meta["guided"]) for t in attempts] == [
        (0, False), (0, False), (1, True), (0, False), (1, True),
    ]  # fmt: skip
    tasks = [t.meta["task"] for t in attempts]
    assert tasks[1] == tasks[2] and tasks[3] == tasks[4] and len(set(tasks)) == 3
    (pair,) = preference_pairs(attempts)
    assert pair.task == tasks[1] and pair.chosen.infos[-1]["success"] and not pair.rejected.infos[-1]["success"]
    loss, up, down = dpo(2.0, -1.0, 0.1)
    assert loss == pytest.approx(0.5544, abs=1e-4)  # -log sigmoid(.3)
    assert up == pytest.approx([-0.1 / (1 + math.exp(0.3))]) and down == pytest.approx(-up)


@core
@pytest.mark.parametrize("how", ["snapshot", "task"])
@pytest.mark.parametrize("inject", ["observation", "system"])
def test_a_retry_is_the_same_task_with_a_word_in_front(how, inject):
    env = GuidedRetry(clock(), told, inject=inject, how=how)
    first = played(env, wrong, seed=3)
    obs, info = env.reset()
    hint = f"Hint 0: {first.infos[0]['reference'][0]} first."
    assert info["meta"] == dict(first.meta) | {"attempt": 1, "guided": True, "guidance": hint}
    shown = f"{hint}\n\n{first.obs[0]}" if inject == "observation" else first.obs[0]
    assert obs == shown and obs in env.observation_space
    assert info["messages"] == ({"role": "system", "content": hint}, *first.infos[0]["messages"])
    obs, *_, info = env.step(first.actions[0])
    assert obs == (f"{hint}\n\n{first.obs[1]}" if inject == "observation" else first.obs[1])
    assert info == first.infos[1] and "attempt" not in info
    last = None
    while last is None or not (last[2] or last[3]):
        last = env.step(first.actions[0])
    assert last[4]["attempt"] == 1 and last[4]["guided"]
    assert env.reset()[1]["meta"]["attempt"] == 0  # one retry at most


@core
def test_retries_do_not_move_the_tasks_that_follow():
    plain, guided = clock(), GuidedRetry(clock(), told, max_retries=2)
    plain.reset(seed=9)
    want = [plain.task] + [plain.reset() and plain.task for _ in range(3)]
    got = [played(guided, wrong, **({"seed": 9} if not k else {})).meta["task"] for k in range(12)]
    assert got == [f"hackable-{t}" for t in want for _ in range(3)]
    assert guided.counts == {"tasks": 4, "passed": 0, "guided": 8, "guided_passed": 0, "invalid": 0}


@core
def test_no_retry_where_there_should_be_none():
    env = GuidedRetry(clock(), told)
    played(env, right, seed=0)
    assert env.reset()[1]["meta"]["attempt"] == 0  # success
    for reset in ({"seed": 4}, {"options": {"task": 8}}):
        played(env, wrong)
        assert env.reset(**reset)[1]["meta"]["attempt"] == 0  # somebody wants another task
    silent = GuidedRetry(clock(), lambda attempt: "")
    played(silent, wrong)
    assert silent.reset()[1]["meta"]["attempt"] == 0

    class Broken(HackableStepsEnv):
        def _command(self, command):
            from milepost.envs.errors import InfraError

            raise InfraError("gone")

    broken = GuidedRetry(Broken(), told)
    t = played(broken, wrong)
    assert broken.counts["invalid"] == 1 and broken.counts["tasks"] == 0
    assert broken.reset()[1]["meta"]["attempt"] == 0 and preference_pairs([t]) == []
    choosy = GuidedRetry(clock(), told, when=lambda info: info["score"] < 0)
    played(choosy, wrong)
    assert choosy.reset()[1]["meta"]["attempt"] == 0 and choosy.counts["passed"] == 1


@core
def test_guides_by_rule_and_by_plan():
    env = GuidedRetry(clock())
    played(env, lambda e, o: "dance", seed=0)
    _, info = env.reset()
    assert info["meta"]["guidance"] == (
        "An earlier attempt at this task failed.\n"
        "At its end the world said: You cannot dance. You cannot dance. You cannot dance.\n"
        "These actions could not be done: dance."
    )
    env = GuidedRetry(clock(), "milepost.wrappers.collect.guided_retry:plan", max_guidance=30)
    t = played(env, wrong, seed=0)
    full = G.plan(G.Attempt(None, 0, "", infos=[t.infos[0]]))
    assert full.startswith("This plan solves the task:\n1. fit the ") and full.count("\n") == 2
    assert env.reset()[1]["meta"]["guidance"] == full[:30]


@core
def test_nothing_of_the_guidance_is_left_in_a_pair():
    env = GuidedRetry(clock(), told)
    attempts = [played(env, wrong, seed=1), played(env, right)]
    (pair,) = preference_pairs(attempts)
    hint = attempts[1].meta["guidance"]
    assert hint in attempts[1].obs[0] and hint not in repr((pair.chosen, pair.rejected))
    assert pair.chosen.obs[0] == attempts[0].obs[0] == pair.rejected.obs[0]
    assert pair.chosen.infos[0]["messages"] == attempts[0].infos[0]["messages"]
    assert strip_guidance(attempts[0]) is attempts[0]
    row = chat(pair)
    assert row["prompt"][0]["role"] == "user" and row["chosen"][0]["content"] == attempts[1].actions[0]
    (kept,) = preference_pairs(attempts, strip=False)
    assert hint in kept.chosen.obs[0]


def attempt(task, success, number=0, guidance=""):
    infos = [{"messages": ()}, {"success": success}]
    meta = {"task": task, "attempt": number, "guided": bool(guidance), "guidance": guidance}
    return Trajectory([guidance, ""], ["a"], np.zeros(1), True, False, infos, meta)


@core
@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=12), st.none() | st.integers(1, 3))
def test_pairs_are_of_one_task_and_of_both_kinds(rows, most):
    pairs = preference_pairs([attempt(*r) for r in rows], max_pairs=most)
    for task in range(4):
        mine = [p for p in pairs if p.task == task]
        won, lost = (sum(r == (task, w) for r in rows) for w in (True, False))
        assert len(mine) == min(won * lost, most or math.inf)
        assert all(p.chosen.infos[-1]["success"] > p.rejected.infos[-1]["success"] for p in mine)


@core
def test_pairs_with_the_plainest_attempts_come_first():
    rows = [attempt("a", True, 1, "hint"), attempt("a", True, 0), attempt("a", False, 0)]
    (pair,) = preference_pairs(rows, max_pairs=1)
    assert isinstance(pair, Pair) and pair.chosen.meta["attempt"] == 0
    with pytest.raises(ValueError, match="max_pairs is 0"):
        preference_pairs(rows, max_pairs=0)
    with pytest.raises(KeyError, match="names no task"):
        preference_pairs([Trajectory([0, 0], [0], np.zeros(1), True, False, [{}, {"success": True}])])
    for wrong in (([], [], 0.1), ([1.0], [1.0, 2.0], 0.1), ([1.0], [1.0], 0.0)):
        with pytest.raises(ValueError, match="log-ratios"):
            dpo(*wrong)


@core
@given(st.lists(st.tuples(st.floats(-50, 50), st.floats(-50, 50)), min_size=1, max_size=5), st.floats(0.01, 2))
def test_dpos_gradient_is_a_finite_difference(rows, beta):
    a, b = (np.array(x) for x in zip(*rows))
    loss, up, down = dpo(a, b, beta)
    assert loss >= 0 and dpo(a + 3.0, b + 3.0, beta)[0] == pytest.approx(loss)
    for k, e in enumerate(np.eye(len(a)) * 1e-5):
        assert up[k] == pytest.approx((dpo(a + e, b, beta)[0] - dpo(a - e, b, beta)[0]) / 2e-5, abs=1e-5)
        assert down[k] == pytest.approx((dpo(a, b + e, beta)[0] - dpo(a, b - e, beta)[0]) / 2e-5, abs=1e-5)


@core
def test_shapers_go_around_a_guided_retry_and_gymnasium_finds_nothing():
    env = shape(GuidedRetry(clock(), told), [ScoreDelta()])
    t = played(env, wrong, seed=0)
    assert t.meta["attempt"] == 0 and "score_delta" in t.terms
    assert played(env, right).meta["guided"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=r".*is different from the unwrapped version.*")
        check_env(GuidedRetry(clock(), told), skip_render_check=True)
    again = gym.make(GuidedRetry(gym.make("milepost/HackableSteps-v0"), max_guidance=99).spec)
    assert again.env.max_guidance == 99 if isinstance(again.env, GuidedRetry) else again.max_guidance == 99


@core
def test_a_snapshot_holds_the_attempt():
    env = GuidedRetry(clock(), told)
    played(env, wrong, seed=0)
    env.reset()
    saved = env.snapshot()
    ahead = [env.step(env.unwrapped.oracle()) for _ in range(2)]
    assert ahead[-1][4]["guided"] and env.counts["guided_passed"] == 1
    env.restore(saved)
    assert env.counts["guided_passed"] == 0
    again = [env.step(env.unwrapped.oracle()) for _ in range(2)]
    assert again == ahead


@core
@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: GuidedRetry(clock(), told, inject="user"), "inject is 'user'"),
        (lambda: GuidedRetry(clock(), told, how="seed"), "how 'seed'"),
        (lambda: GuidedRetry(clock(), told, max_retries=0), "max_retries is 0"),
        (lambda: GuidedRetry(clock(), told, max_guidance=True), "max_guidance is True"),
        (lambda: GuidedRetry(gym.make("CartPole-v1"), told), r"no snapshot\(\) and restore\(\): how='task'"),
        (lambda: GuidedRetry(gym.make("CartPole-v1"), told, how="task"), "inject='system'"),
        (lambda: GuidedRetry(gym.make("CartPole-v1"), told, how="task", inject="system").reset(), "no attribute task"),
        (lambda: PrefixTree(clock(), branching=1), "branching is 1"),
        (lambda: PrefixTree(clock(), depth=0), "depth is 0"),
        (lambda: PrefixTree(clock(), stride=1.5), "stride is 1.5"),
        (lambda: PrefixTree(gym.make("CartPole-v1")), "cannot go back"),
        (lambda: preferences([], strategy="chain"), "strategy is 'chain'"),
        (lambda: inference_distances(2, [(0, 2, 1.0)]), r"the edge \(0, 2, 1.0\) is none"),
        (lambda: inference_distances(2, [(0, 1, 0.0)]), "a variance above 0"),
        (lambda: inference_distances(2, [(1, 1, 1.0)]), "two different responses"),
        (lambda: inference_distance(2, [], 0, 5), "responses are 0 to 1"),
        (lambda: mean_distance(1, []), "n is 1"),
    ],
)
def test_collectors_refuse_by_name(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


# -- prefix trees --------------------------------------------------------------------------------
@core
def test_a_tree_of_the_card():
    # B 2, D 3: 8 leaves, 28 pairs, 16 / 8 / 4 of them with their last common node at depth 0 / 1 / 2
    leaves = PrefixTree(FlowSamplerEnv(pay="quality"), branching=2, depth=3, seed=1).grow(seed=0)
    assert [leaf.path for leaf in leaves] == list(itertools.product((0, 1), repeat=3))
    pairs = preferences(leaves, lambda a, b: 1.0)
    assert len(pairs) == 28 and [sum(p.level == k for p in pairs) for k in range(3)] == [16, 8, 4]
    siblings = preferences(leaves, lambda a, b: 1.0, "siblings")
    assert [(p.first, p.second) for p in siblings] == [(0, 1), (2, 3), (4, 5), (6, 7)]


@core
@given(st.integers(2, 3), st.integers(1, 3), st.integers(1, 2), st.integers(0, 99))
def test_leaves_share_their_prefix_and_nothing_is_made_up(branching, depth, stride, seed):
    env = FlowSamplerEnv(pay="quality")
    leaves = PrefixTree(env, branching=branching, depth=depth, stride=stride, seed=seed).grow(seed=seed)
    n = branching**depth
    pairs = preferences(leaves, lambda a, b: 0.5)
    assert len(leaves) == n and len(pairs) == n * (n - 1) // 2
    for p in pairs:
        a, b = leaves[p.first].episode, leaves[p.second].episode
        assert p.shared == p.level * stride
        assert a.obs[: p.shared + 1] == b.obs[: p.shared + 1] and a.actions[: p.shared] == b.actions[: p.shared]
    for leaf in leaves[:: max(1, n // 3)]:  # each is an episode that can really be played
        obs, _ = env.reset(seed=seed)
        seen, rewards = [obs], []
        for action in leaf.episode.actions:
            obs, r, terminated, *_ = env.step(action)
            seen, rewards = [*seen, obs], [*rewards, r]
        assert terminated and seen == list(leaf.episode.obs) and rewards == leaf.episode.rewards.tolist()
    assert preferences(leaves) == [
        p._replace(y=float(leaves[p.first].episode.rewards.sum() > leaves[p.second].episode.rewards.sum()))
        for p in pairs
        if leaves[p.first].episode.rewards.sum() != leaves[p.second].episode.rewards.sum()
    ]


@core
def test_a_branch_that_ends_early_is_one_leaf():
    def builds(obs, info, rng):
        return next((a for a in info["admissible_actions"] if a.startswith("fit")), "")

    leaves = PrefixTree(clock(), builds, branching=2, depth=4, seed=0).grow(seed=0)
    # two steps build the clock: after two branchings nothing is left to branch, 4 leaves and not 16
    assert [leaf.path for leaf in leaves] == list(itertools.product((0, 1), repeat=2))
    assert all(leaf.episode.terminated and len(leaf.episode) == 2 for leaf in leaves)
    assert preferences(leaves) == []  # all alike
    assert {p.level for p in preferences(leaves, lambda a, b: 1.0)} == {0, 1}
    assert T.random_policy(0, {"action_mask": np.array([0, 0, 1])}, np.random.default_rng(0)) == 2


# -- inference distance --------------------------------------------------------------------------
@core
def test_resistances_of_the_card_and_by_hand():
    assert inference_distance(3, [(0, 1, 1.0), (1, 2, 1.0)], 0, 2) == pytest.approx(2.0)  # in series
    assert inference_distance(2, [(0, 1, 1.0), (0, 1, 1.0)], 0, 1) == pytest.approx(0.5)  # in parallel
    # a triangle of 1, 2, 3: between the ends of 1 lie 1 and 2 + 3 = 5 in parallel: 5 / 6
    assert inference_distance(3, [(0, 1, 1.0), (1, 2, 2.0), (2, 0, 3.0)], 0, 1) == pytest.approx(5 / 6)
    far = inference_distances(4, [(0, 1, 1.0), (2, 3, 4.0)])
    assert math.isinf(far[0, 2]) and far[2, 3] == pytest.approx(4.0) and np.diag(far).tolist() == [0.0] * 4
    assert mean_distance(3, [(0, 1, 1.0), (1, 2, 1.0)]) == pytest.approx((1 + 1 + 2) / 3)


@core
def test_the_tree_as_a_graph_by_hand():
    leaf = [T.Leaf(p, (), None) for p in itertools.product((0, 1), repeat=2)]
    one = [T.Preference(0, 3, 1.0, 0, 0)]
    n, edges = tree_edges(leaf, one, bias=1.0, noise=2.0)
    assert n == 7 and len(edges) == 1 + 6  # four leaves, two inner prefixes, the root; a comparison and six edges
    # between leaves 0 and 3: the comparison of 2 beside the way of four edges
    assert inference_distance(n, edges, 0, 3) == pytest.approx(1 / (1 / 2 + 1 / 4))
    # between 0 and 1: from 0 to their parent 1 beside the way over 3 and the root, 2 + 3: 5 / 6; from there 1 more
    assert inference_distance(n, edges, 0, 1) == pytest.approx(5 / 6 + 1)
    assert tree_edges(leaf, one, bias=math.inf) == (4, [(0, 3, 1.0)])


edges_of = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.floats(0.1, 10)).filter(lambda e: e[0] != e[1]), min_size=1, max_size=9)  # fmt: skip  # noqa: E501


@core
@given(edges_of, st.tuples(st.integers(0, 4), st.integers(0, 4), st.floats(0.1, 10)).filter(lambda e: e[0] != e[1]))
def test_distances_are_a_metric_that_comparisons_only_shrink(edges, more):
    d = inference_distances(5, edges)
    assert np.array_equal(d, d.T) or np.allclose(d, d.T)
    for a, b, c in itertools.product(range(5), repeat=3):
        assert d[a, b] <= d[a, c] + d[c, b] + 1e-7
    after = inference_distances(5, [*edges, more])
    assert np.all(after <= d + 1e-7)
    assert after[more[0], more[1]] <= more[2] + 1e-7


# -- CM2's early stop ----------------------------------------------------------------------------
class RequiredLost:
    """CM2's early stop: at the next turn, most of the required items of the turns before have not been passed."""

    __name__ = "required_lost"

    def __init__(self, items):
        self.required = [(i["id"], i["turn"]) for i in items if i["required"]]

    def __call__(self, obs, reward, info):
        due = [i for i, turn in self.required if turn < info["turn"]]
        return sum(not info["subgoals"][i] for i in due) > len(due) / 2


@pytest.mark.tools
def test_a_conversation_whose_required_item_is_lost_is_stopped_and_paid_for_what_was_done():
    pytest.importorskip("pydantic", reason="the extra tools is not installed")
    from milepost.envs.tools.servicedesk.env import ServiceDeskEnv
    from milepost.envs.tools.servicedesk.users import DONE

    desk = ServiceDeskEnv(horizon=2)
    _, info = desk.reset(options={"task": 0})
    lost = RequiredLost(info["meta"]["checklist"])
    assert lost.required == [("verify", 0)]
    env = shape(StopWhen(desk, lost), [Checklist()])

    def conversation(choose):
        env.reset(options={"task": 0})
        total, steps, over = 0.0, 0, False
        while not over:
            _, r, terminated, truncated, info = env.step(choose())
            total, steps, over = total + r, steps + 1, terminated or truncated
        return total, steps, terminated, info

    # who never verifies gets to the second request when the customer gives the first one up; there it ends
    total, steps, terminated, info = conversation(lambda: DONE)
    assert terminated and info["stopped"] == "required_lost" and info["turn"] == 1 and not info["success"]
    assert total == 0.0 and steps < 60
    # the oracle is not stopped and gets the whole checklist and the outcome
    total, steps, terminated, info = conversation(desk.oracle)
    assert terminated and "stopped" not in info and info["success"] and total == pytest.approx(2.0)
    alone = ServiceDeskEnv(horizon=2)
    alone.reset(options={"task": 0})
    played_on = 0
    for _ in range(60):
        *_, terminated, truncated, info = alone.step(DONE)
        played_on += 1
        if terminated or truncated:
            break
    assert played_on > 11 and "stopped" not in info  # without the wrapper the useless conversation goes on


@core
def test_a_time_limit_outside_of_the_environment_counts_from_where_one_goes_back_to():
    """Gymnasium's TimeLimit knows of no snapshots: a second attempt or branch would have what is left of the first."""
    make = functools.partial(gym.make, "milepost/Quest-easy-v0", max_episode_steps=6)
    env, lengths = GuidedRetry(make()), []
    for _ in range(3):  # a task, its retry, the next task
        env.reset()
        lengths.append(next(n for n in itertools.count(1) if any(env.step("look")[2:4])))
    assert lengths == [6, 6, 6]
    env.reset(seed=0)
    env.step("look")
    state = env.snapshot()
    rest = [sum(1 for _ in iter(lambda: any(env.step("look")[2:4]), True)) for _ in range(2) if not env.restore(state)]
    assert rest == [4, 4]  # 5 are left; the last one is not counted
    tree = PrefixTree(make(), policy=lambda obs, info, rng: "look", depth=2)
    assert [len(leaf.episode) for leaf in tree.grow(seed=0)] == [6] * 4

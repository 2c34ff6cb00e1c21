"""VeRPO: tests weighted by difficulty, as an advantage over a group and as a reward at every step."""

import json
import os
import random
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.wrappers import DenseTestAdvantage, Stack, Trajectory, WeightedTests, load, shape
from milepost.wrappers import conformance as C

pytestmark = pytest.mark.core
CARD = [[1, 1, 0], [1, 0, 0], [1, 1, 1], [1, 0, 0]]  # turns x tests


def results(row):
    """A row of 0 and 1 as a run's results; None is a test that the run does not mention."""
    return {f"t{j}": bool(x) for j, x in enumerate(row) if x is not None}


def episode(steps, total=0.0, first=None, **meta):
    """An episode whose steps are rows of results, or None where no tests ran; ``first`` is what the reset publishes."""
    infos = [{} if row is None else {"tests": results(row)} for row in [first, *steps]]
    infos[0]["meta"] = {"task": 0} | meta
    r = np.zeros(len(steps))
    r[-1:] = total
    return Trajectory([0] * len(infos), [0] * len(steps), r, True, False, infos, {"task": 0} | meta)


def advantages(shaper, group):
    return [t.advantages for t in Stack([shaper]).run(group)]


def paid(stack, *args, **kw):
    stack = stack if isinstance(stack, Stack) else Stack([stack])
    return stack.run([episode(*args, **kw)])[0].rewards


def tables(min_turns=1, max_turns=6):
    """Turns x tests."""
    return st.integers(1, 6).flatmap(
        lambda m: st.lists(st.lists(st.integers(0, 1), min_size=m, max_size=m), min_size=min_turns, max_size=max_turns)
    )


sigmas = st.one_of(st.just("auto"), st.floats(0.01, 2.0))
rates = st.lists(st.floats(0, 1), min_size=1, max_size=8).map(np.array)


# -- golden: the group's advantage ---------------------------------------------------------------
def test_the_cards_example():
    raw = DenseTestAdvantage(sigma=0.25, normalize_weights=False)
    assert raw.weights(np.array([1.0, 0.5, 0.25])) == pytest.approx([0.118, 0.2112, 0.3749], abs=1e-4)
    assert raw.turn_rewards([results(r) for r in CARD]) == pytest.approx([0.3292, 0.118, 0.7042, 0.118], abs=1e-4)
    even = DenseTestAdvantage(sigma=0.25).turn_rewards([results(r) for r in CARD])
    assert even == pytest.approx([0.4676, 0.1676, 1, 0.1676], abs=1e-4)
    group = [episode([CARD[0], CARD[2]], 1.0), episode([CARD[1], CARD[3]])]
    got = advantages(raw, group)
    assert got[0] == pytest.approx([0.5119, 0.8868], abs=1e-4)
    assert got[1] == pytest.approx([-0.6993, -0.6993], abs=1e-4)


def test_an_example_by_hand_with_a_step_that_runs_no_tests():
    # rho 1, 1/2, 1/2. sigma^2 = .125 / ln 2 makes the kernel 1/2 over a distance of 1/2, alpha = ln 4 makes w = 4^-rho:
    # N = 1 + 1/2 + 1/2 = 2 and 1/2 + 1 + 1 = 5/2, so w' = 1/4 / 2 = .125 and 1/2 / (5/2) = .2 twice; R = .525 and .125,
    # mean .325, A_turn = +-.2. Returns 1 and 0, gamma 1/2, one test run each: 1/2 and 0, A_traj = +-.25; beta 1/2: +-.1
    settings = {"alpha": np.log(4), "sigma": (0.125 / np.log(2)) ** 0.5, "delta": 0.0, "gamma": 0.5, "beta": 0.5}
    group = [episode([None, [1, 1, 1], None], 1.0), episode([[1, 0, 0]])]
    one, two = advantages(DenseTestAdvantage(normalize_weights=False, **settings), group)
    assert one == pytest.approx([0.35, 0.35, 0.25]) and two == pytest.approx([-0.35])
    one, two = advantages(DenseTestAdvantage(normalize_weights=False, credit="step", **settings), group)
    assert one == pytest.approx([0.25, 0.35, 0.25]) and two == pytest.approx([-0.35])
    # divided by .525: R = 1 and 5/21, mean 13/21, A_turn = +-8/21
    one, _ = advantages(DenseTestAdvantage(**settings), group)
    assert one == pytest.approx([0.25 + 4 / 21, 0.25 + 4 / 21, 0.25])


def test_the_width_is_half_the_spread_of_the_pass_rates():
    rho = np.array([1.0, 0.5, 0.5])  # population variance (4 + 1 + 1) / 36 / 3 = 1/18
    auto, given_ = DenseTestAdvantage(), DenseTestAdvantage(sigma=(1 / 18) ** 0.5 / 2)
    assert auto.weights(rho) == pytest.approx(given_.weights(rho), abs=1e-12)
    assert auto.weights(np.full(4, 0.5)) == pytest.approx([0.25] * 4)


def test_a_turn_is_all_steps_up_to_its_test_run():
    r = DenseTestAdvantage().turn_rewards([results(x) for x in ([1, 0], [1, 1], [0, 0])])
    a, b, c = r - r.mean()
    group = [episode([None, None, [1, 0], [1, 1], None]), episode([[0, 0]])]
    assert advantages(DenseTestAdvantage(), group)[0] == pytest.approx([a, a, a, b, 0])
    assert advantages(DenseTestAdvantage(credit="step"), group)[0] == pytest.approx([0, 0, a, b, 0])
    assert advantages(DenseTestAdvantage(), group)[1] == pytest.approx([c])


# -- properties: the weights ---------------------------------------------------------------------
@given(rates, st.floats(0, 5))
def test_a_harder_test_weighs_as_much_or_more_at_equal_density(rho, alpha):
    w = DenseTestAdvantage(alpha=alpha, sigma=1e6).weights(np.sort(rho))  # so wide that every density is the same
    assert (np.diff(w) <= 1e-9).all()
    pair = DenseTestAdvantage(alpha=alpha).weights(np.sort(rho[[0, -1]]))  # of two, both have the same neighbour
    assert pair[0] >= pair[1] - 1e-12


@given(st.lists(st.integers(0, 10), min_size=1, max_size=6, unique=True), st.integers(2, 50), st.data())
def test_copies_of_a_test_weigh_together_what_one_weighs(tenths, k, data):
    m = DenseTestAdvantage(sigma=0.01, normalize_weights=False, delta=0.0)  # other tests are far away
    rho, j = np.array(tenths) / 10, data.draw(st.integers(0, len(tenths) - 1))
    one, many = m.weights(rho), m.weights(np.append(rho, np.full(k - 1, rho[j])))
    assert many[j] + many[len(rho) :].sum() == pytest.approx(one[j])
    assert np.delete(many[: len(rho)], j) == pytest.approx(np.delete(one, j))


@given(rates, st.integers(2, 50), sigmas.filter(lambda s: s != "auto"), st.data())
def test_copies_never_multiply_a_tests_influence(rho, k, sigma, data):
    m = DenseTestAdvantage(sigma=sigma, normalize_weights=False)
    j = data.draw(st.integers(0, len(rho) - 1))
    many = m.weights(np.append(rho, np.full(k - 1, rho[j])))
    together = many[j] + many[len(rho) :].sum()
    assert together <= np.exp(-m.alpha * rho[j]) and together < k * m.weights(rho)[j]


@given(tables(), sigmas)
def test_turn_rewards_lie_between_0_and_1_and_are_1_if_all_pass_and_only_then(table, sigma):
    got = DenseTestAdvantage(sigma=sigma).turn_rewards([results(r) for r in table])
    assert (got >= 0).all() and (got <= 1 + 1e-12).all()
    assert [x > 1 - 1e-9 for x in got] == [all(r) for r in table]
    assert [x < 1e-9 for x in got] == [not any(r) for r in table]


@given(tables(), sigmas, st.randoms(use_true_random=False))
def test_the_order_of_the_tests_and_their_names_do_not_matter(table, sigma, rnd):
    m, runs = DenseTestAdvantage(sigma=sigma), [results(r) for r in table]
    moved = [dict(rnd.sample(list(r.items()), len(r))) for r in runs]
    assert (m.turn_rewards(moved) == m.turn_rewards(runs)).all()
    assert m.turn_rewards([{n[::-1]: x for n, x in r.items()} for r in runs]) == pytest.approx(m.turn_rewards(runs))


@given(tables(), sigmas, st.data())
def test_a_test_that_is_not_mentioned_failed(table, sigma, data):
    runs = [results([0] * len(table[0]))] + [results(r) for r in table]  # the first mentions all of them
    gone = [runs[0]] + [{n: x for n, x in r.items() if x or data.draw(st.booleans())} for r in runs[1:]]
    m = DenseTestAdvantage(sigma=sigma)
    assert (m.turn_rewards(gone) == m.turn_rewards(runs)).all()


# -- properties: the advantage -------------------------------------------------------------------
groups = st.integers(1, 4).flatmap(
    lambda m: st.lists(
        st.tuples(
            st.lists(st.one_of(st.none(), st.lists(st.integers(0, 1), min_size=m, max_size=m)), max_size=5),
            st.floats(-3, 3),
        ),
        min_size=1,
        max_size=5,
    )
)


@given(groups, sigmas, st.sampled_from(["turn", "step"]), st.floats(0, 1), st.randoms(use_true_random=False))
def test_finite_for_every_group_and_moves_with_its_episodes(rows, sigma, credit, gamma, rnd):
    m, trajs = DenseTestAdvantage(sigma=sigma, credit=credit, gamma=gamma), [episode(*r) for r in rows]
    got = advantages(m, trajs)
    assert [a.shape for a in got] == [(len(t),) for t in trajs] and all(np.isfinite(a).all() for a in got)
    order = list(range(len(rows)))
    rnd.shuffle(order)
    for i, a in zip(order, advantages(m, [trajs[i] for i in order])):
        assert a == pytest.approx(got[i], abs=1e-9)


@given(tables(min_turns=6), st.lists(st.floats(-3, 3), min_size=3, max_size=3), st.sampled_from(["turn", "step"]))
def test_advantages_sum_to_0_over_the_turns_of_episodes_of_equal_length(table, totals, credit):
    group = [episode(table[2 * i : 2 * i + 2], x) for i, x in enumerate(totals)]
    for gamma in (1.0, 0.9):
        got = advantages(DenseTestAdvantage(credit=credit, gamma=gamma), group)
        assert np.concatenate(got).sum() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("alpha", [2.0, 1e6])
@given(st.integers(0, 1), st.integers(1, 5), st.integers(1, 4), st.integers(1, 4))
def test_a_group_that_passes_all_or_nothing_has_no_turn_term(alpha, ok, tests, turns, n):
    group = [episode([[ok] * tests] * turns, float(i)) for i in range(n)]
    want = [np.full(turns, i - (n - 1) / 2) for i in range(n)]
    for m in (DenseTestAdvantage(alpha=alpha), DenseTestAdvantage(alpha=alpha, normalize_weights=False)):
        assert np.concatenate(advantages(m, group)) == pytest.approx(np.concatenate(want), abs=1e-9)


def test_a_group_of_one_compares_its_turns_and_a_lone_turn_gets_0():
    assert advantages(DenseTestAdvantage(), [episode([[1, 0]], 7.0)])[0] == pytest.approx([0.0])
    (got,) = advantages(DenseTestAdvantage(), [episode([[1, 0], [1, 1]], 7.0)])
    assert got.sum() == pytest.approx(0) and got[1] > 0


def test_without_a_test_run_the_return_alone_counts_and_the_group_is_counted():
    stack = Stack([DenseTestAdvantage(gamma=0.5)])
    got = stack.run([episode([None, []], 3.0), episode([None], 1.0), episode([], 0.0)])
    assert got[0].advantages == pytest.approx([5 / 3, 5 / 3]) and got[1].advantages == pytest.approx([-1 / 3])
    stack.run([episode([[1]]), episode([None, [0]])])
    counted = {"test runs": 2, "groups without a test run": 1}
    assert stack.stats() == {f"dense_test_advantage/{k}": v for k, v in counted.items()}
    assert DenseTestAdvantage().group([]) == []


def test_tasks_are_groups_of_their_own():
    one = [episode([[1, 0]], 1.0, task=1), episode([[1, 1]], 0.0, task=1)]
    two = [episode([[0, 0]], 5.0, task=2), episode([[0, 1]], 4.0, task=2)]
    m = DenseTestAdvantage()
    mixed = advantages(m, [one[0], two[0], one[1], two[1]])
    apart = advantages(m, one) + advantages(m, two)
    assert np.concatenate(mixed) == pytest.approx(np.concatenate([apart[i] for i in (0, 2, 1, 3)]))


def test_a_lone_environment_is_refused():
    with pytest.raises(ValueError, match=r"stack\.run"):
        shape(gym.make("CartPole-v1"), [DenseTestAdvantage()])


# -- the step method -----------------------------------------------------------------------------
def taught(trajs, **settings):
    stack = Stack([WeightedTests(**settings)])
    stack.learn(trajs)
    return stack


def test_weights_learnt_from_the_cards_group_pay_its_turn_rewards():
    stack = taught([episode(CARD[:2]), episode(CARD[2:])], sigma=0.25, kind="level")
    w = np.array(list(stack.shapers[0].learnt("0").values()))
    assert w / w.sum() == pytest.approx(np.array([0.118, 0.2112, 0.3749]) / 0.7042, abs=1e-4)
    assert paid(stack, CARD) == pytest.approx([0.4676, 0.1676, 1, 0.1676], abs=1e-4)
    stack = taught([episode(CARD[:2]), episode(CARD[2:])], sigma=0.25)
    assert paid(stack, CARD) == pytest.approx([0.4676, -0.3, 0.8324, -0.8324], abs=1e-4)


def test_given_weights_by_hand():
    # weights 1 and 3 of 4: R = 1/4 at the reset, nothing run, 1/4 again, 1, 3/4; beta 2; the third test has no weight
    stack = Stack([WeightedTests(weights={"t0": 1.0, "t1": 3.0}, beta=2.0)])
    steps = [None, [1, 0, 1], [1, 1, 0], [0, 1, 1]]
    assert paid(stack, steps, first=[1, 0, 0]) == pytest.approx([0, 0, 1.5, -0.5])
    assert paid(stack, steps) == pytest.approx([0, 0.5, 1.5, -0.5])
    assert stack.stats()["weighted_tests/test runs"] == 6 == stack.stats()["weighted_tests/results without a weight"]
    assert not stack.learns and stack.learn([episode(steps)]) == {} and not stack.shapers[0].runs
    level = WeightedTests(weights={"t0": 1.0, "t1": 3.0}, kind="level")
    assert paid(level, steps) == pytest.approx([0, 0.25, 1, 0.75])


@given(tables(), sigmas)
def test_learnt_weights_are_those_of_the_group_method(table, sigma):
    stack = taught([episode([r]) for r in table], sigma=sigma, kind="level")
    want = DenseTestAdvantage(sigma=sigma).turn_rewards([results(r) for r in table])
    assert paid(stack, table) == pytest.approx(want, abs=1e-9)


@given(tables(), st.lists(st.one_of(st.none(), st.integers(0, 9)), max_size=8), st.integers(0, 9), st.booleans())
def test_an_episode_is_paid_from_its_first_result_to_its_last(table, walk, first, learnt):
    stack = taught([episode([r]) for r in table] if learnt else [], beta=0.5)
    rows, start = [None if k is None else table[k % len(table)] for k in walk], table[first % len(table)]
    got, runs = paid(stack, rows, first=start), [r for r in rows if r is not None]

    def worth(row):  # R of a row is what an episode earns whose only run it is
        return paid(stack, [row]).sum()

    assert got.sum() == pytest.approx(worth(runs[-1]) - worth(start) if runs else 0.0, abs=1e-9)
    assert abs(got.sum()) <= 0.5 + 1e-9


@given(tables(), st.integers(1, 30), st.booleans(), st.randoms(use_true_random=False))
def test_the_same_result_again_pays_exactly_nothing(table, n, learnt, rnd):
    stack, t = taught([episode([r]) for r in table] if learnt else []), episode([table[-1]] * (n + 1))
    for info in t.infos[1:]:
        info["tests"] = dict(rnd.sample(list(info["tests"].items()), len(info["tests"])))
    (out,) = stack.run([t])
    assert not out.rewards[1:].any() and 0 <= out.rewards[0] <= 1


def test_many_tests_of_unequal_weight_pay_the_same_to_the_last_bit_in_any_order():
    rng = np.random.default_rng(0)
    table = (rng.random((30, 60)) < rng.random(60)).astype(int).tolist()
    m, row = taught([episode([r]) for r in table]).shapers[0], results(table[0])
    state = m.init(None, {"meta": {"task": 0}, "tests": row})
    for seed in range(20):
        moved = dict(random.Random(seed).sample(list(row.items()), len(row)))
        assert m._level(*state[:2], moved)[2] == state[2] not in (0.0, 1.0)
        assert m._level(*state[:2], dict.fromkeys(moved, True))[2] == 1.0


def test_weights_do_not_vanish_together():
    stack = taught([episode([[1, 1]])], alpha=1e6)
    assert paid(stack, [[1, 0], [1, 1]]) == pytest.approx([0.5, 0.5])


def test_pythons_hash_seed_does_not_show():
    code = (
        "import numpy as np; from milepost.wrappers import *; rng = np.random.default_rng(0)\n"
        "runs = [{f'test {j}': bool(x) for j, x in enumerate(r)} for r in rng.random((9, 60)) < rng.random(60)]\n"
        "t = Trajectory([0] * 10, [0] * 9, np.zeros(9), True, False, [{}, *({'tests': r} for r in runs)])\n"
        "s = Stack([WeightedTests()]); print(s.learn([t]), s.run([t])[0].rewards.tolist(), s.state_dict())\n"
        "print(DenseTestAdvantage().turn_rewards(runs).tolist())"
    )
    one, two = (
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    )
    assert one == two and len(one) > 500


def test_level_pays_the_same_tests_again_as_its_docstring_warns():
    assert paid(WeightedTests(kind="level"), [[1, 0]] * 80).sum() == pytest.approx(40)
    assert paid(WeightedTests(), [[1, 0]] * 80).sum() == pytest.approx(0.5)
    assert paid(WeightedTests(), [[1, 0], [1, 1]] * 40).sum() == pytest.approx(1.0)  # however often it swings
    assert paid(WeightedTests(), [[1, 1], [0, 0]] * 40).sum() == pytest.approx(0.0)


@given(tables(), st.data())
def test_neither_a_part_of_the_tests_nor_ones_own_pay(table, data):
    stack, row = taught([episode([r]) for r in table]), table[-1]
    part = [x if data.draw(st.booleans()) else None for x in row] + [1] * data.draw(st.integers(0, 4))
    assert paid(stack, [part]).sum() <= paid(stack, [row]).sum() + 1e-12
    whole = [x if x else None for x in row]  # only the tests that fail are left out
    if any(row):
        assert paid(stack, [whole]) == pytest.approx(paid(stack, [row]))


def test_all_tests_weigh_the_same_until_something_is_learnt():
    assert paid(WeightedTests(), [[1, 0, 0, 1]]) == pytest.approx([0.5])
    # a first run of a part looks complete, until the whole has been seen: 1, then 1/2
    assert paid(WeightedTests(), [[1], [1, 0]]) == pytest.approx([1, -0.5])
    assert paid(WeightedTests(), [[1], [1]], first=[1, 0]) == pytest.approx([0, 0])


def test_pass_rates_decay_and_tasks_are_apart():
    stack = Stack([WeightedTests(decay=0.5)])
    assert stack.learn([episode([[1, 0], [1, 1]], task="p"), episode([None, []], task="q")]) == {
        "weighted_tests/tests": 2.0,
        "weighted_tests/pass_rate": 0.75,
    }
    m = stack.shapers[0]
    assert m.runs == {"p": 2.0} and m.passes == {"p": {"t0": 2.0, "t1": 1.0}}
    stack.learn([episode([[0, 1, 1]], task="p"), episode([[1]], task="q")])
    assert m.runs == {"p": 2.0, "q": 1.0} and m.passes == {"p": {"t0": 1.0, "t1": 1.5, "t2": 1.0}, "q": {"t0": 1.0}}
    assert m.learnt("nobody") == {}
    # rates 1/2, 3/4, 1/2: the two alike share their density, the odd one is easier
    w = m.learnt("p")
    assert w["t0"] == w["t2"] and list(m.learnt("q")) == ["t0"]
    one = Stack([WeightedTests(by="")])
    one.learn([episode([[1]], task="p"), episode([[0]], task="q")])
    assert one.shapers[0].runs == {"": 2.0} and one.shapers[0].passes == {"": {"t0": 1.0}}


def test_an_episode_keeps_the_weights_that_it_began_with():
    m = Stack([WeightedTests()]).shapers[0]
    m.learn([episode([[1, 0]] * 9 + [[1, 1]])])
    start = episode([[1, 0], [1, 0], [1, 1]])
    state, got = m.init(None, start.infos[0]), []
    for t in start:
        r, state = m.step(state, t)
        got.append(r)
        m.learn([episode([[0, 1]] * 50)])
    assert got[1] == 0.0 and sum(got) == pytest.approx(1.0)
    assert got[0] != pytest.approx(paid(m, [[1, 0]])[0])


def test_an_environment_that_never_runs_tests_is_paid_nothing_more_and_counted():
    stack = Stack([WeightedTests()])
    assert paid(stack, [None, [], None], 2.0) == pytest.approx([0, 0, 2])
    assert stack.stats()["weighted_tests/test runs"] == 0 and stack.learn([episode([None])]) == {}


# -- hosts, conformance, settings ----------------------------------------------------------------
class Repair(gym.Env):
    """Action 1 mends the next test, 0 breaks the last mended one, 2 runs the tests; each task has tests of its own."""

    observation_space, action_space = gym.spaces.Discrete(9), gym.spaces.Discrete(3)

    def __init__(self, task="p", tests=3):
        self.task, self.n = task, tests

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.good, self.t = 0, 0
        return 0, {"meta": {"task": self.task}}

    def step(self, a):
        self.t += 1
        self.good = min(max(self.good + {0: -1, 1: 1, 2: 0}[int(a)], 0), self.n)
        info = {"tests": {f"{self.task}{j}": j < self.good for j in range(self.n)}} if a == 2 else {}
        return self.good, 0.0, False, self.t >= 12, info


@pytest.mark.parametrize("learnt", [False, True])
def test_a_vector_environment_pays_what_one_alone_pays(learnt):
    rng, tasks = np.random.default_rng(0), [("p", 3), ("q", 2), ("r", 4)]
    actions = rng.integers(3, size=(12, len(tasks)))
    actions[5] = 2  # all at once; else each lane when it likes
    lanes = [shape(Repair(*x), [WeightedTests()]) for x in tasks]
    vec = shape(gym.vector.SyncVectorEnv([lambda x=x: Repair(*x) for x in tasks]), [WeightedTests()])
    for _ in range(2 if learnt else 1):
        for env in [*lanes, vec]:
            env.reset(seed=0)
        for a in actions:
            rows = [env.step(x)[1] for env, x in zip(lanes, a)]
            assert vec.step(a)[1] == pytest.approx(np.array(rows), abs=1e-12)
        for env in [*lanes, vec]:
            env.stack.learn()
        merged = {k: v for env in lanes for k, v in env.stack.shapers[0].passes.items()}
        assert vec.stack.shapers[0].passes == merged and merged["r"]
    assert lanes[0].stack.stats()["weighted_tests/test runs"] > 0


def facts(state):
    return C.facts_of(state) | ({"tests": {f"t{j}": j < state for j in range(4)}} if state != 2 else {})


@pytest.mark.parametrize(
    "shaper",
    [
        DenseTestAdvantage(),
        DenseTestAdvantage(sigma=0.3, gamma=0.9, credit="step", normalize_weights=False),
        WeightedTests(),
        WeightedTests(kind="level", decay=0.0, by=""),
        WeightedTests(weights={"t0": 1.0, "t3": 2.0}),
    ],
    ids=repr,
)
def test_conformance_with_tests(shaper):
    C.check_shaper(shaper, facts)
    assert load(json.loads(json.dumps(shaper.spec()))) == shaper


WRONG = [{"alpha": -1.0}, {"alpha": float("inf")}, {"sigma": 0.0}, {"sigma": "wide"}, {"beta": -1.0}, {"delta": -1e-9}]


@pytest.mark.parametrize(
    ("make", "settings"),
    [
        *((make, s) for make in (DenseTestAdvantage, WeightedTests) for s in WRONG),
        (DenseTestAdvantage, {"gamma": 1.5}),
        (DenseTestAdvantage, {"credit": "token"}),
        (WeightedTests, {"decay": -0.1}),
        (WeightedTests, {"kind": "best"}),
        (WeightedTests, {"weights": {"a": -1.0}}),
        (WeightedTests, {"weights": {"a": 0.0}}),
    ],
)
def test_wrong_settings_are_one_sentence(make, settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        make(**settings)

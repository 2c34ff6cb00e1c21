"""Methods on graphs and games: distances on a map of states (G4RL), Shapley values of an episode's steps (SCAR)."""

import itertools
import json
import math

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.wrappers import GraphDistance, MissingFact, ShapleySteps, Stack, Trajectory, load, shape
from milepost.wrappers import conformance as C
from milepost.wrappers.episode.scar import covered, earned, members, owen
from milepost.wrappers.maths import shapley
from milepost.wrappers.step.g4rl import features_of, steps_from

pytestmark = pytest.mark.core


def walk(places, won=False, terminated=True, goal=None, rewards=None):
    infos = [{"success": False} | ({} if goal is None else {"goal": goal}) for _ in places]
    infos[-1]["success"] = won
    n = len(places) - 1
    return Trajectory(list(places), [0] * n, np.array(rewards or [0.0] * n), terminated, not terminated, infos)


def run(stack, *trajs):
    return [t.rewards for t in stack.run(list(trajs))]


def discounted(x, gamma):
    return float(np.asarray(x) @ gamma ** np.arange(len(x)))


# -- G4RL ----------------------------------------------------------------------------------------
def test_the_map_by_hand():
    stack = Stack([GraphDistance(eps=0.5, decay=0.5, gamma=0.5, weight=2.0)])
    (first,) = run(stack, walk([0, 1, 2, 1, 2, 3], won=True))
    assert not first.any()  # no goal is known before the first success
    m = stack.shapers[0]
    assert m.nodes.tolist() == [[0], [1], [2], [3]] and m.goals.tolist() == [False, False, False, True]
    assert m.edges[0, 1] == 1 and m.edges[1, 2] == 2 and m.edges[2, 1] == 1 and m.edges[2, 3] == 1
    # distances 3 2 1 0: phi .25 .5 1 2. Walk 0 1 2 and a cut: .5 .5 - .25, .5 1 - .5; 3 as the end: 0 - 1
    (out,) = run(stack, walk([0, 1, 2, 3]))
    assert out == pytest.approx([0.0, 0.0, -1.0])  # phi grows by 1 / decay a step, which gamma takes back
    stack.shapers[0].gamma = 1.0
    (out,) = run(stack, walk([0, 1, 2, 3], terminated=False))
    assert out == pytest.approx([0.25, 0.5, 1.0])


def test_a_new_way_shortens_distances_and_an_unknown_state_is_new():
    stack = Stack([GraphDistance(eps=0.5, decay=0.5, gamma=1.0)])
    run(stack, walk([0, 1, 2, 3, 4], won=True))
    (out,) = run(stack, walk([9, 4], won=True))  # 9 is new and has no way: 0; then a goal, but the end
    assert out.tolist() == [0.0]
    (out,) = run(stack, walk([0, 9], terminated=False))  # 0 -> 9 -> 4: two steps instead of four
    assert out == pytest.approx([0.5 - 0.5**4])
    (out,) = run(stack, walk([0, 9], terminated=False))
    assert out == pytest.approx([0.5 - 0.25])


def test_edges_lead_back_unless_directed():
    for directed, phi in ((False, 0.5), (True, 0.0)):
        stack = Stack([GraphDistance(decay=0.5, gamma=1.0, directed=directed)])
        run(stack, walk([5, 6], won=True), walk([5, 7], won=False))  # from 7 nobody has come back
        run(stack, walk([6, 7]))
        stack.train(False)
        (out,) = run(stack, walk([5, 7], terminated=False))
        assert out == pytest.approx([phi - 0.5])


def test_goals_of_the_reset_are_looked_up_on_the_map():
    stack = Stack([GraphDistance(goal="goal", decay=0.5, gamma=1.0)])
    run(stack, walk([0, 1, 2], goal=2))
    (near,) = run(stack, walk([0, 1], goal=1, terminated=False))
    (far,) = run(stack, walk([0, 1], goal=50, terminated=False))
    assert near == pytest.approx([1.0 - 0.5]) and far.tolist() == [0.0]
    with pytest.raises(MissingFact, match="'goal'"):
        run(stack, walk([0, 1]))
    with pytest.raises(MissingFact, match="'success'"):
        run(Stack([GraphDistance()]), Trajectory([0, 1], [0], np.zeros(1), True, False, [{}, {}]))


@pytest.mark.parametrize("replace, gone", [("oldest", 1.0), ("least", 3.0)])
def test_a_full_map_lets_a_node_go_and_never_the_goal_first(replace, gone):
    stack = Stack([GraphDistance(nodes_max=4, replace=replace, gamma=1.0)])
    run(stack, walk([0, 1, 2, 1, 2, 0], won=True))
    run(stack, walk([3, 2]))
    m = stack.shapers[0]
    assert m.nodes.ravel().tolist() == [0, 1, 2, 3] and m.goals[0]
    run(stack, walk([8, 2]))  # 0 is the oldest, and the goal; 3 was walked once
    assert gone not in m.nodes and m.nodes[m.goals].tolist() == [[0.0]] and len(m.nodes) == 4
    assert m.edges[list(m.nodes.ravel()).index(8.0)].sum() == 1  # what led to the old one is forgotten


def test_memory_is_read_only_in_evaluation_and_survives():
    stack = Stack([GraphDistance(gamma=0.9, decay=0.5)])
    run(stack, walk([0, 1, 2, 3], won=True))
    twin = Stack([load(stack.shapers[0].spec())])
    twin.load_state_dict(stack.state_dict())
    for s in (stack, twin):
        s.train(False)
    a, b = (run(s, walk([0, 1.2, 77, 2, 3], won=True)) for s in (stack, twin))
    assert np.array_equal(a, b) and np.any(a) and len(stack.shapers[0].nodes) == 4
    assert C.policy_invariant(_filled(), gamma=0.9) and not C.policy_invariant(_filled(), gamma=0.5)


def _filled():
    """A layer whose setup brings a map along: the check makes its own stacks."""

    class Filled(GraphDistance):
        def setup(self, rng):
            super().setup(rng)
            self.nodes, self.clock = np.arange(5.0)[:, None], 5
            self.edges, self.births = np.eye(5, k=1, dtype=np.int64), np.arange(5)
            self.goals = np.arange(5) == 4

    return Filled(gamma=0.9, decay=0.5, weight=3.0)


@given(st.lists(st.integers(0, 6), min_size=2, max_size=15), st.booleans(), st.floats(0.1, 1.0))
def test_shaping_telescopes_even_while_the_map_is_made(places, terminated, gamma):
    stack = Stack([GraphDistance(gamma=gamma, decay=0.7)])
    run(stack, walk([0, 1, 2, 3], won=True))
    m = stack.shapers[0]
    stack.train(False)
    start, end = (float(m._phi(np.array([float(x)]), None)) for x in (places[0], places[-1]))
    (out,) = run(stack, walk(places, terminated=terminated))
    left = 0.0 if terminated else gamma ** (len(places) - 1) * end
    assert discounted(out, gamma) == pytest.approx(left - start, abs=1e-9)
    stack.train(True)
    (out,) = run(stack, walk(places, won=True))  # now nodes and ways are added on the way
    assert discounted(out, gamma) <= 1e-9  # what is held is never more than what was paid for it


def test_distances_against_a_plain_search():
    rng = np.random.default_rng(0)
    for n in (1, 5, 12):
        near = rng.random((n, n)) < 0.25
        goal = int(rng.integers(n))
        want = np.full(n, math.inf)
        want[goal] = 0
        for _ in range(n):  # relaxation
            for i, j in itertools.product(range(n), repeat=2):
                if near[i, j]:
                    want[i] = min(want[i], want[j] + 1)
        assert np.array_equal(steps_from(near, [goal]), want)
    assert np.isinf(steps_from(np.zeros((3, 3), bool), [])).all()


def test_features_of_all_kinds_of_observations():
    assert features_of(3).tolist() == [3.0] and features_of(np.eye(2)).tolist() == [1, 0, 0, 1]
    assert features_of({"b": 1, "a": (2, np.array([3]))}).tolist() == [2, 3, 1]
    a, b = features_of("you are in the kitchen"), features_of("You are in the kitchen.")
    assert np.array_equal(a, b) and a.shape == (128,)
    with pytest.raises(TypeError, match="object has no features"):
        features_of(object())
    with pytest.raises(ValueError, match="2 features after nodes of 1"):
        run(Stack([GraphDistance()]), walk([0, (1, 2)]))


def test_a_map_of_frozen_lake_guides_after_one_success():
    env = shape(
        gym.make("FrozenLake-v1", is_slippery=False),
        [GraphDistance(gamma=1.0, decay=0.8)],
        facts={"success": lambda t: bool(t.reward)},
    )
    way = [1, 1, 2, 2, 1, 2]  # down, down, right, right, down, right: six steps to the goal
    for expected in ([0] * 5 + [1], [0.8 ** (5 - i) - 0.8 ** (6 - i) for i in range(5)] + [1 - 0.8]):
        env.reset(seed=0)
        assert [env.step(a)[1] for a in way] == pytest.approx(expected)


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"decay": 1.0}, "decay = 1.0"),
        ({"gamma": 1.1}, "gamma = 1.1"),
        ({"eps": -1.0}, "eps = -1.0"),
        ({"nodes_max": 1}, "nodes_max = 1"),
        ({"nodes_max": 2.5}, "setting 'nodes_max'"),
        ({"weight": float("nan")}, "'weight' is nan"),
        ({"replace": "random"}, "setting 'replace'"),
        ({"features": "os:system"}, "not allowed"),
    ],
)
def test_graph_distance_refuses(settings, words):
    with pytest.raises((ValueError, ImportError), match=words):
        Stack([GraphDistance(**settings)])


# -- SCAR ----------------------------------------------------------------------------------------
CARD = {(): 0, (0,): 1, (1,): 0, (2,): 0, (0, 1): 3, (0, 2): 1, (1, 2): 0, (0, 1, 2): 4}


def steps(n=3, subgoals=(), rewards=None, turns=None):
    infos = [{"subgoals": {k: k in held for k in "abc"}} for held in ((), *subgoals)] if subgoals else [{}] * (n + 1)
    if turns:
        infos = [dict(i) | {"turn": t} for i, t in zip(infos, turns)]
    return Trajectory([0] * (n + 1), [0] * n, np.array(rewards or [0.0] * n), True, False, infos)


def shared(value, traj, **settings):
    return Stack([ShapleySteps(value=value, **settings)]).run([traj])[0].rewards


def test_scar_of_the_card():
    value = lambda traj, s: CARD[s]  # noqa: E731
    assert shared(value, steps()) == pytest.approx([7 / 3, 4 / 3, 1 / 3])
    half = shared(value, steps(), alpha=0.5)
    assert half == pytest.approx([1.166667, 0.666667, 2.166667], abs=1e-6) and half.sum() == pytest.approx(4.0)


def test_scar_by_hand():
    # sub-goals a b c, step 0 reaches a, step 1 loses it, step 2 reaches a and b. a is shared, b is step 2's: 1/6, 0, 1/2
    again = steps(3, ("a", "", "ab"), rewards=[1.0, 2.0, 3.0])
    assert shared(covered, again) == pytest.approx([1 / 6, 0.0, 1 / 6 + 1 / 3])
    assert shared(covered, again, combine="add") == pytest.approx([7 / 6, 2.0, 3.5])
    # a is reached once and kept: to idle while it holds earns nothing
    traj = steps(3, ("a", "ab", "ab"), rewards=[1.0, 2.0, 3.0])
    assert shared(covered, traj) == pytest.approx([1 / 3, 1 / 3, 0.0])
    assert shared(earned, traj) == pytest.approx([1.0, 2.0, 3.0])  # an additive game: each its own
    # v(none) = 3 of v(all) = 9: the six beyond are earned, the three are shared
    always = lambda traj, s: 3.0 + earned(traj, s)  # noqa: E731
    assert shared(always, traj).sum() == pytest.approx(6.0)
    assert shared(always, traj, conserve=True) == pytest.approx([2.0, 3.0, 4.0])
    with pytest.raises(MissingFact, match="'subgoals'"):
        shared(covered, steps())


def test_owens_value_by_hand():
    # glove game: steps 0 and 1 are left gloves, 2 is a right one; v = 1 with a pair. Shapley: 1/6, 1/6, 2/3.
    # runs {0, 1} and {2}: a run is worth 1/2; the gloves of the first share: 1/4, 1/4, 1/2
    glove = lambda traj, s: float(2 in s and (0 in s or 1 in s))  # noqa: E731
    assert shared(glove, steps()) == pytest.approx([1 / 6, 1 / 6, 2 / 3])
    assert shared(glove, steps(), segments=2) == pytest.approx([0.25, 0.25, 0.5])
    assert shared(glove, steps(turns=[0, 0, 1, 1]), segments="turn") == pytest.approx([0.25, 0.25, 0.5])
    with pytest.raises(MissingFact, match="'turn'"):
        shared(glove, steps(), segments="turn")


def tables(n):
    return st.lists(st.floats(-5, 5), min_size=1 << n, max_size=1 << n).map(lambda v: [0.0, *v[1:]])


@given(tables(4), st.floats(0, 1), st.integers(0, 4), st.integers(0, 10))
def test_efficiency_for_every_alpha_and_way_to_compute(v, alpha, segments, exact):
    value = lambda traj, s: v[sum(1 << i for i in s)]  # noqa: E731
    out = shared(value, steps(4), alpha=alpha, segments=segments, exact=exact, orders=5)
    assert out.sum() == pytest.approx(v[-1], abs=1e-9)


@given(tables(4), tables(4))
def test_null_steps_symmetry_and_additivity(v, w):
    f, g = (lambda s, t=t: t[s] for t in (v, w))
    both = owen([[0, 1], [2, 3]], lambda s: f(s) + g(s))
    assert both == pytest.approx(owen([[0, 1], [2, 3]], f) + owen([[0, 1], [2, 3]], g), abs=1e-9)
    idle = owen([[0, 1], [2, 3]], lambda s: f(s & ~8))  # step 3 adds nothing
    assert idle[3] == pytest.approx(0.0, abs=1e-12)
    alike = owen([[0, 1], [2, 3]], lambda s: v[bin(s & 3).count("1")])
    assert alike[0] == pytest.approx(alike[1]) and alike[2:] == pytest.approx([0, 0])


@given(tables(4))
def test_owens_values_by_all_orders_that_keep_runs_together(v):
    runs = [[0, 1], [2], [3]]
    kept = [
        [i for run in order for i in inner[runs.index(run)]]
        for order in itertools.permutations(runs)
        for inner in itertools.product(*(list(itertools.permutations(r)) for r in runs))
    ]
    want = shapley(4, v.__getitem__, kept)
    assert owen(runs, v.__getitem__) == pytest.approx(want, abs=1e-9)
    assert owen([[i] for i in range(4)], v.__getitem__) == pytest.approx(shapley(4, v.__getitem__), abs=1e-9)
    assert owen([[0, 1, 2, 3]], v.__getitem__) == pytest.approx(shapley(4, v.__getitem__), abs=1e-9)
    among = shapley(3, lambda s: v[sum(sum(1 << i for i in r) for k, r in enumerate(runs) if s >> k & 1)])
    assert owen(runs, v.__getitem__)[:2].sum() == pytest.approx(among[0], abs=1e-9)


def test_random_orders_come_near_the_exact_values():
    traj = steps(12, rewards=list(np.linspace(0, 1, 12)))
    squared = lambda traj, s: earned(traj, s) ** 2  # noqa: E731
    exact = shared(squared, traj, exact=12)
    rough, fine = (np.abs(shared(squared, traj, orders=n) - exact).max() for n in (8, 2_000))
    assert fine < rough / 4 and rough > 0.5  # of values up to 6
    stack = Stack([ShapleySteps(value=squared)])
    stack.run([traj, steps(3)])
    assert stack.stats() == {"shapley_steps/exact": 1.0, "shapley_steps/sampled": 1.0}


def test_coalitions_as_steps():
    assert members(0, 3) == () and members(0b1011, 4) == (0, 1, 3) and members(1 << 70, 71) == (70,)
    assert shared(earned, steps(0)).shape == (0,)


@pytest.mark.parametrize(
    "settings, words",
    [
        ({}, "value is missing"),
        ({"value": earned, "alpha": 1.5}, "alpha = 1.5"),
        ({"value": earned, "exact": 30}, "exact = 30"),
        ({"value": earned, "orders": 0}, "orders = 0"),
        ({"value": earned, "segments": -1}, "segments = -1"),
        ({"value": earned, "combine": "both"}, "setting 'combine'"),
        ({"value": "milepost.wrappers.episode.scar:earnt"}, "has no 'earnt'"),
        ({"value": "milepost.wrappers.maths:EXACT"}, "a function is expected"),
    ],
)
def test_shapley_steps_refuses(settings, words):
    with pytest.raises(ValueError, match=words):
        Stack([ShapleySteps(**settings)])


def test_a_value_that_is_no_number_is_an_error_and_names_survive():
    with pytest.raises(ValueError, match=r"value gave nan for the steps \(\)"):
        shared(lambda traj, s: math.nan, steps())
    spec = json.loads(json.dumps(ShapleySteps(value="milepost.wrappers.episode.scar:earned", segments=2).spec()))
    assert load(spec).spec() == spec


@pytest.mark.parametrize(
    "shaper",
    [
        GraphDistance(directed=True, eps=0.0, nodes_max=3, replace="least", gamma=0.9),
        GraphDistance(goal="score", key="progress", eps=0.1, gamma=1.0),
        ShapleySteps(value="milepost.wrappers.episode.scar:covered", segments=2, exact=2, orders=3, conserve=True),
        ShapleySteps(value="milepost.wrappers.episode.scar:covered", segments="valid_action", combine="add", alpha=0.5),
    ],
    ids=["directed", "goal", "sampled", "runs"],
)
def test_settings_conform(shaper):
    C.check_shaper(shaper)

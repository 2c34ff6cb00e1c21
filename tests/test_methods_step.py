"""Step methods that read one number or one thing: potential, score, counts."""

import hashlib
import itertools
import json

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.wrappers import (
    CountBonus,
    EpisodicCountDiscount,
    HopProgress,
    MissingFact,
    PotentialShaping,
    Scale,
    ScoreDelta,
    ScoreDeltaWin,
    Stack,
    SubgoalOptions,
    Trajectory,
    Transition,
    Uniform,
    load,
    shape,
)
from milepost.wrappers.maths import fingerprint

pytestmark = pytest.mark.core
unit = st.floats(0, 1)
gammas = st.floats(0, 1)


def traj(rewards, terminated=True, obs=None, terms=None, **facts):
    """An episode; each fact is a list of T + 1 values."""
    n = len(rewards)
    infos = [{k: v[i] for k, v in facts.items()} for i in range(n + 1)]
    terms = {k: np.array(v, float) for k, v in (terms or {}).items()}
    return Trajectory(
        obs or list(range(n + 1)), [0] * n, np.array(rewards, float), terminated, not terminated, infos, {}, terms
    )


def run(shaper, *trajs):
    out = [t.rewards for t in Stack([shaper]).run(list(trajs))]
    return out[0] if len(out) == 1 else out


def discounted(x, gamma):
    return float(np.sum(np.asarray(x) * gamma ** np.arange(len(x))))


# -- potential ---------------------------------------------------------------------------------
def test_potential_card():
    # classic card 11: phi = 0, .3, .6, .97 at gamma .99 sums, discounted, to .99^3 .97 = .941190; with phi = 0 at the end to 0
    phi = [0, 0.3, 0.6, 0.97]
    kept = run(PotentialShaping(), traj([0] * 3, terminated=False, progress=phi))
    assert discounted(kept, 0.99) == pytest.approx(0.941190, abs=1e-6)
    ended = run(PotentialShaping(), traj([0] * 3, progress=phi))
    # by hand: .99 * .3 - 0, .99 * .6 - .3, 0 - .6
    assert ended == pytest.approx([0.297, 0.294, -0.6])
    assert discounted(ended, 0.99) == pytest.approx(0.0, abs=1e-12)


def test_potential_by_hand_with_a_function():
    # phi(x) = x / 2 on 0, 2, 4 with gamma 1/2 and rewards 1, 1: 1 + .5 * 1 - 0, 1 + .5 * 2 - 1; truncated, so phi(4) counts
    t = traj([1, 1], terminated=False, obs=[0, 2, 4])
    assert run(PotentialShaping(phi=lambda x: x / 2, gamma=0.5), t) == pytest.approx([1.5, 1.0])


@given(st.lists(unit, min_size=2, max_size=9), gammas, st.booleans())
def test_potential_telescopes(phi, gamma, terminated):
    f = run(PotentialShaping(gamma=gamma), traj([0] * (len(phi) - 1), terminated, progress=phi))
    last = 0.0 if terminated else gamma ** len(f) * phi[-1]
    assert discounted(f, gamma) == pytest.approx(last - phi[0], abs=1e-9)


@given(st.lists(unit, min_size=1, max_size=6), st.floats(0, 1), st.integers(1, 20))
def test_going_in_circles_never_pays(cycle, gamma, times):
    path = [*(cycle * times), cycle[0]]  # ends where it started
    f = run(PotentialShaping(gamma=gamma), traj([0] * (len(path) - 1), terminated=False, progress=path))
    assert discounted(f, gamma) <= 1e-9


def test_potential_of_a_terminal_state_is_never_read():
    t = traj([0, 1], progress=[0.5, 0.5, float("nan")])
    assert run(PotentialShaping(gamma=1.0), t) == pytest.approx([0.0, 0.5])


def test_potential_columns_equal_lanes_on_a_vector_environment():
    def phi(x):  # one observation or a batch
        return x[..., 2] ** 2

    def rewards(batched):
        envs = gym.make_vec("CartPole-v1", 3, vectorization_mode="sync")
        envs = shape(envs, [PotentialShaping(phi=phi, batched=batched)])
        assert envs.columns == batched
        envs.reset(seed=1)
        return np.array([envs.step(np.array([k % 2, 1, 0]))[1] for k in range(40)])

    assert rewards(True) == pytest.approx(rewards(False))


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"gamma": 1.5}, "gamma = 1.5, allowed is 0 to 1"),
        ({"key": ""}, "give phi"),
        ({"batched": True}, "no phi is given"),
        ({"gamma": "x"}, "setting 'gamma'"),
    ],
)
def test_potential_refuses(settings, said):
    with pytest.raises(ValueError, match=said):
        PotentialShaping(**settings)


def test_potential_refuses_what_is_no_function_and_what_is_not_published():
    with pytest.raises(ValueError, match="a function of the observation"):
        Stack([PotentialShaping(phi=3)])
    with pytest.raises(MissingFact, match="'progress'"):
        run(PotentialShaping(), traj([1.0]))


# -- exact policy invariance on small decision processes -----------------------------------------
class Maze:
    """Four states, two actions that may slip, a random reward table, progress = a random function of the state."""

    def __init__(self, seed, depth=4):
        rng = np.random.default_rng(seed)
        self.depth, self.r, self.phi = depth, rng.normal(size=(4, 2, 4)), rng.random(4)
        self.gamma = 0.9

    def outcomes(self, s, a):
        return [(0.7, (s + 1 + a) % 4), (0.3, s)]

    def ret(self, path, shaper):
        obs = [path[0][0], *(p[2] for p in path)]
        facts = {
            "progress": [self.phi[o] for o in obs],
            "score": [float(o) for o in obs],
            "subgoals": [{str(k): k == o for k in range(4)} for o in obs],
        }
        t = traj([self.r[p] for p in path], obs=obs, **facts)
        return discounted(t.rewards if shaper is None else run(shaper, t), self.gamma)

    def best(self, shaper):
        """The best actions after every history, by backward induction over all histories."""
        choice = {}

        def value(path, s):
            if len(path) == self.depth or (path and s == 0):
                return self.ret(path, shaper)
            q = [sum(p * value([*path, (s, a, s2)], s2) for p, s2 in self.outcomes(s, a)) for a in (0, 1)]
            choice[tuple(path)] = tuple(np.isclose(q, max(q), atol=1e-9))
            return max(q)

        value([], 2)
        return choice


def invariant(shaper, seeds=3):
    return all(Maze(s).best(None) == Maze(s).best(shaper) for s in range(seeds))


def test_potential_leaves_every_best_action_best():
    assert invariant(PotentialShaping(gamma=0.9))
    assert not invariant(PotentialShaping(gamma=0.2))  # the wrong discount: the check can fail


def test_the_other_claims_of_policy_invariance():
    for kept in (
        HopProgress(gamma=0.9),
        SubgoalOptions(potential=True, gamma=0.9),
        Scale(3.0, PotentialShaping(gamma=0.9)),
    ):
        assert invariant(kept), kept
    for lost in (HopProgress(gamma=0.9, terminal_potential=None), SubgoalOptions(beta=2.0), ScoreDelta(max_score=None)):
        assert not lost.policy_invariant and not invariant(lost), lost


# -- score -------------------------------------------------------------------------------------
def test_score_delta_card():
    # agentic card 11: deltas 1, 1, 0, 1 of at most 5. Lost: .2, .2, 0, .2. Won: thirds. Won with 1, -1, 1: .5, -.5, .5
    s = {"score": [0, 1, 2, 2, 3], "max_score": [5] * 5}
    lost = traj([0] * 4, **s, success=[False] * 5)
    won = traj([0] * 4, **s, success=[True] * 5)
    assert run(ScoreDelta(), lost) == pytest.approx([0.2, 0.2, 0, 0.2])
    assert run(ScoreDeltaWin(), lost) == pytest.approx([0.2, 0.2, 0, 0.2])
    assert run(ScoreDeltaWin(), won) == pytest.approx([1 / 3, 1 / 3, 0, 1 / 3])
    mixed = traj([0] * 3, score=[0, 1, 0, 1], max_score=[9] * 4, success=[True] * 4)
    assert run(ScoreDeltaWin(), mixed) == pytest.approx([0.5, -0.5, 0.5])


def test_score_delta_by_hand():
    # from 2 to 3 to 1 with divisor 4 on rewards 1, 0: 1 + 1/4, 0 - 2/4; what was scored at the reset is not paid
    t = traj([1, 0], points=[2, 3, 1])
    assert run(ScoreDelta(key="points", max_score=4.0), t) == pytest.approx([1.25, -0.5])
    assert run(ScoreDelta(key="points", max_score=None), t) == pytest.approx([2.0, -2.0])
    nothing = traj([0, 0], score=[0, 0, 0], max_score=[0, 0, 0], success=[False] * 3)
    assert run(ScoreDelta(), nothing) == pytest.approx([0, 0]) and run(ScoreDeltaWin(), nothing) == pytest.approx(
        [0, 0]
    )


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=9), st.integers(1, 9), st.booleans())
def test_score_sums(scores, most, won):
    n = len(scores) - 1
    t = traj([0] * n, score=scores, max_score=[most] * (n + 1), success=[won] * (n + 1))
    assert run(ScoreDelta(), t).sum() == pytest.approx((scores[-1] - scores[0]) / most)
    ups = sum(b > a for a, b in itertools.pairwise(scores))
    divisor = max(1, ups) if won else most
    assert run(ScoreDeltaWin(), t).sum() == pytest.approx((scores[-1] - scores[0]) / divisor)


def test_an_oscillating_score_and_a_useless_action_pay_nothing():
    swing = traj([0] * 100, score=[k % 2 for k in range(101)], max_score=[1] * 101)
    assert run(ScoreDelta(), swing).sum() == pytest.approx(0)
    idle = traj([0] * 50, score=[3] * 51, max_score=[5] * 51, success=[True] * 51)
    assert not run(ScoreDelta(), idle).any() and not run(ScoreDeltaWin(), idle).any()


def test_score_delta_is_the_same_online_and_at_a_cut():
    class Count(gym.Env):
        observation_space, action_space = gym.spaces.Discrete(9), gym.spaces.Discrete(2)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            self.x = 0
            return 0, {"score": 0.0, "max_score": 8.0}

        def step(self, a):
            self.x += int(a)
            return self.x, 0.0, self.x == 8, False, {"score": float(self.x), "max_score": 8.0}

    env = shape(gym.wrappers.TimeLimit(Count(), 4), [ScoreDelta()])
    for _ in range(2):  # the second episode starts from its own reset
        env.reset(seed=0)
        assert [env.step(a)[1] for a in (1, 0, 1, 1)] == pytest.approx([1 / 8, 0, 1 / 8, 1 / 8])


@pytest.mark.parametrize("cls", [ScoreDelta, ScoreDeltaWin])
def test_score_refuses(cls):
    with pytest.raises(ValueError, match=r"max_score = -1"):
        cls(max_score=-1)
    for lacking in ("score", "max_score"):
        facts = {"score": [0, 1], "max_score": [1, 1], "success": [True, True]}
        del facts[lacking]
        with pytest.raises(MissingFact, match=repr(lacking)):
            run(cls(), traj([0.0], **facts))
    with pytest.raises(MissingFact, match="'won'"):
        run(ScoreDeltaWin(success="won"), traj([0.0], score=[0, 1], max_score=[1, 1]))


# -- counts ------------------------------------------------------------------------------------
def test_count_bonus_by_hand():
    # a, b, a, a with beta .3: first a .3, first b .3, second a .3 / sqrt 2, third a .3 / sqrt 3
    t = traj([0, 1, 0, 0], obs=["start", "a", "b", "a", "a"])
    assert run(CountBonus(beta=0.3), t) == pytest.approx([0.3, 1.3, 0.3 / 2**0.5, 0.3 / 3**0.5])


def test_count_bonus_of_a_fact_goes_on_over_episodes():
    # rooms hall, hall | hall: the counts 1, 2 | 3 with beta 1
    stack = Stack([CountBonus(beta=1.0, key="room")])
    (first,) = stack.run([traj([0, 0], room=["hall"] * 3)])
    (second,) = stack.run([traj([0], room=["hall"] * 2)])
    assert first.rewards == pytest.approx([1, 2**-0.5]) and second.rewards == pytest.approx([3**-0.5])


@given(st.integers(1, 200))
def test_repeating_pays_less_and_less(n):
    pay = run(CountBonus(beta=0.5), traj([0] * n, obs=["same"] * (n + 1)))
    assert (np.diff(pay) < 0).all() and pay.sum() <= 0.5 * (2 * n**0.5 - 1) + 1e-9


def test_counts_are_read_only_in_evaluation_and_can_be_saved():
    stack, t = Stack([CountBonus()]), traj([0, 0], obs=["a", "b", "b"])
    stack.run([t])
    saved = json.loads(json.dumps(stack.state_dict()))
    stack.train(False)
    once, again = stack.run([t])[0].rewards, stack.run([t])[0].rewards
    assert (once == again).all() and stack.state_dict() == saved
    other = Stack([CountBonus()])
    other.load_state_dict(saved)
    other.train(False)
    assert (other.run([t])[0].rewards == once).all()


things = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=2), x, max_size=3),
    max_leaves=5,
)


@given(things, things)
def test_fingerprints_tell_things_apart(a, b):
    def plain(x):  # True == 1 and 1 == 1.0 in Python; a world may mean different things by them
        if isinstance(x, dict):
            return "dict", sorted((k, plain(v)) for k, v in x.items())
        if isinstance(x, list):
            return "list", [plain(v) for v in x]
        return type(x).__name__, str(x + 0.0 if isinstance(x, float) else x)

    assert (fingerprint(a) == fingerprint(b)) == (plain(a) == plain(b))


def test_fingerprints_of_equal_observations_are_equal():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint(np.int64(3)) == fingerprint(3) and fingerprint(np.array(0.5)) == fingerprint(0.5)
    assert fingerprint(np.array([0.0])) == fingerprint(np.array([-0.0])) and fingerprint(0.0) == fingerprint(-0.0)
    assert fingerprint(np.zeros((2, 3))) != fingerprint(np.zeros((3, 2)))
    assert fingerprint(np.arange(4)[::2]) == fingerprint(np.array([0, 2]))
    assert fingerprint(["a", "b"]) != fingerprint(["ab", ""]) and fingerprint({1, 2}) == fingerprint({2, 1})
    # the same in every process and release: checkpoints hold these
    assert fingerprint("x") == hashlib.blake2b(b"str1:x", digest_size=16).hexdigest()
    with pytest.raises(TypeError, match="a object cannot be counted"):
        fingerprint([object()])


def test_count_bonus_refuses():
    with pytest.raises(ValueError, match="beta = -1"):
        CountBonus(beta=-1.0)
    with pytest.raises(MissingFact, match="'room'"):
        run(CountBonus(key="room"), traj([0.0]))


# -- discount by count -------------------------------------------------------------------------
def test_count_discount_card():
    # classic card 3: a caption with label 1 and coefficient .4 seen three times: .4, .4 / 8, .4 / 27; the other term stays
    t = traj([0.4, 1.4, 0.4], terms={"env": [0, 1, 0], "hint": [0.4] * 3}, message=["", "hi", "hi", "hi"])
    out = run(EpisodicCountDiscount(of="hint", key="message"), t)
    assert out == pytest.approx([0.4, 1.05, 0.0148148], abs=1e-6)


def test_count_discount_by_hand_of_a_child():
    # the child adds 1, 2, 3 (raw score changes) at a, b, a; b = 1: 1, 2, 3 / 2; the environment's own 10 is untouched
    t = traj([10, 10, 10], obs=["s", "a", "b", "a"], score=[0, 1, 3, 6])
    out = run(EpisodicCountDiscount(child=ScoreDelta(max_score=None), exponent=1.0), t)
    assert out == pytest.approx([11, 12, 11.5])
    # and with neither child nor term, the whole reward: 10, 10, 10 / 2
    assert run(EpisodicCountDiscount(exponent=1.0), t) == pytest.approx([10, 10, 5])


@given(st.integers(1, 300), st.floats(0.01, 2))
def test_one_caption_earns_at_most_zeta(n, x):
    t = traj([x] * n, obs=["same"] * (n + 1))
    assert run(EpisodicCountDiscount(), t).sum() <= x * 1.2020569032


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=12))
def test_counts_of_an_episode_start_anew_and_exponent_0_changes_nothing(obs):
    t = traj(np.linspace(-1, 1, len(obs)), obs=["s", *obs])
    one, two = run(EpisodicCountDiscount(), t, t)
    assert (one == two).all()
    assert run(EpisodicCountDiscount(exponent=0.0), t) == pytest.approx(t.rewards)


def test_count_discount_online_equals_recorded():
    class Two(gym.Env):
        observation_space, action_space = gym.spaces.Discrete(2), gym.spaces.Discrete(2)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            return 0, {}

        def step(self, a):
            return int(a), 1.0, False, False, {}

    env = shape(Two(), [EpisodicCountDiscount(child=CountBonus(beta=1.0))])
    env.reset(seed=0)
    online = [env.step(a)[1] for a in (1, 1, 0, 1)]
    # bonus of the child 1, 2^-.5, 1, 3^-.5; occurrences 1, 2, 1, 3
    assert online == pytest.approx([2, 1 + 2**-0.5 / 8, 2, 1 + 3**-0.5 / 27])


def test_count_discount_refuses():
    with pytest.raises(ValueError, match="not both"):
        EpisodicCountDiscount(child=CountBonus(), of="env")
    with pytest.raises(ValueError, match="a step shaper is expected"):
        EpisodicCountDiscount(child=Uniform())
    with pytest.raises(ValueError, match="exponent = -1"):
        EpisodicCountDiscount(exponent=-1.0)
    with pytest.raises(MissingFact, match="'score'"):  # what a child needs is named too
        run(EpisodicCountDiscount(child=ScoreDelta()), traj([0.0]))


# -- all of them -------------------------------------------------------------------------------
ALL = [PotentialShaping(), ScoreDelta(), ScoreDeltaWin(), CountBonus(), EpisodicCountDiscount()]


@pytest.mark.parametrize("shaper", ALL, ids=lambda m: type(m).__name__)
def test_spec_round_trip_and_empty_episode(shaper):
    again = load(json.loads(json.dumps(shaper.spec())))
    assert again == shaper and again is not shaper
    facts = {"progress": [0.1], "score": [0.0], "max_score": [1.0], "success": [False]}
    assert run(again, traj([], **facts)).shape == (0,)


@pytest.mark.parametrize("shaper", [PotentialShaping(), ScoreDelta()], ids=lambda m: type(m).__name__)
@given(data=st.data())
def test_columns_equal_lanes(shaper, data):
    n = 3
    column = st.lists(st.floats(0, 1), min_size=n, max_size=n).map(np.array)
    rows = [{"progress": data.draw(column), "score": data.draw(column), "max_score": np.full(n, 2.0)} for _ in range(4)]
    ends, reward = data.draw(st.lists(st.booleans(), min_size=n, max_size=n).map(np.array)), data.draw(column)
    m = load(shaper)
    m.setup(np.random.default_rng(0))
    states = m.init(None, rows[0])
    lanes = [m.init(None, {k: v[i] for k, v in rows[0].items()}) for i in range(n)]
    for info in rows[1:]:
        got, states = m.step(states, Transition(None, None, reward, None, ends, ~ends, info, {}))
        for i in range(n):
            one = {k: float(v[i]) for k, v in info.items()}
            t = Transition(None, None, float(reward[i]), None, bool(ends[i]), not ends[i], one, {})
            want, lanes[i] = m.step(lanes[i], t)
            assert type(want) is float and got[i] == pytest.approx(want)

"""``commons``: the rules by hand, the batch, what agents see, and the tragedy in numbers."""

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("pettingzoo", reason="the extra multiagent is not installed")
from milepost import shape
from milepost.envs.multiagent import commons_v0
from milepost.envs.multiagent.commons_batch import BatchedCommons
from milepost.envs.multiagent.commons_core import DOWN, LEFT, RIGHT, STAY, TOOL, UP, Core, Rules
from milepost.envs.multiagent.commons_maps import Layout, layout
from milepost.envs.multiagent.commons_plans import plan, reference
from milepost.wrappers.collect.counterfactual import Counterfactual
from milepost.wrappers.step.difference import DifferenceReward
from milepost.wrappers.step.inequity import InequityAversion

pytestmark = pytest.mark.multiagent
SIZE = 8


def squares(*places):
    out = np.zeros(SIZE * SIZE, bool)
    for y, x in places:
        out[y * SIZE + x] = True
    return out


def drawn(homes, apples=(), river=(), waste=(), key=7, side=-1, **rules):
    """A core and a state of a map that a test draws; apples stand where they can grow."""
    core = Core(Rules(size=SIZE, players=len(homes), **rules))
    at = np.array([y * SIZE + x for y, x in homes])
    one = Layout(squares(*apples), squares(*river), squares(*apples), squares(*waste), at, key, side)
    return core, core.begin([one])


def places(core, s):
    """Row and column of each agent; None off the map."""
    return [(p // core.width - core.pad, p % core.width - core.pad) if p else None for p in s.pos[0].tolist()]


def apples(core, s):
    return set(map(tuple, np.argwhere(core.middle(s.apples)[0]).tolist()))


BLOCK = [(y, x) for y in (2, 3, 4) for x in (2, 3, 4)]  # nine apples


# -- the core, by hand ---------------------------------------------------------------------------
def test_an_apple_is_eaten_once_and_grows_back_among_many():
    # growth 10: p = min(1, 10 * 0.1) = 1 where more than 4 apples are within 2 squares. The middle (3, 3) of the block has 8.
    core, s = drawn([(3, 0), (7, 7)], BLOCK, growth=10.0)
    assert core.around(s)[0, 3, 3] == 8 and core.around(s)[0, 2, 2] == 5
    # (2, 2): itself not; (2, 3), (2, 4), (3, 2), (3, 3), (4, 2) are within 2; (3, 4) and (4, 3), at sqrt(5), are not
    got = [core.step(s, [[a, STAY]]).got[0, 0] for a in (RIGHT, RIGHT, RIGHT)]
    # (3, 1) is bare; then the apples of (3, 2) and (3, 3). (3, 2) grew back when it was left: at least 5 of the rest are near
    assert got == [False, True, True] and apples(core, s) == set(BLOCK) - {(3, 3)}
    assert not core.step(s, [[STAY, STAY]]).got.any() and (3, 3) not in apples(core, s)  # none grows under an agent
    core.step(s, [[UP, STAY]])  # to (2, 3), whose apple goes
    assert apples(core, s) == set(BLOCK) - {(2, 3)} and s.harvest.tolist() == [[3, 0]]


def test_what_is_taken_to_the_last_never_comes_back():
    core, s = drawn([(0, 0), (7, 7)], [(0, 1)], growth=10.0)
    assert core.step(s, [[RIGHT, STAY]]).got.tolist() == [[True, False]]
    for _ in range(300):
        core.step(s, [[LEFT, STAY]])
    assert not s.apples.any()


def test_the_chance_of_growth_is_that_of_the_table():
    # 1 apple near: 0.01 * 10; 3 near: 0.05 * 10; none near: 0. 20,000 maps; six standard deviations are below 0.022.
    core = Core(Rules(size=SIZE, players=2, growth=10.0))
    site, there = (
        squares((0, 0), (0, 1), (4, 4), (4, 3), (4, 5), (3, 4), (7, 0)),
        squares((0, 1), (4, 3), (4, 5), (3, 4)),
    )
    none, home = squares(), np.array([62, 63])
    s = core.begin([Layout(site, none, there, none, home, k * 7919, -1) for k in range(20_000)])
    core.step(s, np.full((20_000, 2), STAY))
    grown = core.middle(s.apples).mean(0)
    assert grown[0, 0] == pytest.approx(0.1, abs=0.022) and grown[4, 4] == pytest.approx(0.5, abs=0.022)
    assert grown[7, 0] == 0.0 and grown[0, 1] == 1.0


def test_two_who_want_a_square():
    # cycle 0 is agent 0's turn to be first, cycle 1 agent 1's
    for t, winner in ((0, 0), (1, 1), (2, 0)):
        core, s = drawn([(3, 2), (3, 4)])
        s.t = t
        core.step(s, [[RIGHT, LEFT]])
        assert places(core, s) == [(3, 3) if k == winner else at for k, at in enumerate([(3, 2), (3, 4)])]
    core, s = drawn([(3, 2), (3, 3)])
    core.step(s, [[RIGHT, LEFT]])  # nobody changes places
    assert places(core, s) == [(3, 2), (3, 3)]
    core.step(s, [[RIGHT, RIGHT]])  # a square is free when it was free at the beginning
    assert places(core, s) == [(3, 2), (3, 4)]
    core, s = drawn([(0, 0), (7, 7)])
    core.step(s, [[UP, RIGHT]])  # the map ends
    assert places(core, s) == [(0, 0), (7, 7)] and s.face.tolist() == [[UP, RIGHT]]


def test_a_beam_takes_the_first_off_the_map():
    core, s = drawn([(3, 1), (3, 3), (3, 4)], timeout=2, reach=3)
    core.step(s, [[RIGHT, STAY, STAY]])
    assert places(core, s) == [(3, 2), (3, 3), (3, 4)]
    core.step(s, [[LEFT, STAY, STAY]])
    core.step(s, [[RIGHT, STAY, STAY]])  # faces right at (3, 2)
    did = core.step(s, [[TOOL, DOWN, STAY]])  # agent 1 wanted to walk away: too late
    assert did.hit.tolist() == [[False, True, False]] and did.used.tolist() == [[True, False, False]]
    assert places(core, s) == [(3, 2), None, (3, 4)]
    seen = []
    for _ in range(2):
        core.step(s, [[STAY, UP, STAY]])  # who is off the map does nothing
        seen.append(places(core, s)[1])
    assert seen == [None, (3, 3)] and s.away.tolist() == [[0, 2, 0]]  # 2 cycles, then at home again
    assert core.outcomes(s)["peace"].tolist() == [3 - 2 / 6]
    # who comes back waits until its home is free
    core.step(s, [[TOOL, STAY, STAY]])
    core.step(s, [[RIGHT, STAY, STAY]])
    for _ in range(5):
        core.step(s, [[STAY, STAY, STAY]])
    assert places(core, s) == [(3, 3), None, (3, 4)]
    core.step(s, [[UP, STAY, STAY]])
    assert places(core, s) == [(2, 3), (3, 3), (3, 4)]


def test_a_beam_ends_at_the_edge_and_two_can_hit_each_other():
    core, s = drawn([(0, 1), (0, 2)])
    core.step(s, [[RIGHT, LEFT]])  # blocked, but they face each other
    assert core.step(s, [[TOOL, TOOL]]).hit.tolist() == [[True, True]] and places(core, s) == [None, None]
    core, s = drawn([(3, 7), (4, 0)])  # one square further in the array is the next row
    core.step(s, [[RIGHT, STAY]])
    assert not core.step(s, [[TOOL, STAY]]).hit.any()
    core, s = drawn([(3, 3), (3, 4)], timeout=0)
    core.step(s, [[RIGHT, STAY]])
    did = core.step(s, [[TOOL, STAY]])
    assert not did.hit.any() and not did.used.any()


def test_waste_stops_growth_and_cleaning_takes_nine_squares():
    river = [(0, x) for x in range(8)] + [(1, x) for x in range(8)]
    # 16 squares of river; 7 of them are 0.4375, 6 are 0.375
    core, s = drawn([(1, 1), (7, 7)], [(6, 0)], river, river[:8], kind="cleanup", pollution=0.0, growth=10.0)
    s.apples[:] = False
    for _ in range(50):
        core.step(s, [[STAY, STAY]])
    assert not s.apples.any() and core.dirt(s).tolist() == [0.5]
    did = core.step(s, [[TOOL, STAY]])  # (0, 0), (0, 1) and (0, 2); nothing else around has waste
    assert core.dirt(s).tolist() == [5 / 16] and did.used.tolist() == [[True, False]]
    for _ in range(100):
        core.step(s, [[STAY, STAY]])
    assert apples(core, s) == {(6, 0)}  # 0.05 * 10 * (1 - 0.3125 / 0.4) = 0.11 a cycle
    # as much waste as 10 squares a cycle: the river fills to 0.4, and no further
    core, s = drawn([(4, 4), (7, 7)], [(6, 0)], river, [], kind="cleanup", pollution=10.0)
    filled = [float(core.dirt(s)[0]) for _ in range(20) if core.step(s, [[STAY, STAY]])]
    assert filled[-1] >= 0.4 and filled[-1] == filled[-2]


def test_the_measures_of_perolat():
    core, s = drawn([(0, 0), (7, 7)])
    s.t, s.harvest[:], s.when[:], s.away[:] = 4, [[3, 1]], [[1 + 2 + 3, 4]], [[0, 2]]
    got = {k: float(v[0]) for k, v in core.outcomes(s).items()}
    # 4 apples in 4 cycles; 1 - (|3 - 1| + |1 - 3|) / (2 * 2 * 4); the mean of 2 and 4; 2 - 2 / 4
    assert got == {"efficiency": 1.0, "equality": 0.75, "sustainability": 3.0, "peace": 1.5}
    core, s = drawn([(0, 0), (7, 7)])
    assert core.outcomes(s)["equality"].tolist() == [1.0] and core.outcomes(s)["sustainability"].tolist() == [0.0]


@pytest.mark.parametrize("kind", ["harvest", "cleanup"])
def test_a_game_of_a_batch_is_the_same_alone(kind):
    core, rng = Core(Rules(kind=kind)), np.random.default_rng(0)
    maps = [layout(kind, 12, 4, task) for task in range(5)]
    many, alone, turned = core.begin(maps), core.begin(maps[3:4]), core.begin(maps[::-1])
    for _ in range(40):
        a = rng.integers(0, 6, (5, 4))
        core.step(many, a)
        core.step(alone, a[3:4])
        core.step(turned, a[::-1])
    for name, x in vars(many).items():
        if name != "t":
            assert np.array_equal(x[3:4], getattr(alone, name)) and np.array_equal(x[::-1], getattr(turned, name)), name
    assert many.harvest.sum() > 0 or kind == "cleanup"


@settings(max_examples=15)
@given(
    st.sampled_from(["harvest", "cleanup"]),
    st.integers(0, 2**30 - 1),
    st.integers(2, 16),
    st.integers(8, 20),
    st.data(),
)
def test_what_always_holds(kind, task, players, size, data):
    core = Core(Rules(kind=kind, players=players, size=size, view=data.draw(st.integers(3, 7))))
    s = core.begin([layout(kind, size, players, task)])
    rng = np.random.default_rng(task)
    for _ in range(15):
        before = s.copy()
        did = core.step(s, rng.integers(0, 6, (1, players)))
        here = s.pos[0] > 0
        at = s.pos[0][here]
        assert len(set(at.tolist())) == len(at) and not core.wall[at].any()
        assert np.array_equal(s.who[0][at], np.flatnonzero(here)) and (s.who >= 0).sum() == here.sum()
        assert not (s.apples & ~s.site).any() and not (s.waste & ~s.river).any() and not s.apples[0, at].any()
        assert np.array_equal(s.harvest - before.harvest, did.got) and did.got.sum() <= before.apples.sum()
        assert (s.out[0][here] == 0).all()


def test_the_core_refuses_what_is_no_action():
    core, s = drawn([(0, 0), (7, 7)])
    for wrong in ([[0, 6]], [[0, -1]], [0, 1], [[0.0, 1.0]]):
        with pytest.raises(ValueError, match=r"whole numbers 0 to 5 of shape .1, 2."):
            core.step(s, wrong)
    for setting, said in (
        ({"kind": "hunt"}, "kind is 'hunt'"),
        ({"players": 1}, "players is 1"),
        ({"size": 7}, "size is 7"),
        ({"view": 8}, "view is 8"),
        ({"timeout": -1}, "timeout is -1"),
        ({"reach": 4}, "reach is 4; allowed: a whole number from 1 to 3"),
        ({"growth": 0}, "growth is 0; allowed: a number over 0 to 10"),
        ({"growth": float("nan")}, "growth is nan"),
        ({"pollution": -1}, "pollution is -1; allowed: a number from 0 to 10"),
        ({"pollution": True}, "pollution is True"),
    ):
        with pytest.raises(ValueError, match=said):
            commons_v0.parallel_env(**setting)


# -- the tragedy ---------------------------------------------------------------------------------
def harvests(kind, policies, tasks=60, cycles=50):
    """(tasks, N) apples when agents play policies, one each."""
    core = Core(Rules(kind=kind, players=len(policies)))
    s = core.begin([layout(kind, 12, len(policies), t) for t in range(tasks)])
    for _ in range(cycles):
        plans = {p: plan(core, s, p, cycles) for p in set(policies)}
        core.step(s, np.stack([plans[p][:, k] for k, p in enumerate(policies)], 1))
    return s.harvest


def test_all_greedy_earn_less_than_all_oracle():
    lasting, greedy = harvests("harvest", ["oracle"] * 4), harvests("harvest", ["greedy"] * 4)
    assert lasting.sum(1).mean() > 1.5 * greedy.sum(1).mean()  # 118 and 70 over 1,000 tasks
    assert (lasting.sum(1) > greedy.sum(1)).all()
    one = harvests("harvest", ["greedy"] + ["oracle"] * 3)
    assert one[:, 0].mean() > one[:, 1:].mean()  # who takes more has more than those who do not
    many = harvests("harvest", ["greedy"] + ["oracle"] * 7)
    assert many[:, 0].mean() > harvests("harvest", ["oracle"] * 8).mean()  # and is tempted, where there are many


def test_who_does_not_clean_lives_on_those_who_do():
    lasting, greedy = harvests("cleanup", ["oracle"] * 4), harvests("cleanup", ["greedy"] * 4)
    assert greedy.sum() == 0 and lasting.sum(1).mean() > 30
    one = harvests("cleanup", ["greedy"] + ["oracle"] * 3)
    assert one[:, 0].mean() > lasting.mean() > one[:, 1:].mean()


# -- the game ------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["harvest", "cleanup"])
def test_the_game_is_the_batch(kind):
    env, rng = commons_v0.parallel_env(kind=kind, weights={"team_harvest": 0.5}), np.random.default_rng(1)
    batch = BatchedCommons(3, kind=kind, weights={"team_harvest": 0.5})
    tasks = [5, 11, 17]
    env.reset(seed=0, options={"task": 11})
    seen, told = batch.reset(tasks=tasks)
    assert seen.shape == batch.observation_shape and told["tasks"].tolist() == tasks
    words = ("up", "down", "left", "right", "wait", env.game.tool)
    for t in range(50):
        a = rng.integers(0, 6, batch.action_shape)
        a[:, 0] = [TOOL, t % 4, STAY][t % 3]
        _, rewards, _, truncated, infos = env.step({f"picker_{k}": words[a[1, k]] for k in range(4)})
        seen, paid, over, late, said = batch.step(a)
        assert list(rewards.values()) == pytest.approx(paid[1].tolist()) and not over.any()
        assert late.all() == all(truncated.values()) == (t == 49)
        assert all(np.array_equal(env.game._view(k), seen[1, k]) for k in range(4))
    assert said["harvest"][1].tolist() == [i["apples"] for i in infos.values()]
    for name in ("efficiency", "equality", "sustainability", "peace"):
        assert {i[name] for i in infos.values()} == {float(said[name][1])}
    assert batch.planes(seen).shape == (3, 4, 4, 7, 7) and set(np.unique(batch.planes(seen)).tolist()) <= {0.0, 1.0}
    with pytest.raises(RuntimeError, match="call reset"):
        batch.step(a)


def test_the_batch_refuses_and_repeats():
    batch = BatchedCommons(2)
    with pytest.raises(RuntimeError, match="call reset"):
        batch.step(np.zeros((2, 4), int))
    first, told = batch.reset(seed=3)
    again, other = batch.reset(seed=3)
    assert np.array_equal(first, again) and np.array_equal(told["tasks"], other["tasks"])
    assert not np.array_equal(batch.reset()[1]["tasks"], told["tasks"])
    assert (BatchedCommons(2, split="test").reset(seed=0)[1]["tasks"] >= 2**30).all()
    for wrong, said in (
        ({"tasks": [1]}, "tasks are 1; allowed: 2"),
        ({"tasks": [1, 2**30]}, "a task is 1073741824"),
    ):
        with pytest.raises(ValueError, match=said):
            batch.reset(**wrong)
    for wrong, said in (
        ({"weights": {"apple": 1.0}}, "a reward term is 'apple'"),
        ({"player": 3}, "a setting of BatchedCommons is 'player'.*did you mean 'players'"),
        ({"split": "all"}, "split is 'all'"),
        ({"max_cycles": 0}, "max_cycles is 0"),
    ):
        with pytest.raises(ValueError, match=said):
            BatchedCommons(2, **wrong)


def placed(env, homes, has, seed=0, **rules):
    """A game on a map that a test draws."""
    env.reset(seed=seed)
    game = env.game
    at = np.array([y * SIZE + x for y, x in homes])
    none = squares()
    game.world.state = game.core.begin([Layout(squares(*has), none, squares(*has), none, at, 7, -1)])
    game.world.cache, game.world.reference, game._seen = {}, (2,) * len(homes), {}
    return game


def test_a_game_by_hand():
    env = commons_v0.parallel_env(players=2, size=SIZE, max_cycles=4)
    game = placed(env, [(3, 3), (3, 5)], [(2, 3), (2, 4)])
    look = game.look("picker_0").split("\n")
    assert look[:6] == [
        "Nearest apple: up 1 (2 in sight).",
        "Around you: up apple, down free, left free, right free.",
        "You are picker_0 at row 4, column 4 of 8 by 8, facing up.",
        "Cycle 1 of 4. You have 0 apples.",
        "To tag ahead: nobody.",
        "In sight: picker_1 right 2.",
    ]
    assert look[8:-1] == [".......", ".......", "...AA..", "...Y.P.", ".......", ".......", "......."]
    assert game.choices("picker_0") == ("up", "down", "left", "right", "wait")
    # picker_0 takes the apple above, picker_1 walks to it; the shared square (3, 4) is free
    _, rewards, *_, infos = env.step({"picker_0": {"move": "up"}, "picker_1": "Move  LEFT"})
    assert rewards == {"picker_0": 1.0, "picker_1": 0.0} and infos["picker_0"]["apples"] == 1
    assert infos["picker_0"]["score"] == 0.5 and infos["picker_1"]["score"] == 0.0  # the reference is 2 each
    assert infos["picker_0"]["progress"] == 0.25 and infos["picker_0"]["subgoals"]["a quarter of the reference harvest"]
    # 1 of 4: now picker_1 is at (3, 4), picker_0 at (2, 3). picker_1 goes left to (3, 3), below picker_0, and faces left
    env.step({"picker_0": "stay", "picker_1": "left"})
    assert "To tag ahead: nobody." in game.look("picker_1")
    env.step({"picker_0": "wait", "picker_1": "up"})  # blocked, but it faces up now
    assert "To tag ahead: picker_0." in game.look("picker_1") and "tag" in game.choices("picker_1")
    _, rewards, terminated, truncated, infos = env.step({"picker_0": "right", "picker_1": {"action": "tag"}})
    assert rewards == {"picker_0": 0.0, "picker_1": -0.1} and infos["picker_1"]["reward_terms"]["tag"] == -0.1
    assert infos["picker_0"]["message"] == "you were tagged" and infos["picker_0"]["admissible_actions"] == ("wait",)
    assert game.look("picker_0").startswith("You are off the map and come back in 5 cycles.")
    assert all(truncated.values()) and not any(terminated.values()) and not infos["picker_0"]["success"]
    assert infos["picker_0"]["efficiency"] == 0.25 and infos["picker_0"]["equality"] == 0.5


def test_what_cannot_be_done():
    env = commons_v0.parallel_env(players=2, size=SIZE)
    game = placed(env, [(0, 3), (7, 5)], [(2, 3)])
    for wrong, said in (
        ("up", "the map ends up of you"),
        ("clean", "say up, down, left, right, tag or wait"),
        ("fly", "say up"),
        ('{"move": "up"', "say up"),
        ('{"move": {"to": 1}}', "say up"),
    ):
        before = told(game.world.state)
        game.act("picker_0", wrong)
        assert not game.info("picker_0")["valid_action"] and game.world.told[0].startswith(said)
        assert f"Last: {game.world.told[0]}." in game.look("picker_0") and told(game.world.state) == before
    game.act("picker_0", "down")
    assert game.info("picker_0")["valid_action"] and "Last:" not in game.look("picker_0")
    calm = commons_v0.parallel_env(players=2, size=SIZE, timeout=0)
    placed(calm, [(0, 3), (7, 5)], [])
    assert not calm.game._act("picker_0", "tag") and "tag" not in calm.game.look("picker_0")
    *_, infos = calm.step({"picker_0": "tag", "picker_1": "wait"})
    assert not infos["picker_0"]["valid_action"] and infos["picker_1"]["valid_action"]


def told(state):
    return {k: np.asarray(v).tolist() for k, v in vars(state).items()}


@pytest.mark.parametrize("kind", ["harvest", "cleanup"])
def test_what_is_out_of_sight_changes_nothing(kind):
    env = commons_v0.parallel_env(kind=kind, face="encoded", size=20)
    env.reset(seed=4, options={"task": 8})
    game, s = env.game, env.game.world.state
    y, x = game._at(0)
    far = np.ones((20, 20), bool)
    far[max(0, y - 4) : y + 3, max(0, x - 4) : x + 3] = False  # rows and columns count from 1, the view is 3
    assert far.any() and not far.all()

    def known():
        game.world.cache, game._seen = {}, {}
        rows = game.choices("picker_0")
        shown = env.face.show("picker_0", {})[0]
        return game.look("picker_0"), rows, *(x.tobytes() for x in shown.values())

    before = known()
    for field in (s.apples, s.waste):
        core = game.core.middle(field)
        core[0] ^= far & np.random.default_rng(0).integers(0, 2, far.shape).astype(bool)
    s.site[:], s.river[:] = False, False
    s.harvest[0, 1:] += 9  # what others have is not seen either
    game.world.reference = (99,) * 4
    assert known() == before
    game.core.middle(s.apples)[0, y - 1, x - 1 + (1 if x < 20 else -1)] ^= True
    assert known() != before


def test_rows_say_what_moves_do():
    env = commons_v0.parallel_env(players=2, size=SIZE, face="encoded")
    game = placed(env, [(3, 3), (3, 5)], [(2, 3), (2, 2), (1, 3)])
    rows = dict(zip(game.choices("picker_0"), game._measures("picker_0", game.choices("picker_0")).tolist()))
    # an apple, others within 2 squares of it (2), nobody, the nearest comes 1 closer, no waste, no tool
    assert rows["up"] == pytest.approx([1, 2 / 12, 0, 1, 0, 0])
    assert rows["down"][3] == -1 and rows["wait"][3] == 0 and rows["right"][3] == -1
    env.step({"picker_0": env.face.action_for("picker_0", "wait"), "picker_1": env.face.action_for("picker_1", "left")})
    right = game._measures("picker_0", ("right",))[0]
    assert right[2] == 1  # picker_1 is there
    gauges = game._gauges("picker_0")
    assert gauges.shape == (game.gauges,) and gauges.min() >= -1 and gauges.max() <= 1
    dirty = commons_v0.parallel_env(kind="cleanup", face="encoded")
    dirty.reset(seed=0)
    state, core = dirty.game.world.state, dirty.game.core
    wet = np.flatnonzero(state.waste[0])[0]
    core.step(state, [[STAY] * 4])
    state.who[0, state.pos[0, 0]], state.pos[0, 0], state.who[0, wet] = -1, wet, 0
    dirty.game.world.cache, dirty.game._seen = {}, {}
    here = int(core.middle(state.waste).sum())
    n = dirty.game._dirt(0)
    assert n >= 1 and "clean" in dirty.game.choices("picker_0")
    assert dirty.game._measures("picker_0", ("clean",))[0].tolist() == pytest.approx(
        [0, dirty.game._measures("picker_0", ("wait",))[0][1], 0, 0, n / 9, 1]
    )
    assert f"Waste to clean here: {n}." in dirty.game.look("picker_0") and here >= n


def play(env, policy, task):
    _, infos = env.reset(seed=0, options={"task": task})
    paid = dict.fromkeys(env.agents, 0.0)
    while env.agents:
        acts = {a: "wait" if policy == "null" else env.script(a, policy) for a in env.agents}
        _, rewards, _, _, infos = env.step(acts)
        paid = {a: paid[a] + r for a, r in rewards.items()}
    return paid, infos


@pytest.mark.parametrize("kind", ["harvest", "cleanup"])
def test_the_audit_by_hand(kind):
    env = commons_v0.parallel_env(kind=kind)
    for task in range(6):
        apples_of = reference(env.game.rules, 50, task)
        for policy in ("oracle", "collusion"):
            paid, infos = play(env, policy, task)
            cleaned = {a: -i["reward_terms"]["clean"] for a, i in infos.items()}
            assert [i["apples"] for i in infos.values()] == list(apples_of) and cleaned
            assert all(i["success"] and i["progress"] == 1.0 for i in infos.values())
            assert [i["score"] for i in infos.values()] == [min(1, a) for a in apples_of]
            assert kind == "cleanup" or list(paid.values()) == list(map(float, apples_of))
        _, infos = play(env, "greedy", task)
        assert not infos["picker_0"]["success"]  # 6 of 1,000 tasks of harvest are rich enough for it
        paid, infos = play(env, "null", task)
        assert set(paid.values()) == {0.0} and not infos["picker_0"]["success"] and infos["picker_0"]["score"] == 0.0


def test_restored_games_share_nothing():
    env = commons_v0.parallel_env()
    env.reset(seed=0)
    for _ in range(5):
        env.step({a: env.script(a) for a in env.agents})
    saved = env.snapshot()
    kept = told(saved["world"].state)
    first = play_on(env)
    assert told(saved["world"].state) == kept
    env.restore(saved)
    assert play_on(env) == first and told(saved["world"].state) == kept
    assert saved["world"].state.site is copy.deepcopy(saved["world"]).state.site  # what never changes is not copied


def play_on(env):
    out = []
    while env.agents:
        out.append(env.step({a: env.script(a, "greedy") for a in env.agents})[1])
    return out


def test_what_an_agent_adds_and_what_it_envies():
    # picker_0 eats, picker_1 waits: without picker_0 the team would have had nothing
    env = commons_v0.parallel_env(players=2, size=SIZE)
    both = {"picker_0": "up", "picker_1": "wait"}
    hosts = shape(Counterfactual(env, "wait"), [DifferenceReward()])
    hosts.reset(seed=0)
    placed(env, [(3, 3), (3, 5)], [(2, 3), (2, 4)])
    _, rewards, *_ = hosts.step(both)
    assert rewards == {"picker_0": 1.0, "picker_1": 0.0}
    # Hughes et al.: e = (1, 0); picker_0 pays beta * 1, picker_1 alpha * 1
    env = commons_v0.parallel_env(players=2, size=SIZE)
    hosts = shape(env, [InequityAversion(alpha=5.0, beta=0.05)])
    hosts.reset(seed=0)
    placed(env, [(3, 3), (3, 5)], [(2, 3), (2, 4)])
    _, rewards, *_ = hosts.step(both)
    assert rewards == pytest.approx({"picker_0": 0.95, "picker_1": -5.0})


ENV = commons_v0.parallel_env(max_cycles=1000, size=SIZE)
JSONS = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=8),
    lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=8), x, max_size=3),
    max_leaves=5,
)
OBJECTS = st.dictionaries(st.sampled_from(["move", "action", "", "tag"]), JSONS, max_size=2)


@settings(max_examples=40)
@given(st.lists(st.text(max_size=40) | OBJECTS, min_size=4, max_size=4))
def test_any_words_are_answered(actions):
    if not ENV.agents:
        ENV.reset(seed=0)
    _, rewards, *_, infos = ENV.step(dict(zip(ENV.possible_agents, actions)))
    s = ENV.game.world.state
    assert (s.pos >= 0).all() and all(np.isfinite(r) for r in rewards.values())
    assert all(infos[a]["admissible_actions"][-1] == "wait" for a in rewards)


def test_ten_megabytes_and_deep_json():
    ENV.reset(seed=0)
    long, deep = "up " * 3_500_000, '{"move":' * 5000
    *_, infos = ENV.step({"picker_0": long, "picker_1": deep, "picker_2": "\u202eup\x00", "picker_3": "[1, 2]"})
    assert not any(i["valid_action"] for i in infos.values())
    assert all(len(i["messages"][0]["content"]) <= 8192 for i in infos.values())

"""Credit inside an episode and among agents: utterance attribution (Sotopia-RL) and latent rewards (LaRe)."""

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.wrappers import Conserve, MissingFact, Stack, Trajectory, load
from milepost.wrappers import conformance as C
from milepost.wrappers.episode.lare import LatentReward, decomposition_loss
from milepost.wrappers.episode.sotopia import UtteranceAttribution

core = pytest.mark.core
pytestmark = core


def dialogue(scores, grades=None, rewards=None, n=3, each=None):
    """``grades`` stand in the last info; ``each``: one of each step."""
    n = len(each) if each is not None else n
    infos = [{} for _ in range(n + 1)]
    for k, g in enumerate(each or ()):
        infos[k + 1]["attribution"] = g
    infos[-1] |= {"scores": scores} | ({} if grades is None else {"attribution": grades})
    r = np.zeros(n) if rewards is None else np.array(rewards, float)
    return Trajectory([0] * (n + 1), [0] * n, r, True, False, infos)


def paid(t, **settings):
    return Stack([UtteranceAttribution(**settings)]).run([t])[0].rewards


# -- Sotopia-RL ----------------------------------------------------------------------------------------
G = {"goal": 9, "relationship": 3, "knowledge": 6}
A = {"goal": [3, 1, 0], "relationship": [0, 3, 1], "knowledge": [1, 2, 3]}


def test_the_cards_dialogue():
    assert paid(dialogue(G, A)) == pytest.approx([1 / 3, 11 / 18, 4 / 9])  # .3333, .6111, .4444
    for dim, want in (("goal", [9, 3, 0]), ("relationship", [0, 3, 1]), ("knowledge", [2, 4, 6])):
        assert paid(dialogue(G, A), normalize="none", weights={dim: 1.0}) == pytest.approx(want)
    assert paid(dialogue({"goal": 9}, {"goal": [3, 1, 0]}), scheme="scaled") == pytest.approx([6.75, 2.25, 0])
    seven = {**G, "secret": -10, "believability": 9, "social_rules": 0, "financial_and_material_benefits": 1}
    assert paid(dialogue(seven, A)) == pytest.approx([1 / 3, 11 / 18, 4 / 9])  # the paper's three of SOTOPIA's seven


def test_the_other_schemes_by_hand():
    t = dialogue({"goal": 8}, {"goal": [1, 3, 3]})
    assert paid(t, scheme="uniform") == pytest.approx([8, 8, 8])
    assert paid(t, scheme="singular") == pytest.approx([0, 8, 0])  # the first of the best
    assert paid(t, scheme="discounted") == pytest.approx([6.48, 7.2, 8])  # .9^2, .9, 1
    assert paid(t, scheme="discounted", discount=0.5) == pytest.approx([2, 4, 8])
    assert paid(t, scheme="scaled") == pytest.approx([8 / 7, 24 / 7, 24 / 7])
    # two dimensions of weights 2 and 0, direct, no minmax, scale 4: 2 * 8 * (1, 3, 3) / 4 over 2
    two = dialogue({"goal": 8, "tone": 5}, {"goal": [1, 3, 3], "tone": [4, 4, 4]})
    assert paid(two, normalize="none", scale=4.0, weights={"goal": 2.0, "tone": 0.0}) == pytest.approx([2, 6, 6])
    assert paid(dialogue({"goal": 8}, [1, 3, 3], [1, 0, 5]), combine="add") == pytest.approx([1, 1, 6])


def test_grades_come_from_each_step_from_a_function_or_from_the_last_info():
    want = paid(dialogue(G, A))
    rows = [{d: a[k] for d, a in A.items()} for k in range(3)]
    assert paid(dialogue(G, each=rows)) == pytest.approx(want)
    assert paid(dialogue(G), attributor=lambda t: A) == pytest.approx(want)
    same = {d: [2, 0, 1] for d in G}
    assert paid(dialogue(G, each=[2, 0, 1])) == pytest.approx(paid(dialogue(G, same)))
    assert paid(dialogue(G, [2, 0, 1])) == pytest.approx(paid(dialogue(G, same)))


def test_minmax_over_a_batch():
    # of goal 9 * (3, 1, 0) / 3 and 3 * (3, 3, 0) / 3: 9, 3, 0, 3, 3, 0 over 0 to 9
    batch = [dialogue({"goal": 9}, [3, 1, 0]), dialogue({"goal": 3}, [3, 3, 0])]
    got = [t.rewards for t in Stack([UtteranceAttribution(over="batch")]).run(batch)]
    assert np.concatenate(got) == pytest.approx([1, 1 / 3, 0, 1 / 3, 1 / 3, 0])
    alone = [t.rewards for t in Stack([UtteranceAttribution()]).run(batch)]
    assert np.concatenate(alone) == pytest.approx([1, 1 / 3, 0, 1, 1, 0])
    # the hack that the docstring names: by itself the poor episode earns more than the good one


grades = st.lists(st.one_of(st.integers(0, 3), st.sampled_from([None, -1, 7, float("nan")])), min_size=1, max_size=6)


@given(grades, st.floats(0, 10))
def test_direct_is_between_0_and_the_score_and_scaled_sums_to_it(a, g):
    t = dialogue({"goal": g}, a, n=len(a))
    direct, scaled = paid(t, normalize="none"), paid(t, scheme="scaled")
    assert (direct >= 0).all() and (direct <= g + 1e-9).all()
    known = [x for x in a if x is not None and 0 <= x <= 3]
    assert scaled.sum() == pytest.approx(g if sum(known) else 0.0)
    unit = paid(t)
    assert (unit >= 0).all() and (unit <= 1).all() and unit.shape == (len(a),)
    if g > 1e-3 and len(set(known)) > 1:
        assert unit.max() == 1
    for k, x in enumerate(a):
        if x is None or not 0 <= x <= 3:
            assert direct[k] == scaled[k] == unit[k] == 0


@given(st.permutations(list(G)))
def test_the_order_of_dimensions_has_no_effect(order):
    assert paid(dialogue({d: G[d] for d in order}, {d: A[d] for d in order})) == pytest.approx([1 / 3, 11 / 18, 4 / 9])


def test_no_answer_is_counted_and_the_codes_minus_one():
    t = dialogue({"goal": 9}, [3, -1, 1])
    stack = Stack([UtteranceAttribution()])
    assert stack.run([t])[0].rewards == pytest.approx([1, 0, 0])  # 9 and 3 alone: the second is left out
    assert stack.run([dialogue(None, [1, 2, 3])])[0].rewards == pytest.approx([0, 0, 0])
    assert stack.run([dialogue({"goal": None}, [1, 2, 3])])[0].rewards == pytest.approx([0, 0, 0])
    assert stack.stats() == {
        "utterance_attribution/episodes": 3,
        "utterance_attribution/without scores": 2,
        "utterance_attribution/grades": 6,
        "utterance_attribution/no answer": 1,
    }
    assert paid(t, missing="minus_one", normalize="none") == pytest.approx([9, -1, 3])
    assert paid(t, missing="minus_one") == pytest.approx([1, 0, 0.4])  # over -1 to 9


def test_conserve_keeps_the_environments_return():
    t = dialogue({"goal": 9}, [3, 1, 0], [0, 0, 2])
    assert Stack([Conserve(UtteranceAttribution())]).run([t])[0].rewards.sum() == pytest.approx(2)


# -- LaRe ----------------------------------------------------------------------------------------------
PHI = np.array([[1, 0], [0, 1], [1, 1], [2, 0]], float)


def factored(phi, total, **meta):
    infos = [{}, *({"latent_factors": {"a": x, "b": y}} for x, y in phi)]
    r = np.zeros(len(phi))
    r[-1:] = total
    return Trajectory([0] * len(infos), [0] * len(phi), r, True, False, infos, meta)


def test_the_cards_decomposition():
    stack = Stack([LatentReward(residual="uniform"), LatentReward()])
    for m in stack.shapers:
        m.weights, m.fits = np.array([2.0, -1.0]), 1
    assert stack.run([factored(PHI, 8)], 1)[0].rewards == pytest.approx([2, -1, 1, 4])
    assert stack.run([factored(PHI, 8)], 0, 1)[0].rewards == pytest.approx([2.5, -0.5, 1.5, 4.5])
    r = np.array([2.0, -1, 1, 4])
    assert decomposition_loss(r, 8) == pytest.approx(0.25)
    assert decomposition_loss(r, 8, [0, 2]) == pytest.approx(0.25)
    assert decomposition_loss(r, 8, [0, 2], unbiased=True) == pytest.approx(0.125)
    pairs = [list(p) for p in itertools.combinations(range(4), 2)]
    assert np.mean([decomposition_loss(r, 8, p) for p in pairs]) == pytest.approx(4 / 3)
    assert np.mean([decomposition_loss(r, 8, p, True) for p in pairs]) == pytest.approx(0.25)


def test_a_ridge_by_hand():
    # episodes of one step with factors 0, 1 and 2 and returns 1, 3 and 5: without means x is -1, 0, 1 and y -2, 0, 2, so
    # w = 4 / (2 + l2) with l2 = 2: w = 1, b = 3 - 1
    stack = Stack([LatentReward(l2=2.0, factors=lambda t: t.action)])
    trajs = [Trajectory([0, 0], [x], np.array([1.0 + 2 * x]), True, False, [{}, {}]) for x in range(3)]
    assert stack.run(trajs)[0].rewards.tolist() == [0]
    metrics = stack.learn(trajs)
    assert [t.rewards[0] for t in stack.run(trajs)] == pytest.approx([2, 3, 4])
    assert metrics["latent_reward/loss"] == pytest.approx((1 + 0 + 1) / 3)


@pytest.mark.parametrize("settings", [{}, {"loss": "rrd", "k": 99}, {"loss": "rrd_unbiased", "k": 99}], ids=str)
def test_the_truth_is_found_where_a_line_has_it(settings):
    rng, trajs = np.random.default_rng(0), []
    for _ in range(60):
        phi = rng.normal(size=(int(rng.integers(2, 9)), 2))
        trajs.append(factored(phi, float((phi @ [2, -1] + 0.5).sum())))
    stack = Stack([LatentReward(l2=1e-6, **settings)])
    stack.learn(trajs)
    for t, paid in zip(trajs, stack.run(trajs)):
        phi = np.array([list(i["latent_factors"].values()) for i in t.infos[1:]])
        assert paid.rewards == pytest.approx(phi @ [2, -1] + 0.5, abs=1e-4)


def test_without_the_correction_subsets_shrink_the_weights():
    # equal returns but opposite steps: mean 0 always; a subset of 2 of 4 makes the plain loss punish any weight by its variance
    rng = np.random.default_rng(1)
    found = {}
    for loss in ("rd", "rrd", "rrd_unbiased"):
        trajs = []
        for _ in range(400):
            phi = rng.normal(size=(4, 1)) * 3 + rng.normal()
            phi = np.hstack([phi, np.zeros((4, 1))])
            trajs.append(factored(phi, float(phi[:, 0].sum())))
        stack = Stack([LatentReward(l2=1e-6, loss=loss, k=2, draws=4)])
        stack.learn(trajs)
        found[loss] = stack.shapers[0].weights[0]
    # var(mean of 4) = 9 / 4 + 1 = 3.25, of 2 steps 9 / 2 + 1 = 5.5, and they covary by 3.25: w = 3.25 / 5.5
    assert found["rd"] == pytest.approx(1, abs=1e-6) and found["rrd"] == pytest.approx(3.25 / 5.5, abs=0.06)
    assert found["rrd_unbiased"] == pytest.approx(1, abs=0.1)


phis = st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), min_size=1, max_size=6)


@given(
    st.lists(st.tuples(phis, st.floats(-5, 5)), min_size=1, max_size=5), st.sampled_from(["uniform", "last"]), st.data()
)
def test_a_residual_keeps_returns_and_steps_carry_their_rewards(rows, residual, data):
    trajs = [factored(phi, total) for phi, total in rows]
    stack = Stack([LatentReward(residual=residual)])
    stack.learn(trajs)
    for a, b in zip(trajs, stack.run(trajs)):
        assert b.rewards.sum() == pytest.approx(a.rewards.sum(), abs=1e-9)
    phi, total = rows[0]
    order = data.draw(st.permutations(range(len(phi))))
    plain = Stack([LatentReward()])
    plain.learn(trajs)
    (a,), (b,) = plain.run([trajs[0]]), plain.run([factored([phi[i] for i in order], total)])
    assert b.rewards == pytest.approx(a.rewards[list(order)], abs=1e-9)


@given(
    st.lists(st.tuples(phis, st.floats(-5, 5)), min_size=1, max_size=5), st.sampled_from(["rd", "rrd", "rrd_unbiased"])
)
def test_a_factor_that_is_always_0_changes_nothing(rows, loss):
    trajs = [factored(phi, total) for phi, total in rows]
    found = []
    for extra in ([], [0.0]):
        f = lambda t, extra=extra: [*t.info["latent_factors"].values(), *extra]  # noqa: E731
        stack = Stack([LatentReward(f, loss=loss, k=2)])
        stack.learn(trajs)
        found.append(np.concatenate([t.rewards for t in stack.run(trajs)]))
    assert found[0] == pytest.approx(found[1], abs=1e-7)


def test_over_agents_the_teams_return_goes_to_who_earned_it():
    # two agents of 2 steps, factors say who did the work; the team earns twice the number of works, paid to agent 0 at the end
    def game(joint, works):
        out = []
        for k, w in enumerate(works):
            total = 2.0 * sum(map(sum, works)) if k == 0 else 0.0
            out.append(factored([(x, 0.0) for x in w], total, agent=k, joint=joint))
        return out

    games = [
        game(j, works) for j, works in enumerate([[(1, 0), (0, 1)], [(1, 1), (0, 0)], [(0, 0), (0, 1)], [(0, 0)] * 2])
    ]
    flat = [t for g in games for t in g]
    stack = Stack([LatentReward(over="agents", residual="uniform", l2=1e-9)])
    assert [t.rewards.tolist() for t in stack.run(games[0])] == [[1, 1], [1, 1]]  # nothing is known: 4 over 4 steps
    stack.learn(flat)
    got = [t.rewards for t in stack.run(flat)]
    for t, r in zip(flat, got):
        assert r == pytest.approx([2 * i["latent_factors"]["a"] for i in t.infos[1:]], abs=1e-6)
    for g in games:
        assert sum(t.rewards.sum() for t in stack.run(g)) == pytest.approx(sum(t.rewards.sum() for t in g))
    last = Stack([LatentReward(over="agents", residual="last")]).run(games[0])
    assert [t.rewards.tolist() for t in last] == [[0, 2], [0, 2]]  # in equal parts on each agent's last step


def test_what_is_no_factor_is_refused():
    with pytest.raises(MissingFact, match="latent_reward reads info"):
        Stack([LatentReward()]).run([Trajectory([0, 0], [0], np.zeros(1), True, False, [{}, {}])])
    for bad, said in (([math.nan, 1], "finite numbers"), ([[1.0]], "finite numbers")):
        with pytest.raises(ValueError, match=said):
            Stack([LatentReward(lambda t, bad=bad: bad)]).run([factored(PHI, 1)])
    stack = Stack([LatentReward()])
    stack.learn([factored(PHI, 1)])
    t = Trajectory([0, 0], [0], np.zeros(1), True, False, [{}, {"latent_factors": [1.0]}])
    with pytest.raises(ValueError, match="2 finite numbers are expected as before"):
        stack.run([t])


def test_the_network_fits_what_no_line_does():
    pytest.importorskip("torch", reason="the extra torch is not installed")
    rng = np.random.default_rng(0)
    trajs = []
    for _ in range(40):
        phi = rng.choice([-1.0, 1.0], size=(3, 2))
        trajs.append(factored(phi, float((phi[:, 0] * phi[:, 1]).sum())))  # exclusive or: no line has it
    losses = {}
    for name, settings in (
        ("linear", {}),
        ("mlp", {"hidden": 32, "lr": 1e-2}),
        ("rrd", {"hidden": 32, "lr": 1e-2, "loss": "rrd_unbiased", "k": 2}),
    ):
        stack = Stack([LatentReward(decoder="linear" if name == "linear" else "mlp", residual="uniform", **settings)])
        stack.learn(trajs)
        gaps = [
            np.abs(t.rewards - [i["latent_factors"]["a"] * i["latent_factors"]["b"] for i in t.infos[1:]]).max()
            for t in stack.run(trajs)
        ]
        losses[name] = max(gaps)
        twin = Stack([stack.shapers[0]])
        twin.load_state_dict(stack.state_dict())
        assert (twin.run(trajs)[0].rewards == stack.run(trajs)[0].rewards).all()
    assert losses["linear"] > 0.5 and losses["mlp"] < 0.1 and losses["rrd"] < 0.3


# -- conformance, settings -------------------------------------------------------------------------------
def of_state(state):
    more = {"latent_factors": [float(state), float(state % 2)], "scores": {"goal": float(state), "tone": 3.0}}
    return C.facts_of(state) | more | {"attribution": {"goal": state - 1, "tone": state}}  # -1 and 4 are none


@pytest.mark.parametrize(
    "shaper",
    [
        UtteranceAttribution(),
        UtteranceAttribution("scaled", combine="add"),
        UtteranceAttribution(over="batch", missing="minus_one"),
        UtteranceAttribution("singular", "minmax", weights={"goal": 0.5}),
        LatentReward(),
        LatentReward(residual="uniform", loss="rrd", k=2),
        LatentReward(over="agents", residual="last", loss="rrd_unbiased", k=2, draws=3),
    ],
    ids=lambda s: type(s).__name__,
)
def test_conformance(shaper):
    C.check_shaper(shaper, of_state)
    assert load(json.loads(json.dumps(shaper.spec()))) == shaper


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: UtteranceAttribution("best"), "setting 'scheme' is 'best'"),
        (lambda: UtteranceAttribution(scale=0.0), "scale = 0.0"),
        (lambda: UtteranceAttribution(discount=1.5), "discount = 1.5"),
        (lambda: UtteranceAttribution(weights={"goal": -1.0}), "the weight of 'goal' is -1.0"),
        (lambda: UtteranceAttribution("scaled", over="batch"), "nothing is normalised"),
        (lambda: paid(dialogue(G, A), weights={"gaol": 1.0}), "no score 'gaol'; did you mean 'goal'"),
        (lambda: paid(dialogue(G, {"goal": [1, 2]})), "2 grades of 'goal' for 3 utterances"),
        (lambda: LatentReward(k=0), "k = 0, allowed is a number from 1"),
        (lambda: LatentReward(l2=0.0), "l2 = 0.0, allowed is a number above 0"),
        (lambda: LatentReward(loss="rrd_unbiased", k=1), "k = 1, but rrd_unbiased"),
        (lambda: LatentReward(residual="first"), "allowed is one of 'none', 'uniform', 'last'"),
    ],
)
def test_wrong_settings_are_one_sentence(make, said):
    with pytest.raises(ValueError, match=said):
        make()

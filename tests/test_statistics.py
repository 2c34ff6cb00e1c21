"""Statistics over seeds, against numbers derived by hand."""

import numpy as np
import pytest

from milepost.baselines.statistics import interval, iqm, probability_of_improvement, speed_up, steps_to

pytestmark = pytest.mark.core


def test_iqm_is_the_mean_of_the_middle_half():
    assert iqm([0, 1, 2, 100]) == pytest.approx(1.5)  # 1 and 2 are the middle half
    # five values: the quartiles at 1.25 and 3.75 leave 3/4 of the second, all of the third, 3/4 of the fourth
    assert iqm([0, 10, 20, 30, 1000]) == pytest.approx((7.5 + 20 + 22.5) / 2.5)
    assert iqm([3]) == 3 and np.isnan(iqm([]))


def test_the_interval_covers_the_statistic_and_shrinks_with_seeds():
    rng = np.random.default_rng(0)
    few, many = rng.normal(size=5), rng.normal(size=200)
    for x in (few, many):
        low, high = interval(x)
        assert low <= iqm(x) <= high
    assert np.diff(interval(many)) < np.diff(interval(few))
    assert interval(few) == interval(few)
    assert interval([1.0, 1.0, 1.0]) == (1.0, 1.0)


def test_the_bootstrap_is_stratified_by_task():
    x = np.array([[0.0, 10.0], [0.0, 10.0], [0.0, 10.0]])  # seeds differ in nothing within a task
    assert interval(x, np.mean) == (5.0, 5.0)


def test_probability_of_improvement_counts_ties_as_half():
    assert probability_of_improvement([1, 2], [0, 2]) == pytest.approx((1 + 0 + 1 + 0.5) / 4)
    assert probability_of_improvement([1], [0]) == 1.0


def test_steps_to_a_target():
    assert steps_to([10, 20, 30], [0.1, 0.8, 0.7]) == 20
    assert steps_to([10, 20], [0.1, 0.2]) == float("inf")


def test_speed_up_counts_a_run_that_never_arrives_with_the_budget():
    ratio, low, high = speed_up([10.0, 30.0, np.inf], [10.0, 10.0, 10.0], 40.0)
    assert ratio == pytest.approx((10 + 30 + 40) / 30) and 1.0 <= low < ratio < high <= 4.0
    assert speed_up([20.0] * 3, [5.0] * 3, 40.0) == (4.0, 4.0, 4.0)
    assert speed_up([np.inf], [np.inf], 40.0)[0] == 1.0

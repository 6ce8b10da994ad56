import json

import numpy as np
import pytest

from tfgraphprune.errors import UserError
from tfgraphprune.search.history import SearchHistory
from tfgraphprune.search.problem import Execution, Outcome


def history(*rewards):
    """A history of rewards; `None` stands for a failure that counted as 0."""
    made = SearchHistory("method")
    for number, reward in enumerate(rewards):
        execution = Execution((number, np.int64(9)), np.zeros(2, np.float32))
        failed = "broken" if reward is None else None
        made.append(Outcome(execution, reward or 0.0, failed), images=10)
    return made


def test_rows_say_what_was_evaluated_and_the_best_so_far():
    rows = history(0.3, 0.2, 0.5).rows
    assert rows[1] == {
        "method": "method",
        "evaluation": 2,
        "reward": 0.2,
        "best_reward": 0.3,
        "counts": [1, 9],
        "images": 20,
    }
    assert [row["best_reward"] for row in rows] == [0.3, 0.3, 0.5]
    again = SearchHistory("method")
    again.load(json.loads(json.dumps(rows)), 7.0)
    assert again.rows == rows and again.seconds == 7


def test_the_best_is_the_first_of_equals_and_never_a_failure():
    assert history(-2.0, -1.0, -1.0).best_counts == (1, 9)
    failed = history(None, -2.0, None, -3.0)
    assert failed.best_counts == (1, 9) and failed.best_reward == -2.0
    assert failed.floor_reward == -3.0
    assert [row["best_reward"] for row in failed.rows] == [0.0, -2.0, -2.0, -2.0]
    assert ["error" in row for row in failed.rows] == [True, False, True, False]


@pytest.mark.parametrize("rewards", [(), (None, None)])
def test_without_a_success_there_is_no_best(rewards):
    assert history(*rewards).floor_reward == 0
    with pytest.raises(UserError, match=f"of {len(rewards)} none did"):
        history(*rewards).best_counts


def test_a_probe_is_never_the_answer():
    made = history(0.3)
    made.append(Outcome(Execution((5, 5), np.zeros(2)), 0.9, probe=True))
    assert made.best_reward == 0.3 and made.best_counts == (0, 9)
    assert made.rows[1]["probe"] and made.rows[1]["best_reward"] == 0.3
    made.append(Outcome(Execution((6, 6), np.zeros(2)), -0.7, "broken", probe=True), images=4)
    made.append(Outcome(Execution((7, 7), np.zeros(2)), 0.4), images=5)
    assert [row["evaluation"] for row in made.rows] == [1, 2, 3, 4]
    assert [row["images"] for row in made.rows] == [10, 10, 14, 19]
    assert [row["counts"][0] for row in made.answers] == [0, 7]
    assert [row["counts"][0] for row in made.succeeded] == [0, 5, 7]
    assert made.best_counts == (7, 7) and made.floor_reward == 0.3
    only = SearchHistory("method")
    only.append(Outcome(Execution((5, 5), np.zeros(2)), 0.9, probe=True))
    with pytest.raises(UserError, match=r"none did \(the last one: a probe\)"):
        only.best_counts

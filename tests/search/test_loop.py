import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import config

from tests.search.synthetic import PatternProblem, Stopped, StoppingProblem
from tests.support import ROOT
from tfgraphprune.cost.projection import Limit, Projection
from tfgraphprune.errors import SearchFailedError, UserError
from tfgraphprune.search import loop
from tfgraphprune.search.loop import run_search
from tfgraphprune.search.registry import SEARCHERS, SearcherEntry, searcher_class

EVALUATIONS = 12


@pytest.fixture(autouse=True)
def walk(monkeypatch):
    monkeypatch.setitem(SEARCHERS, "walk", SearcherEntry("tests.search.synthetic", "WalkSearch"))


def search(problem=None, method="walk", evaluations=EVALUATIONS, **options):
    problem = problem or PatternProblem(4)
    return run_search(
        problem, method, evaluations=evaluations, **{"seed": 1, "progress": False, **options}
    )


@pytest.fixture(scope="module")
def alone():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SEARCHERS, "walk", SearcherEntry("tests.search.synthetic", "WalkSearch"))
        return search().rows


STOPS = [
    *(("walk", stop) for stop in (1, 2, 7, 12)),
    ("random", 7),
    ("uniform", 1),
    ("evolution", 7),
    ("cma_es", 9),
    ("sensitivity", 4),
    ("netadapt", 7),
]


@pytest.mark.parametrize(("method", "stop_at"), STOPS)
def test_a_search_that_was_stopped_ends_as_one_left_alone(tmp_path, method, stop_at):
    expected = search(method=method).rows
    with pytest.raises(Stopped):
        search(StoppingProblem(stop_at), method, checkpoint_dir=tmp_path)
    problem = PatternProblem(4)
    assert search(problem, method, checkpoint_dir=tmp_path).rows == expected
    assert len(problem.rewarded) == len(expected) - (stop_at - 1)
    assert len(list(tmp_path.glob("*.index"))) <= 2


def test_a_finished_search_is_not_run_again(tmp_path, alone):
    search(checkpoint_dir=tmp_path)
    problem = PatternProblem(4)
    again = search(problem, checkpoint_dir=tmp_path)
    assert again.rows == alone and problem.rewarded == []
    assert again.best_counts == tuple(max(alone, key=lambda row: row["reward"])["counts"])


def damage(path, how):
    content = path.read_bytes()
    if how == "missing":
        path.unlink()
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "torn":
        path.write_bytes(content[: len(content) // 2])
    else:
        path.write_bytes(bytes(b ^ 0x55 for b in content))


@pytest.mark.parametrize("how", ["missing", "empty", "torn", "changed"])
@pytest.mark.parametrize("part", ["index", "data-00000-of-00002", "data-00001-of-00002"])
def test_a_damaged_checkpoint_costs_one_episode_more(tmp_path, alone, part, how):
    with pytest.raises(Stopped):
        search(StoppingProblem(8), checkpoint_dir=tmp_path)
    path = tmp_path / f"search-7.{part}"
    assert path.exists()
    damage(path, how)
    problem = PatternProblem(4)
    assert search(problem, checkpoint_dir=tmp_path).rows == alone
    assert len(problem.rewarded) in (EVALUATIONS - 6, EVALUATIONS - 7)


def test_when_no_checkpoint_is_whole_it_says_so(tmp_path):
    with pytest.raises(Stopped):
        search(StoppingProblem(8), checkpoint_dir=tmp_path)
    for path in tmp_path.glob("*.index"):
        damage(path, "torn")
    with pytest.raises(UserError, match=r"none of the 2 search checkpoints in .* can be read"):
        search(checkpoint_dir=tmp_path)


def test_what_a_killed_write_leaves_is_cleared(tmp_path, alone):
    with pytest.raises(Stopped):
        search(StoppingProblem(8), checkpoint_dir=tmp_path)
    (tmp_path / "search-8_temp").mkdir()
    (tmp_path / "search-8_temp" / "part-00000-of-00002.index").write_bytes(b"x")
    (tmp_path / "search-8.data-00000-of-00002").write_bytes(b"x")
    assert search(checkpoint_dir=tmp_path).rows == alone
    assert not list(tmp_path.glob("*_temp"))


def at_other_budget():
    problem = PatternProblem(4)
    (limit,) = problem.projection.limits
    tighter = Limit(limit.name, limit.cost, 0.8 * limit.value)
    problem.projection = Projection(problem.projection.sizes, np.ones(4, int), (tighter,), 1 / 32)
    return problem


OTHERS = [
    ({"seed": 2}, "seed 1, not 2"),
    ({"evaluations": 13}, "evaluations 12, not 13"),
    ({"method": "random"}, "method 'walk', not 'random'"),
    ({"problem": PatternProblem(5)}, "groups"),
    ({"problem": at_other_budget()}, r"limits {'channels': 64.0}, not {'channels': 51.2}"),
    ({"key": {"model": "other"}}, "model None, not 'other'"),
]


@pytest.mark.parametrize(("change", "message"), OTHERS)
def test_the_checkpoint_of_another_search_is_refused(tmp_path, change, message):
    search(checkpoint_dir=tmp_path)
    with pytest.raises(UserError, match=message):
        search(checkpoint_dir=tmp_path, **change)


_KILLED = """
import sys, time
from pathlib import Path
from tests.search.synthetic import PatternProblem
from tfgraphprune.search.loop import run_search
from tfgraphprune.search.registry import SEARCHERS, SearcherEntry
SEARCHERS["walk"] = SearcherEntry("tests.search.synthetic", "WalkSearch")
run_search(PatternProblem(4), "walk", evaluations=4000, seed=1, checkpoint_dir=Path(sys.argv[1]),
           progress=False)
"""


def test_sigkill_at_random_moments_changes_nothing(tmp_path):
    moments = random.Random(0)
    for _ in range(2):
        before = _newest(tmp_path)
        process = subprocess.Popen([sys.executable, "-c", _KILLED, str(tmp_path)], cwd=ROOT)
        # Checkpoints are most of the time here, so most kills fall into a write.
        while _newest(tmp_path) < before + 20 and process.poll() is None:
            time.sleep(0.002)
        time.sleep(moments.uniform(0, 0.05))
        assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = _newest(tmp_path)
    stop = min(4000, done + 20)
    problem = StoppingProblem(20)
    with pytest.raises(Stopped):
        search(problem, evaluations=4000, checkpoint_dir=tmp_path)
    expected = StoppingProblem(stop)
    with pytest.raises(Stopped):
        search(expected, evaluations=4000)
    assert 40 <= done < 4000
    # A kill between a checkpoint and the note that it is there has one evaluation done again.
    made = len(problem.rewarded)
    assert made > 10
    assert problem.rewarded in (expected.rewarded[-made:], expected.rewarded[-made - 1 : -1])


def _newest(folder):
    return max((int(p.stem.split("-")[1]) for p in folder.glob("*.index")), default=0)


class FailingProblem(PatternProblem):
    """Fails at evaluations `first` to `last`, counted from 1."""

    def __init__(self, first, last):
        super().__init__(4)
        self._range = range(first, last + 1)

    def reward(self, counts, at_least=0):
        reward = super().reward(counts)
        if len(self.rewarded) in self._range:
            raise RuntimeError("the metric broke")
        return reward


def test_the_search_goes_on_after_a_failure():
    rows = search(FailingProblem(4, 5)).rows
    assert len(rows) == EVALUATIONS
    assert [row["evaluation"] for row in rows if "error" in row] == [4, 5]
    assert rows[3]["reward"] == min(row["reward"] for row in rows[:3])


def test_a_reward_that_fails_from_the_start_ends_it():
    problem = FailingProblem(1, 99)
    with pytest.raises(SearchFailedError, match=r"first 3 evaluations .* the metric broke"):
        search(problem)
    assert len(problem.rewarded) == 3


@pytest.mark.parametrize("method", ["uniform", "sensitivity"])
def test_a_search_without_an_answer_is_not_kept_as_finished(tmp_path, method):
    expected = search(method=method).rows
    with pytest.raises(SearchFailedError, match="the metric broke"):
        search(FailingProblem(len(expected), 99), method, checkpoint_dir=tmp_path)
    assert search(method=method, checkpoint_dir=tmp_path).rows == expected


def test_rows_are_handed_on_as_they_come_and_determinism_holds_meanwhile():
    seen = []
    before = config.is_op_determinism_enabled()
    history = search(
        on_evaluation=lambda row: seen.append((row, config.is_op_determinism_enabled()))
    )
    assert [row for row, _ in seen] == history.rows
    assert all(on for _, on in seen)
    assert config.is_op_determinism_enabled() == before


def test_tensorboard_gets_the_rewards(tmp_path):
    rows = search(log_dir=tmp_path).rows
    found = {}
    for path in tmp_path.glob("events*"):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                found.setdefault(value.tag, {})[event.step] = float(tf.make_ndarray(value.tensor))
    assert sorted(found["search/reward"]) == list(range(1, EVALUATIONS + 1))
    for row in rows:
        assert found["search/best_reward"][row["evaluation"]] == pytest.approx(row["best_reward"])


def test_no_evaluations_are_refused():
    with pytest.raises(UserError, match="from 1 on, not 0"):
        search(evaluations=0)


def test_a_time_limit_ends_it_with_the_last_episode():
    problem = PatternProblem(4)
    history = search(problem, time_limit=1e-9)
    assert ["last" in row for row in history.rows] == [False, True]
    assert problem.rewarded == [tuple(row["counts"]) for row in history.rows]
    other = PatternProblem(4)
    alone = searcher_class("walk")(other, EVALUATIONS, 1)
    alone.observe(0, alone.play(alone.propose(0), 0.0))
    counts = [other.execute(alone.propose(episode)).counts for episode in (EVALUATIONS - 1, 1)]
    assert problem.rewarded[1] == counts[0] != counts[1]


@pytest.mark.parametrize("method", ["sensitivity", "netadapt"])
def test_a_time_limit_ends_methods_that_only_probe_before(method):
    rows = search(method=method, time_limit=10.0, spent=20.0).rows
    assert ["probe" in row for row in rows] == [True, False] and rows[-1]["last"]
    assert len(search(method=method).rows) > 2


def test_the_time_that_was_spent_before_counts():
    history = search(time_limit=10.0, spent=20.0)
    assert len(history.rows) == 2 and history.seconds > 20.0


@pytest.mark.parametrize("limit", [None, 1e6])
def test_a_time_limit_that_is_not_reached_changes_nothing(alone, limit):
    assert search(time_limit=limit).rows == alone


def test_a_time_limit_waits_for_an_evaluation_that_succeeds():
    rows = search(FailingProblem(1, 2), time_limit=1e-9).rows
    assert ["error" in row for row in rows] == [True, True, False, False]
    assert rows[-1]["last"] and not any("last" in row for row in rows[:-1])


def test_time_is_counted_over_all_sessions(tmp_path, monkeypatch):
    clock = iter(range(0, 10000, 100))
    monkeypatch.setattr("tfgraphprune.search.loop.time.monotonic", lambda: next(clock))
    with pytest.raises(Stopped):
        search(StoppingProblem(5), checkpoint_dir=tmp_path)
    history = search(checkpoint_dir=tmp_path, time_limit=700)
    assert history.rows[-1].get("last") and 4 < len(history.rows) < EVALUATIONS
    again = PatternProblem(4)
    assert search(again, checkpoint_dir=tmp_path, time_limit=700).rows == history.rows
    assert again.rewarded == []
    for longer in (None, 5000):
        with pytest.raises(UserError, match=r"ended by its time limit after .* s and can't"):
            search(checkpoint_dir=tmp_path, time_limit=longer)


def test_the_time_that_is_left_is_told_early_and_at_half_time(monkeypatch, caplog):
    """The second half of the search is ten times slower than the first evaluations."""
    seconds = iter([0, 60, 120, 180, 240, 300, *range(900, 10000, 600)])
    monkeypatch.setattr("tfgraphprune.search.loop.time.monotonic", lambda: next(seconds))
    with caplog.at_level("INFO"):
        search()
    told = [float(m.split("about ")[1].split()[0]) for m in caplog.messages if "min left" in m]
    assert told == [7.0, 60.0]


def test_images_are_added_up_from_the_first_on():
    rows = search().rows
    assert [row["images"] for row in rows] == [10 * n for n in range(1, EVALUATIONS + 1)]


@pytest.mark.parametrize("method", ["sac", "sac_sequential", "ddpg", "ppo"])
def test_a_failure_before_any_reward_teaches_nothing(method):
    """Nobody knows yet what is low: 0 would be the best of all where rewards are negative."""

    class Losses(FailingProblem):
        def reward(self, counts, at_least=0):
            return super().reward(counts) - 5

    made = []

    class Kept(searcher_class(method)):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            made.append(self)

    options = {"warmup": 2} if method != "ppo" else {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "searcher_class", lambda name: Kept)
        rows = search(Losses(1, 2), method, options=options).rows
    assert [row["evaluation"] for row in rows if "error" in row] == [1, 2]
    replay = made[0].learner.replay if method == "sac" else made[0].replay
    stored = replay.everything()
    rewards = {
        "sac": lambda: stored.next_time_step.reward,
        "ppo": lambda: stored.policy_info["return"],
    }.get(method, lambda: stored["reward"])()
    assert len(rewards) and (rewards.numpy() < 0).all()

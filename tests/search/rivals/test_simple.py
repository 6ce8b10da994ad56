import numpy as np
import pytest

from tests.search.synthetic import PatternProblem
from tfgraphprune.errors import MissingExtraError, UserError
from tfgraphprune.search.registry import SEARCHERS, searcher_class
from tfgraphprune.search.rivals.simple import RandomSearch, UniformSearch
from tfgraphprune.search.searcher import Searcher, random_action


def test_uniform_needs_one_evaluation_and_gives_equal_ratios():
    problem = PatternProblem(4)
    assert UniformSearch.needed(100, problem) == UniformSearch.needed(1, problem) == 1
    outcome = UniformSearch(problem, 1, 0).play(UniformSearch(problem, 1, 0).propose(0), 0.0)
    assert set(outcome.execution.counts) == {PatternProblem.SIZE // 2}


def test_random_depends_on_seed_and_episode_only():
    search = RandomSearch(PatternProblem(4), 100, 7)
    later = search.propose(9)
    search.propose(1)
    np.testing.assert_array_equal(search.propose(9), later)
    np.testing.assert_array_equal(RandomSearch(PatternProblem(4), 5, 7).propose(9), later)
    draws = {random_action(4, seed, e).tobytes() for seed in range(3) for e in range(50)}
    assert len(draws) == 150


def test_random_is_uniform_over_the_actions():
    draws = np.stack([random_action(10, 0, e) for e in range(1000)])
    assert draws.dtype == np.float32
    assert -1 <= draws.min() < -0.99 and 0.99 < draws.max() <= 1
    assert abs(draws.mean()) < 0.03 and abs(draws.std() - 3**-0.5) < 0.02


@pytest.mark.parametrize("name", SEARCHERS)
def test_every_registered_method_loads(name):
    assert issubclass(searcher_class(name), Searcher)


def test_an_unknown_method_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match=r"sac, .*uniform, random.*, not 'magic'"):
        searcher_class("magic")


def test_without_tf_agents_the_rivals_search_and_sac_says_what_is_missing(run_python):
    code = """
from tests.search.synthetic import PatternProblem
from tfgraphprune.errors import MissingExtraError
from tfgraphprune.search.loop import run_search
print(len(run_search(PatternProblem(4), "random", evaluations=3, progress=False).rows))
print(len(run_search(PatternProblem(4), "uniform", evaluations=3, progress=False).rows))
try:
    run_search(PatternProblem(4), "sac", evaluations=3)
except MissingExtraError as error:
    print(error)
"""
    answer = run_python(code, blocked=("tf_agents",))
    printed = answer if isinstance(answer, str) else answer.stdout
    assert printed.splitlines()[:2] == ["3", "1"]
    assert str(MissingExtraError("The search agent 'sac'", "tf-agents", "search")) in printed

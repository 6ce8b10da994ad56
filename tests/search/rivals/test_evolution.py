import numpy as np

from tests.search.synthetic import PatternProblem
from tfgraphprune.search.loop import run_search
from tfgraphprune.search.problem import Outcome, evaluate
from tfgraphprune.search.rivals.evolution import EvolutionSearch


def played(evaluations, until, groups=6, **options):
    problem = PatternProblem(groups)
    search = EvolutionSearch(problem, evaluations, 0, options)
    outcomes = []
    for episode in range(until):
        outcomes.append(evaluate(problem, search.propose(episode)))
        search.observe(episode, outcomes[-1])
    return search, outcomes


def test_the_paper_s_population_where_evaluations_allow_and_a_tenth_of_them_otherwise():
    assert EvolutionSearch(PatternProblem(3), 1050, 0)._size == 50
    assert EvolutionSearch(PatternProblem(3), 200, 0)._size == 20
    assert EvolutionSearch(PatternProblem(3), 1, 0)._size == 2


def test_children_descend_from_the_best_of_finished_generations():
    search, outcomes = played(60, 30, mutation=0.0)
    sizes = search.problem.projection.sizes
    best = sorted(outcomes[:24], key=lambda o: -o.reward)[:2]
    genes = np.array([o.execution.counts for o in best]) / sizes
    for episode in (24, 26):  # a mutation that changes nothing is a parent again
        executed = search.problem.execute(search.propose(episode)).counts
        assert np.abs(np.array(executed) / sizes - genes).max(1).min() <= 1 / 32 + 1e-9


def test_plans_that_failed_have_no_children():
    problem = PatternProblem(6)
    search = EvolutionSearch(problem, 60, 0, {"mutation": 0.0})
    only = problem.execute(search.propose(4))
    for episode in range(6):
        executed = problem.execute(search.propose(episode))
        search.observe(episode, Outcome(executed, 1e9, None if episode == 4 else "it broke"))
    for episode in (6, 7, 8):  # children of the one that did not fail
        counts = np.array(problem.execute(search.propose(episode)).counts)
        assert np.abs(counts - only.counts).max() <= 1


def test_a_mutation_of_every_gene_is_random():
    search, _ = played(60, 30, mutation=1.0)
    draws = [search.problem.execute(search.propose(e)).counts for e in (24, 26, 28)]
    assert len(set(draws)) == 3


def test_finds_more_than_random_search():
    found = {
        method: np.mean(
            [
                run_search(
                    PatternProblem(10, seed), method, evaluations=200, seed=seed, progress=False
                ).best_reward
                for seed in range(3)
            ]
        )
        for method in ("evolution", "random")
    }
    assert found["evolution"] > found["random"] + 0.1


def test_a_generation_is_half_mutations_and_half_crossovers_of_a_fifth_as_parents():
    search, outcomes = played(1050, 50, mutation=0.0)
    sizes = search.problem.projection.sizes
    best = sorted(outcomes, key=lambda o: -o.reward)[:10]
    genes = np.array([o.execution.counts for o in best]) / sizes
    children = [np.array(search.problem.execute(search.propose(e)).counts) for e in range(50, 100)]
    far = [np.abs(child / sizes - genes).max(1).min() > 1.5 / 32 for child in children]
    assert not any(far[::2]) and sum(far[1::2]) > 12

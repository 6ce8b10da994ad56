"""One policy for several problems at once: networks, budgets, or both."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from tfgraphprune.search.agents.sac_learner import SacLearner, SacSettings
from tfgraphprune.search.checkpoints import SearchCheckpoints
from tfgraphprune.search.determinism import deterministic_ops
from tfgraphprune.search.history import SearchHistory
from tfgraphprune.search.loop import check_start, rounds_of, said, searched
from tfgraphprune.search.policy import Policy
from tfgraphprune.search.problem import SearchProblem
from tfgraphprune.search.searcher import near, random_action, settings_from


@dataclass(frozen=True, eq=False)
class JointResult:
    """What came of a joint search.

    Attributes:
        histories: of each problem.
        policy: the policy that serves them all.
    """

    histories: list[SearchHistory]
    policy: Policy


def run_joint(
    problems: Sequence[SearchProblem],
    names: Sequence[str],
    *,
    evaluations: int,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    key: Mapping[str, Any] | None = None,
    checkpoint_dir: Path | None = None,
    on_evaluation: Callable[[dict[str, Any]], None] | None = None,
    progress: bool = True,
) -> JointResult:
    """Train one SAC policy on all problems, which take turns.

    Rewards are standardised for each problem by its first episodes, which are random or near the
    graph's guess; the last turn of each is the plan of the policy as it is by then, which goes on
    learning until all problems had theirs. Resumes from `checkpoint_dir` like `run_search`.

    Args:
        problems: of equal features; their groups may differ in number.
        names: of the problems, for the history.
        evaluations: rewards that may be looked at, over all problems.
        seed: of everything random.
        options: fields of `SacSettings`; `warmup` is the random episodes of each problem.
        key: what else the checkpoints must agree with, such as hashes of model and data.
        checkpoint_dir: a folder for this search alone.
        on_evaluation: called with each new row.
        progress: whether to show a bar.

    Raises:
        UserError: fewer than two evaluations for each problem, or checkpoints of another search.
        SearchFailedError: a problem's reward fails from the start.
    """
    rounds = rounds_of(len(problems), evaluations)
    settings = settings_from(SacSettings, options or {})
    total = rounds * len(problems)
    record = SearchHistory("joint")
    histories = [SearchHistory(name) for name in names]
    checkpoints = None
    with deterministic_ops():
        learner = SacLearner(problems, total, seed, settings)
        if checkpoint_dir is not None:
            identity = {
                "method": "joint",
                "problems": list(names),
                "searched": [searched(problem) for problem in problems],
                "evaluations": evaluations,
                "seed": seed,
                "options": said(options),
                **(key or {}),
            }
            checkpoints = SearchCheckpoints(checkpoint_dir, record, identity)
            checkpoints.restore(learner.state())
            for row in record.rows:
                histories[row["problem"]].rows.append(row)
        episodes = _Episodes(problems, rounds, seed, settings, learner)
        with tqdm(
            total=total, initial=len(record.rows), desc="search for several", unit="plan",
            disable=None if progress else True,
        ) as bar:  # fmt: skip
            for episode in range(len(record.rows), total):
                row = episodes.play(episode, histories)
                record.rows.append(row)
                if on_evaluation is not None:
                    on_evaluation(row)
                episodes.learn(episode)
                if checkpoints is not None:
                    checkpoints.save()
                bar.update()
        return JointResult(histories, learner.policy())


class _Episodes:
    def __init__(
        self,
        problems: Sequence[SearchProblem],
        rounds: int,
        seed: int,
        settings: SacSettings,
        learner: SacLearner,
    ):
        self._problems, self._rounds, self._seed = problems, rounds, seed
        self._settings, self._learner = settings, learner
        self._warmup = max(1, min(settings.warmup, rounds // 4))

    def play(self, episode: int, histories: list[SearchHistory]) -> dict[str, Any]:
        turn, number = divmod(episode, len(self._problems))
        problem, history = self._problems[number], histories[number]
        before = problem.images if history.rows else problem.images - problem.graph_images
        best = history.best_reward if history.answers else -math.inf
        outcome = self._learner.play(
            self._action(episode, turn, number), history.floor_reward, best, number
        )
        row = history.append(outcome, problem.images - before)
        check_start(history, outcome, ends=turn == self._rounds - 1)
        row["problem"] = number
        return row

    def learn(self, episode: int) -> None:
        done = episode + 1
        if done == self._warmup * len(self._problems):
            self._learner.standardise()
        if done >= self._warmup * len(self._problems):
            self._learner.learn()

    def _action(self, episode: int, turn: int, number: int) -> np.ndarray:
        guess = self._problems[number].graph.guess
        if self._settings.policy is None:
            if turn == 0:
                return np.zeros_like(guess)
            if turn < self._warmup:
                drawn = random_action(len(guess), self._seed, episode)
                if not (self._settings.guided and guess.any()) or turn % 2 == 0:
                    return drawn
                return guess if turn == 1 else near(guess, drawn)
        elif turn == 1 < self._warmup and self._settings.guided and guess.any():
            return guess
        if turn == self._rounds - 1:
            return self._learner.policy().action(self._problems[number].graph)
        greedy, exploring = self._learner.act(episode, number)
        return greedy if turn == 0 else exploring

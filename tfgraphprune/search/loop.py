"""The search loop: propose, evaluate, learn, checkpoint; resumes where it was stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tensorflow as tf
from tqdm import tqdm

from tfgraphprune.errors import UserError
from tfgraphprune.search.checkpoints import SearchCheckpoints
from tfgraphprune.search.determinism import deterministic_ops
from tfgraphprune.search.history import SearchHistory
from tfgraphprune.search.problem import SearchProblem
from tfgraphprune.search.searcher import Searcher, searcher_class

__all__ = ["SearchHistory", "deterministic_ops", "run_search"]

FAILURES_AT_START = 3
"""When this many evaluations failed and none succeeded, the reward itself is at fault."""


def run_search(
    problem: SearchProblem,
    searcher_name: str,
    *,
    evaluations: int,
    seed: int = 0,
    checkpoint_dir: Path | None = None,
    log_dir: Path | None = None,
    on_evaluation: Callable[[dict[str, Any]], None] | None = None,
    progress: bool = True,
) -> SearchHistory:
    """Search with one method.

    After every evaluation history and state are written to `checkpoint_dir`; the same call
    goes on from there and ends with the same history as one that was never stopped. A search
    that is finished already returns its history at once.

    Args:
        problem: what is searched.
        searcher_name: a name in `SEARCHERS`.
        evaluations: rewards that may be looked at; a method may need fewer.
        seed: of everything random.
        checkpoint_dir: folder for this method alone; nothing is kept by default.
        log_dir: folder for TensorBoard; nothing is logged by default.
        on_evaluation: called with each new row of the history, before it is checkpointed.
        progress: whether to show a bar with the best reward.

    Returns:
        The history: `rows`, `best_counts`, `best_reward`.

    Raises:
        UserError: an unknown method, checkpoints of another search or none that can be read,
            or a reward that fails from the start.
        MissingExtraError: the method's package is not installed.
    """
    build = searcher_class(searcher_name)
    if evaluations < 1:
        raise UserError(f"evaluations must be a whole number from 1 on, not {evaluations}.")
    total = build.needed(evaluations)
    history = SearchHistory(searcher_name)
    checkpoints = None
    if checkpoint_dir is not None:
        identity = {
            "method": searcher_name,
            "evaluations": evaluations,
            "seed": seed,
            "groups": list(problem.graph.names),
        }
        checkpoints = SearchCheckpoints(checkpoint_dir, history, identity)
        checkpoints.restore_history()
        if len(history.rows) == total:
            return history
    with deterministic_ops():
        searcher = build(problem, evaluations, seed)
        if checkpoints is not None:
            checkpoints.restore(searcher.state())
        with _bar(history, total, progress) as bar, _logger(log_dir) as log:
            for episode in range(len(history.rows), total):
                row = _evaluate(searcher, history, episode)
                log(searcher, row)
                if on_evaluation is not None:
                    on_evaluation(row)
                if checkpoints is not None:
                    checkpoints.save()
                bar.set_postfix_str(f"best reward {row['best_reward']:.4f}", refresh=False)
                bar.update()
    return history


def _evaluate(searcher: Searcher, history: SearchHistory, episode: int) -> dict[str, Any]:
    outcome = searcher.play(searcher.propose(episode), history.floor_reward)
    row = history.append(outcome)
    if episode + 1 == FAILURES_AT_START and not history.succeeded:
        raise UserError(
            f"the first {FAILURES_AT_START} evaluations of the search {history.method!r} failed; "
            f"the last one because {outcome.error}. Check the reward data and the metric."
        )
    searcher.observe(episode, outcome)
    return row


def _bar(history: SearchHistory, total: int, progress: bool) -> tqdm:
    """A progress bar; none where the output is not a terminal."""
    return tqdm(
        total=total,
        initial=len(history.rows),
        desc=f"search {history.method}",
        unit="plan",
        disable=None if progress else True,
    )


@contextmanager
def _logger(folder: Path | None) -> Iterator[Callable[[Searcher, dict[str, Any]], None]]:
    """A function that writes a row's figures for TensorBoard, or does nothing."""
    if folder is None:
        yield lambda searcher, row: None
        return
    writer = tf.summary.create_file_writer(str(folder))

    def log(searcher: Searcher, row: dict[str, Any]) -> None:
        figures = {"reward": row["reward"], "best_reward": row["best_reward"]}
        with writer.as_default(step=row["evaluation"]):
            for name, value in {**figures, **searcher.scalars()}.items():
                tf.summary.scalar(f"search/{name}", value)

    try:
        yield log
    finally:
        writer.close()

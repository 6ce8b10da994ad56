"""The search loop: propose, evaluate, learn, checkpoint; resumes where it was stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tensorflow as tf
from absl import logging
from tqdm import tqdm

from tfgraphprune.errors import SearchFailedError, UserError
from tfgraphprune.search.checkpoints import SearchCheckpoints
from tfgraphprune.search.determinism import deterministic_ops
from tfgraphprune.search.history import SearchHistory
from tfgraphprune.search.problem import Outcome, SearchProblem
from tfgraphprune.search.registry import searcher_class
from tfgraphprune.search.searcher import Searcher

__all__ = ["SearchHistory", "deterministic_ops", "run_search"]

FAILURES_AT_START = 3
"""When this many evaluations failed and none succeeded, the reward itself is at fault."""


def run_search(
    problem: SearchProblem,
    searcher_name: str,
    *,
    evaluations: int,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    time_limit: float | None = None,
    spent: float = 0.0,
    key: Mapping[str, Any] | None = None,
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
        options: the method's hyperparameters by name.
        time_limit: seconds, over all sessions of the search, after which it comes to its end:
            one last evaluation, of what the method thinks best, if it has any by then.
        spent: seconds that making the problem took, which count as the search's.
        key: what else the checkpoints must agree with, such as hashes of model and data.
        checkpoint_dir: folder for this method alone; nothing is kept by default.
        log_dir: folder for TensorBoard; nothing is logged by default.
        on_evaluation: called with each new row of the history, before it is checkpointed.
        progress: whether to show a bar with the best reward.

    Returns:
        The history: `rows`, `best_counts`, `best_reward`; `policy`, what the method learned.

    Raises:
        UserError: an unknown method, checkpoints of another search or none that can be read, or
            a longer time limit for a search that was ended by its own.
        SearchFailedError: the reward fails from the start, or each time. That is not kept, so
            the same call tries again.
        MissingExtraError: the method's package is not installed.
    """
    build = searcher_class(searcher_name)
    if evaluations < 1:
        raise UserError(f"evaluations must be a whole number from 1 on, not {evaluations}.")
    total = build.needed(evaluations, problem)
    history = SearchHistory(searcher_name)
    checkpoints = None
    if checkpoint_dir is not None:
        identity = {
            "method": searcher_name,
            "evaluations": evaluations,
            "seed": seed,
            "options": said(options),
            **searched(problem),
            **(key or {}),
        }
        checkpoints = SearchCheckpoints(checkpoint_dir, history, identity)
        checkpoints.restore_history()
    _check_limit(history, time_limit)
    if _is_over(history, total) and build.replays:
        return history
    with deterministic_ops():
        clock = _Clock(time_limit, history, spent)
        searcher = build(problem, evaluations, seed, options)
        if checkpoints is not None:
            checkpoints.restore(searcher.state())
        searcher.resume(history.rows)
        with _bar(history, total, progress) as bar, _logger(log_dir) as log:
            while not _is_over(history, total):
                row = _evaluate(searcher, history, total, hurry=clock.is_up)
                clock.stamp()
                log(searcher, row)
                if on_evaluation is not None:
                    on_evaluation(row)
                if checkpoints is not None:
                    checkpoints.save()
                clock.announce(total)
                bar.set_postfix_str(f"best reward {row['best_reward']:.4f}", refresh=False)
                bar.update()
    history.policy = searcher.learned()
    return history


def said(options: Mapping[str, Any] | None) -> dict[str, str]:
    """Options as text, by which checkpoints tell them apart; of a policy its hash."""
    return {name: getattr(v, "hash", None) or str(v) for name, v in (options or {}).items()}


def searched(problem: SearchProblem) -> dict[str, Any]:
    """What of a problem the checkpoints of its search must agree with."""
    projection = problem.projection
    return {
        "groups": list(problem.graph.names),
        "sizes": projection.sizes.tolist(),
        "steps": projection.steps.tolist(),
        "smallest widths": projection.lowest.tolist(),
        "limits": {limit.name: limit.value for limit in projection.limits},
    }


def rounds_of(problems: int, evaluations: int) -> int:
    """Evaluations of each problem.

    Raises:
        UserError: fewer than two.
    """
    if evaluations < 2 * problems:
        raise UserError(
            f"a joint search of {problems} problems needs {2 * problems} evaluations or more, not "
            f"{evaluations}."
        )
    return evaluations // problems


def _check_limit(history: SearchHistory, limit: float | None) -> None:
    """Refuse more time for a search that its time limit has ended: its last plan is made."""
    ended = bool(history.rows and history.rows[-1].get("last"))
    if ended and (limit is None or limit > history.seconds):
        raise UserError(
            f"the search {history.method!r} was ended by its time limit after "
            f"{history.seconds:.0f} s and can't go on: give it another folder, or the same limit."
        )


def _is_over(history: SearchHistory, total: int) -> bool:
    return len(history.rows) >= total or bool(history.rows and history.rows[-1].get("last"))


def _evaluate(searcher: Searcher, history: SearchHistory, total: int, hurry: bool) -> dict:
    """One episode; the last one of all where there is a hurry and something to show already."""
    episode = len(history.rows)
    # Methods that only probe until then have an answer as soon as they have looked at something.
    hurry = hurry and bool(history.succeeded) and episode < total - 1
    episode = total - 1 if hurry else episode
    before = searcher.problem.images
    if not history.rows and searcher.reads_graph:
        before -= searcher.problem.graph_images
    best = history.best_reward
    outcome = searcher.play(searcher.propose(episode), history.floor_reward, best)
    row = history.append(outcome, searcher.problem.images - before)
    check_start(history, outcome, ends=episode + 1 == total)
    if hurry:
        row["last"] = True
        return row
    searcher.observe(episode, outcome)
    return row


def check_start(history: SearchHistory, outcome: Outcome, ends: bool = False) -> None:
    """Give up a search whose reward is at fault, before that is kept.

    Args:
        history: with the row of the last evaluation.
        outcome: of the last evaluation.
        ends: whether it was the last of all.

    Raises:
        SearchFailedError: the first evaluations failed, or at the end no plan has a reward.
    """
    count = len(history.rows)
    if (count == FAILURES_AT_START and not history.succeeded) or (ends and not history.answers):
        raise SearchFailedError(
            f"the first {count} evaluations of the search {history.method!r} failed, "
            f"the last one because {outcome.error}: check the reward data and the metric."
            if not history.succeeded
            else f"the search {history.method!r} ends without a plan that was rewarded: its last "
            f"evaluation failed because {outcome.error}: check the reward data and the metric."
        )


class _Clock:
    """Adds up the seconds that a search takes, over all of its sessions."""

    _ANNOUNCED_AFTER = 5

    def __init__(self, limit: float | None, history: SearchHistory, spent: float):
        self._limit = limit
        self._history = history
        self._before = history.seconds + spent
        self._first = len(history.rows)
        self._started = time.monotonic()

    def stamp(self) -> None:
        """Note the time in the history."""
        self._history.seconds = round(self._before + time.monotonic() - self._started, 3)

    @property
    def is_up(self) -> bool:
        return self._limit is not None and self._history.seconds >= self._limit

    def announce(self, total: int) -> None:
        """Log how long the rest may take, for those who see no bar: early, and at half time.

        Agents train from some evaluation on, so that the second answer is the better one.
        """
        done = len(self._history.rows) - self._first
        at_half = len(self._history.rows) == total // 2 and done > self._ANNOUNCED_AFTER
        if done == self._ANNOUNCED_AFTER:
            self._announced = self._history.seconds
        elif not at_half:
            return
        if _is_over(self._history, total):
            return
        spent = self._history.seconds - (self._announced if at_half else self._before)
        each = spent / (done - self._ANNOUNCED_AFTER if at_half else done)
        left = each * (total - len(self._history.rows))
        if self._limit is not None:
            left = min(left, max(0.0, self._limit - self._history.seconds))
        logging.info("search %s: about %.1f min left", self._history.method, left / 60)


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

"""The rows of one method's search and the best plan among them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tfgraphprune.errors import UserError
from tfgraphprune.search.problem import Outcome


@dataclass(eq=False)
class SearchHistory:
    """Every evaluation of one method, in order.

    Attributes:
        method: its name.
        rows: for each evaluation `method`, `evaluation` (from 1), `reward`, `best_reward` so
            far, `counts` (channels kept of each group), `images` that went through the network
            since the search began, `error` where it failed, and `probe` where it was a look at
            counts that can't be the answer; `last` where a time limit made it the last one.
        seconds: that the search took, in all of its sessions.
        policy: what the method learned that serves other networks too.
    """

    method: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    policy: Any = None

    def append(self, outcome: Outcome, images: int = 0) -> dict[str, Any]:
        """Add an evaluation, for which `images` went through the network; returns its row."""
        failed = outcome.error is not None
        answer = not failed and not outcome.probe
        best = max(self.best_reward, outcome.reward if answer else -math.inf)
        row: dict[str, Any] = {
            "method": self.method,
            "evaluation": len(self.rows) + 1,
            "reward": outcome.reward,
            "best_reward": best if math.isfinite(best) else outcome.reward,
            "counts": [int(count) for count in outcome.execution.counts],
            "images": images + (self.rows[-1]["images"] if self.rows else 0),
        }
        if failed:
            row["error"] = outcome.error
        if outcome.probe:
            row["probe"] = True
        self.rows.append(row)
        return row

    @property
    def succeeded(self) -> list[dict[str, Any]]:
        """The rows of the evaluations that did not fail."""
        return [row for row in self.rows if "error" not in row]

    @property
    def answers(self) -> list[dict[str, Any]]:
        """The rows whose counts meet the budget and were rewarded."""
        return [row for row in self.succeeded if "probe" not in row]

    @property
    def best_reward(self) -> float:
        """The best reward of a plan so far; -infinity while there is none."""
        return max((row["reward"] for row in self.answers), default=-math.inf)

    @property
    def floor_reward(self) -> float:
        """What a failed evaluation counts as: the lowest reward so far, 0 while there is none."""
        return min((row["reward"] for row in self.succeeded), default=0.0)

    @property
    def best_counts(self) -> tuple[int, ...]:
        """The counts of the best plan, of the first where several are equal.

        Raises:
            UserError: every evaluation failed.
        """
        if not self.answers:
            last = self.rows[-1].get("error", "a probe") if self.rows else "there was none"
            raise UserError(
                f"the search {self.method!r} needs one evaluation that succeeds, but of "
                f"{len(self.rows)} none did (the last one: {last}): check the reward data."
            )
        return tuple(max(self.answers, key=lambda row: row["reward"])["counts"])

    def load(self, rows: list[Mapping[str, Any]], seconds: float = 0.0) -> None:
        """Replace the rows by those of a checkpoint."""
        self.rows = [dict(row) for row in rows]
        self.seconds = seconds

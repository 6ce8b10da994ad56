"""Search: how the keep ratios are searched for."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tfgraphprune.errors import UserError
from tfgraphprune.settings.checks import is_number, positive_integer

PRECISIONS = ("auto", "float32")
"""What rewards are computed in."""


@dataclass(frozen=True)
class Search:
    """How the keep ratios are searched for.

    Attributes:
        agent: the method whose plan is used; one of `tfgraphprune.search.registry.SEARCHERS`,
            such as `sac`, `cma_es` or `uniform`.
        evaluations: rewards that each method may look at; 0 takes what a trained policy says.
        rivals: methods that run beside it for comparison.
        options: hyperparameters of the agent by name, such as `{"encoder": "gcn_lstm"}`.
        policy: folder of a saved policy from which the agent starts, or a `Policy`.
        criterion: what ranks the channels within a group, by name or as an object such as
            `tfgraphprune.criteria.Taylor(data)`; runs tell objects apart by their class.
        min_keep: smallest share of channels that a group keeps, in (0, 1].
        calibration_examples: training examples for the BatchNorm statistics.
        reward_examples: examples that the reward is measured on; all by default.
        eval_batch_size: examples in a forward pass of the search; fewer need less memory, but
            BatchNorm's statistics are means over such batches, so some dozens are needed.
        first_look: of these, how many are enough for a plan that is clearly worse than the best
            one so far; all by default.
        time_limit: when each method comes to its end: seconds, or text such as `"30m"`, which
            becomes seconds; what the agent's features take counts as the agent's, and stages have
            equal shares.
        reward_precision: `auto` evaluates large networks in bfloat16 where the CPU has it in
            hardware and its outputs agree with those of float32; `float32` never does.

    Raises:
        UserError: a number or a name is out of range.
    """

    agent: str = "sac"
    evaluations: int = 200
    rivals: tuple[str, ...] = ("uniform",)
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    policy: str | os.PathLike | Any = None
    criterion: str | Callable[[Any], Any] = "l2"
    min_keep: float = 0.1
    calibration_examples: int = 512
    reward_examples: int | None = None
    eval_batch_size: int = 128
    first_look: int | None = None
    time_limit: float | str | None = None
    reward_precision: str = "auto"

    def __post_init__(self) -> None:
        if isinstance(self.rivals, str):
            raise UserError(f"rivals is a tuple of names: write ({self.rivals!r},).")
        object.__setattr__(self, "rivals", tuple(self.rivals))
        object.__setattr__(self, "options", dict(self.options))
        if isinstance(self.policy, os.PathLike):
            object.__setattr__(self, "policy", os.fspath(self.policy))
        if self.evaluations != 0 or isinstance(self.evaluations, bool):
            positive_integer("evaluations", self.evaluations)
        positive_integer("calibration_examples", self.calibration_examples)
        positive_integer("eval_batch_size", self.eval_batch_size)
        for name in ("reward_examples", "first_look"):
            if getattr(self, name) is not None:
                positive_integer(name, getattr(self, name))
        if not is_number(self.min_keep) or not 0 < self.min_keep <= 1:
            raise UserError(f"min_keep is a share of channels in (0, 1], not {self.min_keep!r}.")
        if self.reward_precision not in PRECISIONS:
            raise UserError(
                f"reward_precision must be one of {PRECISIONS}, not {self.reward_precision!r}."
            )
        if self.time_limit is not None:
            object.__setattr__(self, "time_limit", seconds(self.time_limit))


def seconds(text: float | str) -> float:
    """A time as a number of seconds: 90, `"90s"`, `"30m"` or `"1.5h"`.

    Raises:
        UserError: anything else.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", str(text).strip())
    value = float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]] if match else 0.0
    if value <= 0:
        raise UserError(
            f"time_limit is a number of seconds or text such as '30m' or '1.5h', not {text!r}."
        )
    return value

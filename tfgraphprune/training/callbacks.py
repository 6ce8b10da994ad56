"""Callbacks for a training of the user's own: `model.fit` with any loss and training step."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tf_keras as keras
from absl import logging

from tfgraphprune.cost.projection import Projection, resolve_limits
from tfgraphprune.errors import UserError
from tfgraphprune.graph.layer_graph import LayerGraph
from tfgraphprune.pruning.criteria import Criterion, Importance, resolve_criterion
from tfgraphprune.pruning.plan import PruningPlan
from tfgraphprune.pruning.ranking import rank_globally
from tfgraphprune.pruning.surgery import prune
from tfgraphprune.pruning.tasks import fresh_optimizer
from tfgraphprune.settings import Budget, Schedule
from tfgraphprune.training.checkpoints import make_folder
from tfgraphprune.training.kernel_masks import KernelMasks, normalised
from tfgraphprune.training.schedules import progress
from tfgraphprune.workdir import write_atomically

__all__ = ["GradualPruning"]

STATE = "gradual_pruning.json"
"""The file in the workdir: the plan, and the order in which channels go."""

_MIN_KEEP = 0.1


class GradualPruning(keras.callbacks.Callback):
    """Whole channels go while the user's own `model.fit` trains; then the model is really cut.

    After each step, what reads a channel that has gone is set to zero, in the model itself; so a
    coupled group of channels is gone everywhere at once, and evaluation and checkpoints see the
    network that is left. How many have gone follows from `optimizer.iterations` alone, to which
    those of former optimizers are added where the model is compiled again: one callback serves one
    training. Channels that a normalization over channels reads (LayerNorm) stay, because zeros
    would change its statistics. For models of tf_keras and, in a program that uses it, Keras 3.

    Zhu and Gupta, "To prune, or not to prune", arXiv 1710.01878, is the schedule's source.

    Args:
        target: what is to be left: a `PruningPlan`; a keep ratio, or ratios by group; or a
            `Budget` of MACs and parameters, met with one ranking over all groups.
        begin_step: step from which on channels go; which ones is decided then, if the target does
            not say.
        end_step: step at which the last ones have gone; train on for a while.
        frequency: steps between two times at which some go.
        schedule: `polynomial` or `linear`.
        criterion: what ranks channels: a name in `criteria.CRITERIA`, or an object.
        freeze: names or patterns of layers whose channels must stay.
        channel_multiple: as in `LayerGraph.from_model`.
        workdir: folder that keeps the decision, so that a training that is resumed at a later step
            goes on with it; without one, the channels that are zero already go first.
        optimizer: whose `iterations` count; by default the model's.

    Attributes:
        plan: what is left at the end; `None` before `begin_step`.

    Raises:
        UserError: a setting is out of range.
    """

    def __init__(
        self,
        target: PruningPlan | Budget | float | Mapping[str, float],
        begin_step: int = 0,
        end_step: int = 1000,
        frequency: int = 100,
        schedule: str = "polynomial",
        *,
        criterion: str | Criterion = "l2",
        freeze: Sequence[str] = (),
        channel_multiple: int | Mapping[str, int] = 1,
        workdir: str | os.PathLike | None = None,
        optimizer: Any = None,
    ):
        super().__init__()
        if isinstance(target, bool) or not isinstance(
            target, PruningPlan | Budget | int | float | Mapping
        ):
            raise UserError(
                "target must be a PruningPlan, a Budget, a keep ratio or ratios by group, not "
                f"{target!r}."
            )
        if isinstance(target, Budget) and (target.limits_file or target.limits_latency):
            raise UserError(
                "a callback can't count file_bytes or latency: give a Budget of macs or params."
            )
        self.plan: PruningPlan | None = None
        self._target = target
        self._schedule = Schedule(begin_step, end_step, frequency, schedule)
        self._criterion = resolve_criterion(criterion)
        self._freeze, self._multiple = freeze, channel_multiple
        self._file = Path(workdir) / STATE if workdir is not None else None
        self._given = self._optimizer = optimizer
        self._before = 0
        self._first: int | None = None
        self._graph: LayerGraph | None = None
        self._masks: KernelMasks | None = None
        self._order: dict[str, list[int]] = {}
        self._gone = -1.0

    def on_train_begin(self, logs: Any = None) -> None:
        """Read the model, and refuse what could not be done in the end.

        That is a target that can't be met, a workdir without access, or an optimizer that can't be
        made anew for the smaller model.
        """
        optimizer = self._given or getattr(self.model, "optimizer", None)
        if not hasattr(optimizer, "iterations"):
            raise UserError(
                "the model has no optimizer whose iterations count: compile it with one, or pass "
                "optimizer=... to GradualPruning."
            )
        if self._graph is None or self._graph.model is not self.model:
            self._graph = self._read()
            self._masks = self.plan = None
            self._order, self._gone, self._before, self._first = {}, -1.0, 0, None
        elif optimizer is not self._optimizer:  # the model was compiled again: go on from there
            self._before = self._step()
            self._keep()
        self._optimizer = optimizer
        self._refuse(self._graph)
        if getattr(self.model, "optimizer", None) is not None:
            fresh_optimizer(self.model, self.model)
        self._warn_of_missing_steps()
        if self._file is not None:
            make_folder(self._file.parent, "workdir")

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Decide which channels go, once the training is there, or go on with what was decided."""
        if self._first is None:
            self._first = int(self._optimizer.iterations.numpy())
            self._resume(self._first)
        if self.plan is None and self._step() >= self._schedule.begin_step:
            self._decide()
            self._silence()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Take from the optimizer what it gave back to the channels that have gone."""
        self._silence()

    def on_train_end(self, logs: Any = None) -> None:
        """The same, where Keras has put averages into the place of the weights."""
        self._warn_of_former_weights()
        self._silence()

    def pruned_model(self) -> Any:
        """The smaller model, which computes what the trained one does.

        It is plain, compiled like the trained one, with a fresh optimizer.

        Raises:
            UserError: not all channels have gone yet.
        """
        if self.plan is None or self._step() < self._schedule.end_step:
            raise UserError(
                f"the last channels go at step {self._schedule.end_step}, but the optimizer has "
                f"made {self._step() if self._optimizer else 0} steps: train on, or choose an "
                "earlier end_step."
            )
        self._warn_of_former_weights()
        self._silence()
        return prune(self.model, self.plan)

    def _step(self) -> int:
        return self._before + int(self._optimizer.iterations.numpy())

    def _read(self) -> LayerGraph:
        graph = LayerGraph.from_model(self.model, self._freeze, self._multiple)
        return graph.freezing(normalised(graph))

    def _refuse(self, graph: LayerGraph) -> None:
        """Find out, without the criterion, whether the target fits the graph."""
        if isinstance(self._target, Budget):
            Projection.of(graph, resolve_limits(self._target, graph), _MIN_KEEP)
        elif isinstance(self._target, PruningPlan):
            self._target.check(graph)
        else:
            PruningPlan.from_keep_ratios(graph, self._target, "random")

    def _warn_of_missing_steps(self) -> None:
        """The training may end before the last channels go."""
        params = self.params or {}  # a loop of the user's may give none
        epochs, steps = params.get("epochs"), params.get("steps")
        if epochs and steps and self._step() + epochs * steps < self._schedule.end_step:
            logging.warning(
                "GradualPruning: the last channels go at step %d, but this training has %d steps: "
                "pruned_model needs a longer one after it, or an earlier end_step.",
                self._schedule.end_step,
                epochs * steps,
            )

    def _warn_of_former_weights(self) -> None:
        """A callback such as EarlyStopping may have brought back weights of an earlier step."""
        if self.plan is None or self._masks is None or getattr(self._optimizer, "use_ema", False):
            return
        if self._gone > 0 and not self._masks.closed():
            logging.warning(
                "GradualPruning: another callback has brought back weights from before some "
                "channels went, so the smaller model was not trained without them: an "
                "EarlyStopping with restore_best_weights wants a start_from_epoch after step %d.",
                self._schedule.end_step,
            )

    def _decide(self) -> None:
        """Fix the plan and the order in which channels go."""
        graph = self._graph
        assert graph is not None
        self._masks = KernelMasks(graph)
        importance = self._importance(graph)
        if isinstance(self._target, PruningPlan):
            self.plan = self._target
        elif isinstance(self._target, Budget):
            self.plan = rank_globally(
                graph, self._target, criterion=lambda _: importance, min_keep=_MIN_KEEP
            )
        else:
            self.plan = PruningPlan.from_keep_ratios(graph, self._target, lambda _: importance)
        for name, kept in self.plan.kept.items():
            going = np.setdiff1d(np.arange(graph.group(name).size), kept)
            order = np.argsort(np.asarray(importance[name])[going], kind="stable")
            self._order[name] = going[order].tolist()
        self._keep()

    def _keep(self) -> None:
        """Write what was decided, and the steps of former optimizers, for those who go on."""
        if self._file is None or self.plan is None:
            return
        content = {
            "target": _described(self._target),
            "schedule": vars(self._schedule),
            "plan": self.plan.to_dict(),
            "order": self._order,
            "before": self._before,
        }
        write_atomically(self._file, json.dumps(content, indent=1) + "\n")

    def _resume(self, iterations: int) -> None:
        """Take over what was decided, where a training goes on at a step behind that."""
        if self._file is None or self.plan is not None or not iterations:
            return
        if not self._file.exists():
            return
        try:
            content = json.loads(self._file.read_text())
            plan = PruningPlan.from_dict(content["plan"])
            same = content["target"] == _described(self._target)
            same = same and content["schedule"] == vars(self._schedule)
            order = {name: list(going) for name, going in content["order"].items()}
            before = int(content.get("before", 0))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"{self._file} can't be read ({error!r}): delete it, and start the training anew."
            ) from error
        if before + iterations <= self._schedule.begin_step:  # the file is of another training
            return
        if not same:
            raise UserError(
                f"{self._file} is of a training with another target or schedule: give back the "
                "former ones, or use another workdir."
            )
        assert self._graph is not None
        plan.check(self._graph)
        self._masks = KernelMasks(self._graph)
        self.plan, self._order, self._before = plan, order, max(self._before, before)
        self._silence()

    def _importance(self, graph: LayerGraph) -> Importance:
        """Of the criterion; a channel that nothing reads any more is the least important."""
        assert self._masks is not None
        silent = self._masks.silent()
        found = {}
        for name, values in self._criterion(graph).items():
            least = min(0.0, float(np.min(values)) - 1) if np.min(values) < 0 else 0.0
            found[name] = np.where(silent[name], least, values) if name in silent else values
        return found

    def _silence(self) -> None:
        if self.plan is None or self._graph is None or self._masks is None:
            return
        gone = progress(self._schedule, self._step())
        if gone != self._gone:
            self._gone = gone
            self._masks.set(
                {
                    name: np.setdiff1d(
                        np.arange(self._graph.group(name).size), going[: round(gone * len(going))]
                    )
                    for name, going in self._order.items()
                }
            )
        self._masks.apply()


def _described(target: Any) -> Any:
    """A target as plain values."""
    if isinstance(target, PruningPlan):
        return target.to_dict()
    if isinstance(target, Budget):
        return vars(target)
    return dict(target) if isinstance(target, Mapping) else target

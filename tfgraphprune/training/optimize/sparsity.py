"""Unstructured and 2:4 sparsity: tfmot zeroes the smallest weights while the network trains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfgraphprune.batches import Data
from tfgraphprune.errors import ToleranceError, UserError
from tfgraphprune.pruning.rebuild import distributed_as
from tfgraphprune.training.finetune import finetune, steps_an_epoch
from tfgraphprune.training.optimize.stage import (
    Optimized,
    check_training,
    default_rate,
    run_stage,
)
from tfgraphprune.training.optimize.wrapping import layer_at, wrap_kernels

PATTERNS = {"2:4": (2, 4)}
"""Zeros among so many neighbours along a kernel's input channels, by name."""

SCHEDULES = ("polynomial", "constant")

LEARNING_RATES = {"sgd": 0.01, "adam": 3e-3}
"""Peaks of the cosine schedule: `sgd` starts lower than in `finetune`, whose rate spoils networks
without BatchNorm."""

_RAMP_SHARE = 0.5
"""Share of the training in which a polynomial schedule rises."""


def sparsify(
    model: Any,
    train_data: Data,
    *,
    sparsity: float | None = None,
    pattern: str | None = None,
    schedule: str = "polynomial",
    epochs: int = 10,
    batch_size: int = 64,
    skip: Sequence[str] = (),
    optimizer: str | None = None,
    learning_rate: float | None = None,
    **training: Any,
) -> Optimized:
    """Train a copy of a classifier in which many weights become zero and stay so.

    Zhu and Gupta, "To prune, or not to prune", arXiv 1710.01878: the polynomial schedule. With
    tfmot a layer's smallest weights go; biases, BatchNorm and depthwise kernels stay.

    Args:
        model: it is not changed.
        train_data: `(x, y)` arrays or a batched data set.
        sparsity: the share of zeros in each kernel, above 0 and below 1; or give `pattern`.
        pattern: `2:4`: two zeros among each four neighbours along a kernel's input channels,
            chosen in the first step.
        schedule: with `sparsity`: `polynomial` rises over the first half of the steps, `constant`
            starts at the whole share.
        epochs: passes over the data, at least 1.
        batch_size: for arrays.
        skip: names or patterns of layers to leave as they are.
        optimizer: as in `finetune`.
        learning_rate: its peak; by default `LEARNING_RATES`, or that of a compiled model's own
            optimizer.
        training: further arguments of `finetune`, such as `teacher`, `seed`, `checkpoint_dir`.

    Returns:
        The plain model, the share of zeros in each kernel, and the layers that were left out.

    Raises:
        UserError: a setting that can't be used, or no layer that tfmot can take.
        ToleranceError: after the training a kernel has too few zeros.
    """
    _check(sparsity, pattern, schedule, epochs)
    chosen = {"optimizer": optimizer, "learning_rate": learning_rate}
    check_training(model, train_data, {**chosen, **training})
    if learning_rate is None:
        learning_rate = default_rate(model, optimizer, LEARNING_RATES)
    settings = {
        "sparsity": sparsity,
        "pattern": pattern,
        "schedule": schedule,
        "epochs": epochs,
        "batch_size": batch_size,
        "skip": skip,
        "optimizer": optimizer,
        "learning_rate": learning_rate,
        **training,
    }
    return run_stage(f"{__name__}:train", model, train_data, settings)


def train(
    model: Any,
    train_data: Data,
    *,
    sparsity: float | None,
    pattern: str | None,
    schedule: str,
    epochs: int,
    batch_size: int,
    skip: Sequence[str],
    callbacks: tuple[Any, ...] = (),
    **training: Any,
) -> Optimized:
    """`sparsify` for a plain model of tf_keras that may be changed: what a worker runs."""
    import tensorflow_model_optimization as tfmot

    steps = epochs * steps_an_epoch(train_data, batch_size)
    settings: dict[str, Any] = {"pruning_schedule": _schedule(schedule, sparsity or 0.5, steps)}
    if pattern is not None:
        settings["sparsity_m_by_n"] = PATTERNS[pattern]
    prune, strip = tfmot.sparsity.keras.prune_low_magnitude, tfmot.sparsity.keras.strip_pruning

    def against(layer: Any) -> str | None:
        return _not_in_fours(layer) if pattern is not None else None

    wrapped, names, left_out = wrap_kernels(
        model, lambda layer: prune(layer, **settings), strip, against, skip
    )
    if not names:
        raise UserError(f"tfmot can prune no layer of {model.name!r}: {left_out}.")
    rows = finetune(
        wrapped,
        train_data,
        epochs=epochs,
        batch_size=batch_size,
        callbacks=(tfmot.sparsity.keras.UpdatePruningStep(), *callbacks),
        **training,
    )
    with distributed_as(model):
        plain = strip(wrapped)
    reached = {name: _share_of_zeros(layer_at(plain, name)) for name in names}
    for name in names:
        _check_zeros(name, layer_at(plain, name), sparsity, pattern)
    return Optimized(plain, reached, left_out, rows)


def holds_pattern(kernel: np.ndarray, zeros: int, among: int) -> bool:
    """Whether each `among` neighbours along the input channels have at least so many zeros.

    Neighbours are counted from the first channel on; fewer at the end may all be there.

    Args:
        kernel: of a convolution or Dense layer: its last axis but one are the input channels.
        zeros: how many, at least.
        among: how many neighbours.
    """
    lines = np.moveaxis(kernel, -2, -1).reshape(-1, kernel.shape[-2])
    whole = lines[:, : lines.shape[1] // among * among]
    return bool(((whole.reshape(-1, among) == 0).sum(1) >= zeros).all())


def _check(sparsity: float | None, pattern: str | None, schedule: str, epochs: int) -> None:
    if (sparsity is None) == (pattern is None):
        raise UserError(
            "sparsify needs either sparsity, such as 0.5, or pattern='2:4', but came with "
            f"sparsity={sparsity!r} and pattern={pattern!r}: give one of the two."
        )
    if sparsity is not None and not 0 < sparsity < 1:
        raise UserError(f"sparsity must be above 0 and below 1, not {sparsity!r}.")
    if pattern is not None and pattern not in PATTERNS:
        raise UserError(f"pattern must be one of {tuple(PATTERNS)}, not {pattern!r}.")
    if schedule not in SCHEDULES:
        raise UserError(f"schedule must be one of {SCHEDULES}, not {schedule!r}.")
    if epochs < 1:
        raise UserError(f"epochs must be 1 or more, because weights go in training, not {epochs}.")


def _schedule(name: str, sparsity: float, steps: int) -> Any:
    import tensorflow_model_optimization as tfmot

    from tfgraphprune.training.gradual import update_frequency

    if name == "constant":
        # Step 1 is the first that tfmot sees; the masks then follow the weights.
        return tfmot.sparsity.keras.ConstantSparsity(sparsity, 1, -1, update_frequency(steps))
    end = max(1, round(steps * _RAMP_SHARE))
    return tfmot.sparsity.keras.PolynomialDecay(
        0.0, sparsity, begin_step=0, end_step=end, frequency=update_frequency(end)
    )


def _not_in_fours(layer: Any) -> str | None:
    """Why a pattern along the input channels means nothing in a layer."""
    kernel = getattr(layer, "pointwise_kernel", getattr(layer, "kernel", None))
    kind = type(layer).__name__
    if kernel is None or kernel.shape.rank not in (2, 4) or kind.endswith("Transpose"):
        return f"tfmot's patterns don't run along the input channels of a {kind}"
    if kernel.shape[-2] < 4:
        return f"its kernel reads {kernel.shape[-2]} channels, fewer than 4"
    return None


def _pruned_kernels(layer: Any) -> list[np.ndarray]:
    """The weights of a stripped layer that tfmot has pruned."""
    return [weight.numpy() for weight in layer.get_prunable_weights()]


def _share_of_zeros(layer: Any) -> float:
    kernels = _pruned_kernels(layer)
    return float(sum((k == 0).sum() for k in kernels) / sum(k.size for k in kernels))


def _check_zeros(name: str, layer: Any, sparsity: float | None, pattern: str | None) -> None:
    for kernel in _pruned_kernels(layer):
        zeros = int((kernel == 0).sum())
        # tfmot keeps one weight at least, and rounds the number of those that stay.
        wanted = min(kernel.size - 1, np.floor(kernel.size * sparsity - 0.5)) if sparsity else 0
        if zeros < wanted or (pattern and not holds_pattern(kernel, *PATTERNS[pattern])):
            raise ToleranceError(
                f"after the training the kernel of {name!r} has {zeros} zeros among "
                f"{kernel.size} weights, which is not {pattern or sparsity}: train for more steps."
            )

"""Weight clustering: tfmot lets the weights of a kernel share a few values, which are trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfgraphprune.batches import Data
from tfgraphprune.errors import ToleranceError, UserError
from tfgraphprune.pruning.rebuild import distributed_as
from tfgraphprune.training.finetune import finetune
from tfgraphprune.training.moving_averages import estimate_averages
from tfgraphprune.training.optimize.stage import (
    Optimized,
    check_training,
    default_rate,
    run_stage,
)
from tfgraphprune.training.optimize.wrapping import kernel_layers, layer_at, wrap_kernels

LEARNING_RATES = {"sgd": 5e-3, "adam": 3e-4}
"""Peaks of the cosine schedule: lower than in other training, as a value moves many weights."""


def cluster(
    model: Any,
    train_data: Data,
    *,
    clusters: int = 16,
    preserve_sparsity: bool = False,
    epochs: int = 5,
    skip: Sequence[str] = (),
    optimizer: str | None = None,
    learning_rate: float | None = None,
    **training: Any,
) -> Optimized:
    """Train a copy of a classifier whose kernels have at most `clusters` different values each.

    Han, Mao and Dally, "Deep Compression", arXiv 1510.00149, section 3. The values start from
    k-means++; depthwise kernels, biases and BatchNorm stay.

    Args:
        model: it is not changed.
        train_data: `(x, y)` arrays or a batched data set.
        clusters: how many values a kernel may have, at least 2; zero is one of them with
            `preserve_sparsity`, which needs 3.
        preserve_sparsity: whether weights that are zero stay zero.
        epochs: passes over the data; 0 takes the values of k-means++.
        skip: names or patterns of layers to leave as they are.
        optimizer: as in `finetune`.
        learning_rate: its peak; by default `LEARNING_RATES`, or that of a compiled model's own
            optimizer.
        training: further arguments of `finetune`, such as `teacher`, `seed`, `checkpoint_dir`.

    Returns:
        The plain model, the number of different values in each kernel, and the layers that were
        left out.

    Raises:
        UserError: a setting that can't be used, or no layer that tfmot can take.
        ToleranceError: after the training a kernel has more values, or lost zeros.
    """
    least = 3 if preserve_sparsity else 2
    if not isinstance(clusters, int | np.integer) or clusters < least:
        raise UserError(f"clusters must be a whole number of at least {least}, not {clusters!r}.")
    chosen = {"optimizer": optimizer, "learning_rate": learning_rate}
    check_training(model, train_data, {**chosen, **training})
    if learning_rate is None:
        learning_rate = default_rate(model, optimizer, LEARNING_RATES)
    settings = {
        "clusters": int(clusters),
        "preserve_sparsity": preserve_sparsity,
        "skip": skip,
        "epochs": epochs,
        "optimizer": optimizer,
        "learning_rate": learning_rate,
        **training,
    }
    return run_stage(f"{__name__}:train", model, train_data, settings)


def train(
    model: Any,
    train_data: Data,
    *,
    clusters: int,
    preserve_sparsity: bool,
    skip: Sequence[str],
    **training: Any,
) -> Optimized:
    """`cluster` for a plain model of tf_keras that may be changed: what a worker runs."""
    import tensorflow_model_optimization as tfmot
    from tensorflow_model_optimization.python.core.clustering.keras.cluster_config import (
        GradientAggregation,
    )

    def wrap(layer: Any) -> Any:
        # Zeros are kept layer by layer: tfmot's k-means needs some where it is to keep them.
        return tfmot.clustering.keras.cluster_weights(
            layer,
            number_of_clusters=clusters,
            cluster_centroids_init=tfmot.clustering.keras.CentroidInitialization.KMEANS_PLUS_PLUS,
            preserve_sparsity=preserve_sparsity and _zeros(layer) > 0,
            # With sums, the values of large kernels run away and fall together.
            cluster_gradient_aggregation=GradientAggregation.AVG,
        )

    def against(layer: Any) -> str | None:
        size = min(kernel.size for kernel in _kernels(layer))
        return f"a kernel has {size} weights, not more than clusters" if size <= clusters else None

    strip = tfmot.clustering.keras.strip_clustering
    before = {name: _zeros(layer) for name, layer in kernel_layers(model)}
    wrapped, names, left_out = wrap_kernels(model, wrap, strip, against, skip)
    if not names:
        raise UserError(f"tfmot can cluster no layer of {model.name!r}: {left_out}.")
    rows = finetune(wrapped, train_data, **training)
    with distributed_as(model):
        plain = strip(wrapped)
    if not rows:  # the moving averages still remember the weights before they were clustered
        estimate_averages(plain, train_data, augment=training.get("augment"))
    reached = {}
    for name in names:
        layer = layer_at(plain, name)
        reached[name] = max(len(np.unique(kernel)) for kernel in _kernels(layer))
        if reached[name] > clusters:
            raise ToleranceError(
                f"after the training a kernel of {name!r} has {reached[name]} values, more than "
                f"{clusters}: leave the layer out with skip."
            )
        if preserve_sparsity and _zeros(layer) < before[name]:
            raise ToleranceError(
                f"after the training {name!r} has {_zeros(layer)} zeros, before it {before[name]}: "
                "leave the layer out with skip."
            )
    return Optimized(plain, reached, left_out, rows)


def _kernels(layer: Any) -> list[np.ndarray]:
    """What tfmot clusters in a layer; of a separable convolution only the pointwise kernel."""
    weights = [weight for weight in layer.weights if weight.shape.rank >= 2]
    return [w.numpy() for w in weights if len(weights) == 1 or "depthwise" not in w.name]


def _zeros(layer: Any) -> int:
    return sum(int((kernel == 0).sum()) for kernel in _kernels(layer))

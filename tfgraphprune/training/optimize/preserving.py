"""Keeps zeros and clusters while a quantization-aware model trains, and checks that they stayed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from tensorflow_model_optimization.python.core.clustering.keras.cluster_config import (
    GradientAggregation,
)
from tensorflow_model_optimization.python.core.quantization.keras import quantize_wrapper
from tensorflow_model_optimization.python.core.quantization.keras.collab_opts.cluster_preserve import (  # noqa: E501
    cluster_preserve_quantize_registry,
    cluster_utils,
)

from tfgraphprune.errors import ToleranceError

_MASK = cluster_preserve_quantize_registry.SPARSITY_MASK
_VALUES = cluster_preserve_quantize_registry.CLUSTERING_IMPL


class Keeper:
    """Holds on to what the kernels of a quantization-aware model are to keep.

    Args:
        model: its ranges are set, it is not trained yet; changed in place: the gradient of a
            cluster's value becomes the mean over its weights (with tfmot's sum, the values of large
            kernels run away), and layers that tfmot would not keep as they are, and those that are
            not trainable, don't train until `finish`.
        preserve: `None`, `sparsity`, `clusters` or `both`.
    """

    def __init__(self, model: Any, preserve: str | None):
        self._zeros = preserve in ("sparsity", "both")
        self._clusters = preserve in ("clusters", "both")
        self._before = {}
        self._still: list[tuple[Any, list, list]] = []
        self._stopped: list[Any] = []
        for name, layer, kernel, variables in list(_kernels(model)):
            value = kernel.numpy()
            self._before[name] = value
            values = variables.get(_VALUES)
            if values is not None:
                values.cluster_gradient_aggregation = GradientAggregation.AVG
                # The kernel only shows the values: Keras would warn that it has no gradient.
                trained = [weight for weight in layer._trainable_weights if weight is not kernel]
                layer._trainable_weights = trained
                layer._non_trainable_weights.append(kernel)
            loses_zeros = self._zeros and (value == 0).any() and _MASK not in variables
            loses_clusters = self._clusters and _is_clustered(value) and values is None
            if (loses_zeros or loses_clusters) and layer.trainable:
                layer.trainable = False
                self._stopped.append(layer)
        for layer in model.layers:
            # tfmot's wrapper trains its kernel even so.
            if isinstance(layer, quantize_wrapper.QuantizeWrapper) and not layer.trainable:
                trained, others = layer._trainable_weights, layer._non_trainable_weights
                self._still.append((layer, trained, others))
                _set_weights(layer, [], [*trained, *others])

    def finish(self, model: Any) -> Any:
        """The trained model, without the variables that only the training needed.

        Raises:
            ToleranceError: a kernel lost zeros, or has more values in an output channel than the
                whole kernel had.
        """
        for layer, trained, others in self._still:  # the order in which they are saved
            _set_weights(layer, trained, others)
        for layer in self._stopped:
            layer.trainable = True
        for name, _, kernel, _ in _kernels(model):
            before, after = self._before[name], kernel.numpy()
            if self._zeros and (after[before == 0] != 0).any():
                raise ToleranceError(
                    f"in the training the kernel of {name!r} lost zeros: leave it out with skip."
                )
            if self._clusters and _is_clustered(before) and _most_values(after) > _values(before):
                raise ToleranceError(
                    f"in the training the kernel of {name!r} got {_most_values(after)} values in a "
                    f"channel, from {_values(before)}: leave it out with skip."
                )
        if not self._clusters:
            return model
        plain = cluster_utils.strip_clustering_cqat(model)
        for layer in plain.layers:
            if isinstance(layer, quantize_wrapper.QuantizeWrapper):
                _list_weights(layer)
        return plain


def _kernels(model: Any) -> Iterator[tuple[str, Any, Any, dict]]:
    """Layers, their kernels, and the variables of a kernel's quantizer."""
    for layer in model.layers:
        if isinstance(layer, quantize_wrapper.QuantizeWrapper) and layer._weight_vars:
            for kernel, _, variables in layer._weight_vars:
                yield layer.name, layer, kernel, variables
            continue
        for number, weight in enumerate(layer.weights):
            if weight.shape.rank is not None and weight.shape.rank >= 2:
                yield f"{layer.name}/{number}", layer, weight, {}


def _list_weights(layer: Any) -> None:
    """Have a wrapper list its weights as a new one does, kernel first and once.

    tfmot's stripping has Keras list a kernel twice, which no file takes, and last.
    """
    kernels = {id(kernel) for kernel, _, _ in layer._weight_vars}
    trained = sorted(layer._trainable_weights, key=lambda weight: id(weight) not in kernels)
    known = {id(weight) for weight in trained}
    others = [weight for weight in layer._non_trainable_weights if id(weight) not in known]
    _set_weights(layer, trained, others)


def _set_weights(layer: Any, trained: list, others: list) -> None:
    """Have a wrapper list these weights, past Keras, which would track them anew."""
    vars(layer).update(_trainable_weights=trained, _non_trainable_weights=others)


def _values(kernel: np.ndarray) -> int:
    return len(np.unique(kernel))


def _most_values(kernel: np.ndarray) -> int:
    """The number of values in the output channel that has most: tfmot keeps so many in each."""
    return max(map(_values, kernel.reshape(-1, kernel.shape[-1]).T))


def _is_clustered(kernel: np.ndarray) -> bool:
    return _values(kernel) <= kernel.size // 2

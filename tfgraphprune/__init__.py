"""Structured pruning of Keras models: reads, searches, cuts, recovers, exports.

Names are imported when they are first used, so that `import tfgraphprune` is fast; it also makes
TensorFlow route `tf.keras` to tf_keras, on which the whole stack is built.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tfgraphprune.legacy_keras import use_tf_keras

if TYPE_CHECKING:
    from tfgraphprune import flags
    from tfgraphprune.compression_result import CompressionResult, load_result
    from tfgraphprune.cost.counting import count_macs, count_params
    from tfgraphprune.errors import (
        MissingExtraError,
        SearchFailedError,
        ToleranceError,
        UserError,
    )
    from tfgraphprune.graph.layer_graph import ChannelGroup, LayerGraph
    from tfgraphprune.graph.rules import LayerRule, register_layer_rule
    from tfgraphprune.inspection import Inspection, inspect
    from tfgraphprune.latency_model import measure_latency
    from tfgraphprune.pipeline import compress
    from tfgraphprune.pruning import criteria
    from tfgraphprune.pruning.batchnorm import reestimate_batchnorm
    from tfgraphprune.pruning.masking import masked
    from tfgraphprune.pruning.plan import PruningPlan
    from tfgraphprune.pruning.ranking import rank_globally
    from tfgraphprune.pruning.reconstruction import reconstruct
    from tfgraphprune.pruning.surgery import prune
    from tfgraphprune.pruning.tasks import with_network
    from tfgraphprune.search.front import search_front
    from tfgraphprune.search.plan_search import search_plan
    from tfgraphprune.search.policy import load_policy
    from tfgraphprune.settings import Budget, FineTune, Schedule, Search
    from tfgraphprune.tflite.convert import export_tflite
    from tfgraphprune.tflite.device.check import check_on_device, device_latency
    from tfgraphprune.tflite.layers import compare_layers
    from tfgraphprune.tflite.metadata import tflite_metadata
    from tfgraphprune.tflite.verify import verify_tflite
    from tfgraphprune.training import callbacks
    from tfgraphprune.training.features import feature_pairs
    from tfgraphprune.training.finetune import finetune
    from tfgraphprune.training.optimize.clustering import cluster
    from tfgraphprune.training.optimize.quantization import quantize_aware
    from tfgraphprune.training.optimize.sparsity import sparsify

__version__ = "0.1.0"

_PUBLIC = {
    "Budget": "settings",
    "ChannelGroup": "graph.layer_graph",
    "CompressionResult": "compression_result",
    "FineTune": "settings",
    "Inspection": "inspection",
    "LayerGraph": "graph.layer_graph",
    "LayerRule": "graph.rules",
    "MissingExtraError": "errors",
    "PruningPlan": "pruning.plan",
    "Schedule": "settings",
    "Search": "settings",
    "SearchFailedError": "errors",
    "ToleranceError": "errors",
    "UserError": "errors",
    "check_on_device": "tflite.device.check",
    "compare_layers": "tflite.layers",
    "cluster": "training.optimize.clustering",
    "compress": "pipeline",
    "count_macs": "cost.counting",
    "count_params": "cost.counting",
    "device_latency": "tflite.device.check",
    "export_tflite": "tflite.convert",
    "feature_pairs": "training.features",
    "finetune": "training.finetune",
    "inspect": "inspection",
    "load_policy": "search.policy",
    "load_result": "compression_result",
    "masked": "pruning.masking",
    "measure_latency": "latency_model",
    "prune": "pruning.surgery",
    "quantize_aware": "training.optimize.quantization",
    "rank_globally": "pruning.ranking",
    "reconstruct": "pruning.reconstruction",
    "register_layer_rule": "graph.rules",
    "reestimate_batchnorm": "pruning.batchnorm",
    "search_front": "search.front",
    "search_plan": "search.plan_search",
    "sparsify": "training.optimize.sparsity",
    "tflite_metadata": "tflite.metadata",
    "verify_tflite": "tflite.verify",
    "with_network": "pruning.tasks",
}
"""Public names, and the modules that hold them."""

_PUBLIC_MODULES = {
    "callbacks": "training.callbacks",
    "criteria": "pruning.criteria",
    "flags": "flags",
}
"""Public names that are modules themselves."""

__all__ = [
    "Budget",
    "ChannelGroup",
    "CompressionResult",
    "FineTune",
    "Inspection",
    "LayerGraph",
    "LayerRule",
    "MissingExtraError",
    "PruningPlan",
    "Schedule",
    "Search",
    "SearchFailedError",
    "ToleranceError",
    "UserError",
    "callbacks",
    "check_on_device",
    "cluster",
    "compare_layers",
    "compress",
    "count_macs",
    "count_params",
    "criteria",
    "device_latency",
    "export_tflite",
    "feature_pairs",
    "finetune",
    "flags",
    "inspect",
    "load_policy",
    "load_result",
    "masked",
    "measure_latency",
    "prune",
    "quantize_aware",
    "rank_globally",
    "reconstruct",
    "reestimate_batchnorm",
    "register_layer_rule",
    "search_front",
    "search_plan",
    "sparsify",
    "tflite_metadata",
    "verify_tflite",
    "with_network",
]

use_tf_keras()


def __getattr__(name: str) -> Any:
    if name in _PUBLIC_MODULES:
        value: Any = import_module(f"{__name__}.{_PUBLIC_MODULES[name]}")
    elif name in _PUBLIC:
        value = getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

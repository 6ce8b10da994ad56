"""Which Keras TensorFlow hands out as `tf.keras`: the stack here is built on tf_keras (Keras 2)."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

SWITCH = "TF_USE_LEGACY_KERAS"
"""The variable that makes TensorFlow route `tf.keras` to tf_keras."""


def use_tf_keras() -> None:
    """Make `tf.keras` be tf_keras in this process, where nobody uses it as Keras 3 yet.

    Sets `TF_USE_LEGACY_KERAS=1`. Where TensorFlow is loaded already but its Keras is not, the
    path on which `tensorflow.keras` is looked up changes too: TensorFlow fixes it at its own
    import, and Spektral and TF-Agents would get Keras 3 from it.

    A program that has loaded `tf.keras` as Keras 3 keeps it: nothing is changed then, tf_keras
    is imported beside it, and steps that need the switch run in a worker process.

    Raises:
        ImportError: tf_keras is not installed.
    """
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is not None:
        tf_keras = _tf_keras_folder()
        if _is_keras_3(vars(tensorflow).get("keras"), tf_keras):
            return
        if (routed := str(tf_keras / "api" / "_v2")) not in tensorflow.__path__[:1]:
            tensorflow.__path__.insert(0, routed)
    os.environ[SWITCH] = "1"


def serves_tf_keras() -> bool:
    """Whether `tf.keras` is tf_keras in this process, as TF-Agents, Spektral and tfmot need it."""
    tensorflow = sys.modules.get("tensorflow")
    return tensorflow is None or not _is_keras_3(vars(tensorflow).get("keras"), _tf_keras_folder())


def _is_keras_3(keras: object, tf_keras: Path) -> bool:
    """Whether TensorFlow's `keras` attribute has been resolved, and not to tf_keras."""
    state = vars(keras) if isinstance(keras, ModuleType) else {}
    if "_tfll_initialized" in state:  # TensorFlow's lazy loader, resolved at the first access
        return state["_tfll_initialized"] and state.get("_tfll_keras_version") != "tf_keras"
    file = state.get("__file__")
    return file is not None and tf_keras not in Path(file).resolve().parents


def _tf_keras_folder() -> Path:
    """Where tf_keras is installed; looking that up does not import it."""
    spec = importlib.util.find_spec("tf_keras")
    if spec is None or spec.origin is None:
        raise ImportError(
            "tfgraphprune needs the package tf-keras, which is not installed: "
            "run pip install tf-keras."
        )
    return Path(spec.origin).resolve().parent

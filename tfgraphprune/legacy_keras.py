"""Which Keras TensorFlow hands out as `tf.keras`: the stack here is built on tf_keras (Keras 2)."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

_SWITCH = "TF_USE_LEGACY_KERAS"


def use_tf_keras() -> None:
    """Make `tf.keras` be tf_keras in this process.

    Sets `TF_USE_LEGACY_KERAS=1`. Where TensorFlow is loaded already but its Keras is not, the
    path on which `tensorflow.keras` is looked up changes too: TensorFlow fixes it at its own
    import, and Spektral and TF-Agents would get Keras 3 from it.

    Raises:
        ImportError: `tf.keras` is already loaded as Keras 3.
    """
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is not None:
        tf_keras = _tf_keras_folder()
        if _is_keras_3(vars(tensorflow).get("keras"), tf_keras):
            raise ImportError(
                "tfgraphprune needs tf.keras to be tf_keras (Keras 2), but TensorFlow has already "
                "loaded it as Keras 3: import tfgraphprune before tf.keras is first used, or set "
                f"{_SWITCH}=1 before Python starts."
            )
        if (routed := str(tf_keras / "api" / "_v2")) not in tensorflow.__path__[:1]:
            tensorflow.__path__.insert(0, routed)
    os.environ[_SWITCH] = "1"


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

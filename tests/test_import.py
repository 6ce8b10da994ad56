"""`import tfgraphprune`: light, lazy, and in charge of which Keras TensorFlow hands out."""

import ast
import importlib
import pkgutil

import pytest

import tfgraphprune as tgp
from tests.support import ROOT

WHICH = "; import tensorflow as tf; print('\\n' + tf.keras.layers.Dense.__module__)"


def test_import_loads_nothing_heavy(run_python):
    code = (
        "import sys, tfgraphprune; dir(tfgraphprune); tfgraphprune.Budget(macs_ratio=0.5);"
        "print([n for n in ('tensorflow', 'tf_keras', 'keras', 'numpy') if n in sys.modules])"
    )
    assert run_python(code).stdout == "[]\n"


TAKES_TF_KERAS = {
    "nothing before": "import tfgraphprune",
    "TensorFlow before": "import tensorflow, tfgraphprune",
    "Keras 3 on its own before": "import keras, tfgraphprune; assert keras.__version__[0] == '3'",
    "the lazy loader before": "from tensorflow import keras; import tfgraphprune",
    "tf.keras before, as tf_keras": (
        "import os; os.environ['TF_USE_LEGACY_KERAS'] = '1'; import tensorflow as tf;"
        "tf.keras.layers; import tfgraphprune"
    ),
    "tensorflow.keras before, as tf_keras": (
        "import os; os.environ['TF_USE_LEGACY_KERAS'] = 'true';"
        "from tensorflow.keras import layers; import tfgraphprune"
    ),
}


@pytest.mark.parametrize("code", TAKES_TF_KERAS.values(), ids=TAKES_TF_KERAS)
def test_tf_keras_is_used(run_python, code):
    ended = run_python(code + WHICH)
    assert ended.stdout.endswith("\ntf_keras.src.layers.core.dense\n"), ended.stderr


def test_packages_built_on_keras_get_tf_keras_when_tensorflow_came_first(run_python):
    code = (
        "import tensorflow, tfgraphprune; from spektral.layers import GCNConv;"
        "from tensorflow.keras.layers import Dense; import tf_keras;"
        "print(issubclass(GCNConv, tf_keras.layers.Layer), Dense is tf_keras.layers.Dense)"
    )
    ended = run_python(code)
    assert ended.stdout.endswith("True True\n"), ended.stderr


REFUSED = {
    "used through tf": "import tensorflow as tf; tf.keras.layers",
    "imported from": "from tensorflow.keras import layers",
}


@pytest.mark.parametrize("code", REFUSED.values(), ids=REFUSED)
def test_a_loaded_keras_3_is_refused(run_python, code):
    ended = run_python(
        code + "\nimport os\ntry:\n    import tfgraphprune\nexcept ImportError as error:\n"
        "    print(error)\nprint(os.environ.get('TF_USE_LEGACY_KERAS'))"
    )
    assert ended.stdout == (
        "tfgraphprune needs tf.keras to be tf_keras (Keras 2), but TensorFlow has already loaded "
        "it as Keras 3: import tfgraphprune before tf.keras is first used, or set "
        "TF_USE_LEGACY_KERAS=1 before Python starts.\nNone\n"
    ), ended.stderr


def test_a_missing_tf_keras_is_named(run_python):
    code = "import sys; sys.modules['tf_keras'] = None; import tensorflow; import tfgraphprune"
    assert "run pip install tf-keras" in run_python(code).stderr.splitlines()[-1]


def test_public_names_are_the_ones_listed_for_type_checkers():
    tree = ast.parse((ROOT / "tfgraphprune" / "__init__.py").read_text())
    block = next(
        node
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    typed = {alias.name: n.module for n in block.body for alias in n.names}
    lazy = {name: f"tfgraphprune.{module}" for name, module in tgp._PUBLIC.items()}
    lazy |= {
        name: f"tfgraphprune.{module}".rpartition(".")[0]
        for name, module in tgp._PUBLIC_MODULES.items()
    }
    assert typed == lazy
    assert sorted(lazy) == sorted(tgp.__all__)
    assert set(tgp.__all__) <= set(dir(tgp))


@pytest.mark.parametrize("name", tgp.__all__)
def test_every_public_name_is_there(name):
    value = getattr(tgp, name)
    assert value.__doc__
    assert (name in tgp._PUBLIC_MODULES) != callable(value)


def test_public_names_stay_callable_when_every_module_has_been_imported():
    """A submodule of a public name would replace it as an attribute of the package."""
    direct = {module.name for module in pkgutil.iter_modules(tgp.__path__)}
    assert not direct & set(tgp.__all__)
    for name in direct:
        importlib.import_module(f"tfgraphprune.{name}")
    assert all(callable(getattr(tgp, name)) for name in tgp._PUBLIC)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        tgp.nothing
    with pytest.raises(ImportError):
        from tfgraphprune import nothing  # noqa: F401

"""`import tfgraphprune`: light, lazy, and in charge of which Keras TensorFlow hands out."""

import ast
import importlib
import json
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


KEEPS_KERAS_3 = {
    "used through tf": "import tensorflow as tf; tf.keras.layers",
    "imported from": "from tensorflow.keras import layers",
    "used through tf, with Keras 3 by its own name": (
        "import keras; import tensorflow as tf; assert tf.keras.Model is keras.Model"
    ),
}

UNCHANGED = """
import os, sys
import tensorflow as tf
def state():
    return {**os.environ}, [*tf.__path__], [*sys.path], tf.keras, tf.keras.Model, tf.keras.layers
before = state()
import tfgraphprune
from tfgraphprune.legacy_keras import serves_tf_keras
assert not serves_tf_keras()
import tf_keras
small = tf_keras.Sequential([tf_keras.Input((4,)), tf_keras.layers.Dense(3, name="first"),
                             tf_keras.layers.Dense(2)])
graph = tfgraphprune.LayerGraph.from_model(small)
plan = tfgraphprune.PruningPlan.from_keep_ratios(graph, 0.4)
assert tfgraphprune.prune(small, plan).get_layer("first").units == 1
assert state() == before
import keras
from tensorflow.keras.layers import Dense
assert tf.keras.Model is keras.Model and Dense is keras.layers.Dense
assert keras.__version__[0] == "3" and tf_keras.__version__[0] == "2"
model = tf.keras.Sequential([tf.keras.Input((4,)), Dense(3)])
model.compile("sgd", "mse")
model.fit(tf.zeros((8, 4)), tf.zeros((8, 3)), verbose=0)
print("unchanged")
"""


@pytest.mark.parametrize("code", KEEPS_KERAS_3.values(), ids=KEEPS_KERAS_3)
def test_a_program_that_uses_keras_3_keeps_it_while_models_are_cut(run_python, code):
    ended = run_python(code + UNCHANGED)
    assert ended.stdout.endswith("unchanged\n"), ended.stderr


SEARCH = """
import tfgraphprune as tgp, tf_keras, numpy as np
from tfgraphprune.training.data import load_digits
tf_keras.utils.set_random_seed(0)
model = tf_keras.Sequential([
    tf_keras.Input((8, 8, 1)), tf_keras.layers.Conv2D(6, 3, name="first"),
    tf_keras.layers.BatchNormalization(), tf_keras.layers.ReLU(),
    tf_keras.layers.Conv2D(5, 3, name="second"), tf_keras.layers.Flatten(),
    tf_keras.layers.Dense(10, name="last"),
])
digits = load_digits(0)
seen = []
graph = tgp.LayerGraph.from_model(model, freeze=["second"])
found = tgp.search_plan(
    model, graph, digits.train, digits.reward, tgp.Budget(macs_ratio=0.7),
    tgp.Search(agent="sac", evaluations=3, rivals=("uniform",)), on_evaluation=seen.append,
)
found.plan.check(graph)
assert seen == found.history and len(seen) == 4
import tensorflow as tf
print("\\n" + tf.keras.Model.__module__.split(".")[0], found.plan.to_dict(), seen)
"""


def test_a_search_beside_keras_3_finds_what_it_finds_without(run_python):
    pytest.importorskip("tf_agents")
    beside = run_python("import tensorflow as tf; tf.keras.layers\n" + SEARCH)
    alone = run_python(SEARCH)
    assert beside.returncode == 0, beside.stderr
    assert beside.stdout.splitlines()[-1].split(" ", 1) == [
        "keras", alone.stdout.splitlines()[-1].removeprefix("tf_keras ")
    ]  # fmt: skip


COMPRESS = """
import json, os, sys
import tensorflow as tf
tf.keras.layers
before = {**os.environ}
import tfgraphprune as tgp, tf_keras
from tfgraphprune.models import digits_cnn
from tfgraphprune.training.data import load_digits
digits = load_digits(0)
train = tf.data.Dataset.from_tensor_slices(digits.train).batch(64)
result = tgp.compress(
    digits_cnn(), train, digits.reward, budget=tgp.Budget(macs_ratio=0.5),
    search=tgp.Search(agent="uniform", rivals=()), workdir=sys.argv[1],
    finetune=tgp.FineTune(epochs=2, recovery="gradual"),
)
assert isinstance(result.model, tf_keras.Model) and before == {**os.environ}
print(json.dumps(result.history["finetune"]))
"""


def test_tfmot_runs_beside_keras_3(run_python, tmp_path):
    ended = run_python(COMPRESS, args=[str(tmp_path / "run")])
    assert ended.returncode == 0, ended.stderr
    rows = json.loads(ended.stdout.splitlines()[-1])
    logged = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [row["epoch"] for row in rows] == [1, 2]
    assert [json.loads(line) for line in logged][-2:] == [{"stage": "finetune"} | r for r in rows]
    assert rows[1]["accuracy"] > rows[0]["accuracy"]


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
    assert not direct & set(tgp._PUBLIC)
    assert all(tgp._PUBLIC_MODULES[name] == name for name in direct & set(tgp._PUBLIC_MODULES))
    for name in direct:
        importlib.import_module(f"tfgraphprune.{name}")
    assert all(callable(getattr(tgp, name)) for name in tgp._PUBLIC)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        tgp.nothing
    with pytest.raises(ImportError):
        from tfgraphprune import nothing  # noqa: F401

"""Without any extra: what works, and what a step that needs one says."""

from tests.support import EXTRAS, run_python

PROGRAM = """
import sys
import numpy as np
import tfgraphprune as tgp
import tf_keras as keras
from tfgraphprune.errors import MissingExtraError
from tfgraphprune.training.data import load_digits, load_tfds

image = keras.Input((8, 8, 1))
x = keras.layers.Conv2D(16, 3, padding="same", use_bias=False, name="stem")(image)
x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
x = keras.layers.Conv2D(16, 3, activation="relu")(x)
x = keras.layers.GlobalAveragePooling2D()(x)
model = keras.Model(image, keras.layers.Dense(10)(x))
data = load_digits()

graph = tgp.LayerGraph.from_model(model)
plan = tgp.PruningPlan.from_keep_ratios(graph, 0.5)
small = tgp.prune(model, plan)
spread = np.std(model(data.test[0]))
difference = np.abs(small(data.test[0]) - tgp.masked(model, plan)(data.test[0])).max()
print("cut", tgp.count_macs(small) < tgp.count_macs(model), difference < 1e-4 * spread)
tgp.reestimate_batchnorm(small, data.train)
rows = tgp.finetune(small, data.train, epochs=1, teacher=model, verbose=0)
print("trained", len(rows))
tgp.export_tflite(small, "small.tflite")
print("agreement", tgp.verify_tflite("small.tflite", small, data.test).agreement == 1)

def said(step):
    try:
        step()
    except MissingExtraError as error:
        return print(error)
    print("nothing was missing")

def search(agent):
    budget = tgp.Budget(macs_ratio=0.5)
    settings = tgp.Search(agent=agent, rivals=(), evaluations=2)
    return tgp.search_plan(model, graph, data.train, data.reward, budget, settings, progress=False)

print("random", len(search("random").history))
said(lambda: search("sac"))
said(lambda: load_tfds("mnist"))
print([name for name in ("tf_agents", "keras_cv", "tensorflow_datasets") if name in sys.modules])
"""


def test_all_but_the_extras_works_and_they_are_named(tmp_path):
    ended = run_python(PROGRAM, blocked=EXTRAS, cwd=tmp_path)
    assert ended.stdout.splitlines() == [
        "cut True True",
        "trained 1",
        "agreement True",
        "random 2",
        "The search agent 'sac' needs the package 'tf-agents', which is not installed: "
        "run pip install 'tfgraphprune[search]'.",
        "Loading 'mnist' needs the package 'tensorflow-datasets', which is not installed: "
        "run pip install 'tfgraphprune[datasets]'.",
        "[]",
    ], ended.stderr

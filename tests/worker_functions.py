"""What tests run in worker processes; importable there."""

import os
import signal
import sys
import time

import numpy as np

import tfgraphprune as tgp


def describe(model, data, budget, on_step):
    import tensorflow as tf

    print("to stdout")
    print("to stderr", file=sys.stderr)
    rows = [on_step({"step": n}) for n in range(3)]
    outputs = np.asarray(model(data[0], training=False))
    return {
        "keras": tf.keras.Model.__module__.split(".")[0],
        "outputs": outputs,
        "budget": budget,
        "rows": rows,
        "model": model,
    }


def batches(data):
    return [(np.asarray(x).shape, np.asarray(y).tolist()) for x, y in data]


def fail(kind, argument):
    if kind == "missing":
        raise tgp.MissingExtraError("A step", "package", "extra")
    kinds = {"user": tgp.UserError, "tolerance": tgp.ToleranceError, "other": KeyError}
    raise kinds[kind](argument)


def die(how):
    if how == "exit":
        os._exit(7)
    os.kill(os.getpid(), signal.SIGKILL)


def sleep(path, on_start=None):
    with open(path, "w") as file:
        file.write(str(os.getpid()))
    if on_start is not None:
        on_start()
    time.sleep(600)

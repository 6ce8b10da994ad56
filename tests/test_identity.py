"""Settings as JSON: all that users may give, told apart by what it is."""

import json
from pathlib import Path

import numpy as np
import pytest

import tfgraphprune as tgp
from tfgraphprune.identity import plain
from tfgraphprune.search.policy import load_policy


def rating(labels, outputs):
    return 0.0


CASES = {
    "a path": (Path("runs/policy"), "runs/policy"),
    "numbers": ([np.float32(0.5), np.int64(3)], [0.5, 3]),
    "an array": (np.arange(3), [0, 1, 2]),
    "a function": (rating, "rating"),
    "a class": (tgp.criteria.Taylor, "Taylor"),
    "a mapping": ({1: (2, None)}, {"1": [2, None]}),
    "a budget": (tgp.Budget(macs_ratio=0.5, latency_table=Path("t.json")), ...),
    "a search": (tgp.Search(policy=Path("p"), options={"clip": np.float64(1)}), ...),
    "a policy": (load_policy("pretrained"), load_policy("pretrained").hash),
}


@pytest.mark.parametrize("name", CASES)
def test_settings_are_json(name):
    given, expected = CASES[name]
    found = plain(given)
    assert json.loads(json.dumps(found)) == found
    assert expected in (found, ...)


def test_a_policy_in_settings_is_told_by_its_weights():
    search = tgp.Search(policy=load_policy("pretrained"))
    assert plain(search)["policy"] == load_policy("pretrained").hash

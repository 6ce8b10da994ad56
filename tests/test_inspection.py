"""What `inspect` finds out, against numbers worked out by hand; its text, data and pictures."""

import html
import json
import re

import pytest
import tf_keras as keras

import tfgraphprune as tgp
from tests import networks
from tfgraphprune.cost import dense_counts, macs_cost, params_cost
from tfgraphprune.inspection import WidthRow, inspect_file


def small(size=8):
    layers = keras.layers
    image = keras.Input((size, size, 3))
    x = layers.Conv2D(8, 3, padding="same", name="first")(image)
    x = layers.ReLU(name="relu")(layers.BatchNormalization(name="norm")(x))
    x = layers.Conv2D(6, 3, padding="same", name="second")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, layers.Dense(4, name="last")(x), name="small")


# One line a layer: MACs of the 64 positions, parameters.
FIRST, FIRST_PARAMS = 64 * 27 * 8, 27 * 8 + 8
NORM_PARAMS = 4 * 8
SECOND, SECOND_PARAMS = 64 * 72 * 6, 72 * 6 + 6
LAST, LAST_PARAMS = 6 * 4, 6 * 4 + 4


def test_groups_control_what_goes_with_them():
    rows = {row.name: row for row in tgp.inspect(small()).groups}
    assert {name: (row.channels, row.macs, row.params) for name, row in rows.items()} == {
        "first:in": (3, FIRST, 27 * 8),
        "first": (8, FIRST + SECOND, FIRST_PARAMS + NORM_PARAMS + 72 * 6),
        "second": (6, SECOND + LAST, SECOND_PARAMS + 6 * 4),
        "last": (4, LAST, LAST_PARAMS),
    }
    assert {name: (row.free, row.reason) for name, row in rows.items()} == {
        "first:in": (False, "input of the model"),
        "first": (True, ""),
        "second": (True, ""),
        "last": (False, "output of the model"),
    }
    assert rows["first"].layers == ("first", "norm", "second")


@pytest.mark.parametrize("name", ["resnet_a", "shuffle", "siamese", "nested_twice", "separable"])
def test_a_free_group_controls_the_cost_that_it_has(name):
    model = networks.build(name)
    graph = tgp.LayerGraph.from_model(model)
    rows = {row.name: row for row in tgp.inspect(model).groups}
    dense = dense_counts(graph)
    for column, group in enumerate(graph.prunable_groups):
        without = dense.copy()
        without[column] = 0
        row = rows[group.name]
        for cost, found in ((macs_cost(graph), row.macs), (params_cost(graph), row.params)):
            assert found == pytest.approx(cost(dense) - cost(without))


def width_row(name, first, second):
    macs = 64 * 27 * first + 64 * 9 * first * second + 4 * second
    params = 28 * first + 4 * first + (9 * first + 1) * second + (second + 1) * 4
    in_file = params - 2 * first  # of a BatchNorm, two vectors
    return WidthRow(name, macs, params, 4 * in_file)


def test_costs_at_three_widths():
    assert tgp.inspect(small()).widths == (
        width_row("minimum", 1, 1),
        width_row("centroid", 4, 3),
        width_row("maximum", 8, 6),
    )


def test_costs_at_three_widths_keep_to_the_channel_multiple():
    found = tgp.inspect(small(), channel_multiple={"first": 2, "second": 4})
    assert [row.step for row in found.groups if row.free] == [2, 4]
    assert found.widths[:2] == (width_row("minimum", 2, 4), width_row("centroid", 4, 4))
    assert "6 by 4" in str(found)


def test_output_channels_that_may_be_cut():
    found = tgp.inspect(small())
    assert (found.free_outputs, found.outputs) == (14, 14)
    found = tgp.inspect(small(), freeze=["sec*"])
    assert (found.free_outputs, found.outputs) == (8, 14)
    text = str(found)
    assert "8 of 14 convolution and dense output channels may be cut (57.1%)" in text
    assert re.search(r"^second +6 .* frozen: by the user \(sec\*\) +second, last$", text, re.M)
    assert found.frozen == {
        "input of the model": (1, 3),
        "frozen by the user (sec*)": (1, 6),
        "output of the model": (1, 4),
    }


def test_reasons_of_several_layers_are_counted_together():
    image = keras.Input((6,))
    x = keras.layers.Dense(5)(image)
    for _ in range(2):
        x = keras.layers.Dense(5)(keras.layers.Softmax()(x))
    found = tgp.inspect(keras.Model(image, x))
    assert found.frozen["mixes channels"] == (2, 10)
    assert str(found).splitlines()[-3].split() == ["mixes", "channels", "2", "10"]


LEAST = width_row("", 1, 1)
MOST = width_row("", 8, 6)


@pytest.mark.parametrize(
    ("budget", "met"),
    [
        ({"params": LEAST.params}, [True]),
        ({"params": LEAST.params - 1}, [False]),
        ({"macs": LEAST.macs}, [True]),
        ({"macs_ratio": 0.05}, [False]),
        ({"macs_ratio": 0.06, "params_ratio": 0.05}, [True, False]),
    ],
)
def test_a_budget_is_judged(budget, met):
    found = tgp.inspect(small(), budget=tgp.Budget(**budget))
    assert [verdict.met for verdict in found.verdicts] == met
    for verdict in found.verdicts:
        least, most = (getattr(width, verdict.cost) for width in (LEAST, MOST))
        assert (verdict.least, verdict.most) == (least, most)
    assert str(found).count("can be met") == sum(met)
    assert str(found).count("can't be met") == len(met) - sum(met)


def test_the_verdict_states_what_is_possible():
    text = str(tgp.inspect(small(), budget=tgp.Budget(macs_ratio=0.05)))
    assert (
        "budget: MACs of at most 2.07 k (0.0500 of the model's) can't be met: "
        "2.31 k to 41.5 k is possible (0.0556 to 1)"
    ) in text


def test_a_budget_in_bytes_is_judged_with_the_file_measured():
    found = tgp.inspect(small(), budget=tgp.Budget(file_bytes=100))
    (verdict,) = found.verdicts
    assert not verdict.met
    kernels = [4 * (27 * a + 9 * a * b + 4 * b) for a, b in ((8, 6), (1, 1))]
    assert verdict.most - verdict.least == kernels[0] - kernels[1]
    assert verdict.least > LEAST.weight_bytes + 500


def test_without_an_input_size_the_table_has_parameters_only():
    model = small(None)
    found = tgp.inspect(model, budget=tgp.Budget(macs_ratio=0.5, params_ratio=0.5))
    assert [row.macs for row in found.groups] == [None] * 4
    assert [row.params for row in found.widths] == [LEAST.params, 255, MOST.params]
    assert [verdict.cost for verdict in found.verdicts] == ["params"]
    assert found.notes == (
        "MACs need a fixed input size, but the size at layer 'first' is unknown: build the model "
        "with a full input shape.",
        "Without MACs, macs_ratio=0.5 can't be judged.",
    )
    assert all(note in str(found) for note in found.notes)


def test_a_model_without_a_free_group():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    found = tgp.inspect(model, budget=tgp.Budget(macs_ratio=0.5))
    assert (found.free_outputs, found.outputs) == (0, 0)
    assert {width.macs for width in found.widths} == {12}
    assert found.notes[0].startswith("macs_ratio=0.5 can't be judged: no channel group of this")
    assert "0 of them free" in str(found)


def test_the_findings_as_data(tmp_path):
    found = tgp.inspect(small(), budget=tgp.Budget(params_ratio=0.5))
    values = json.loads(found.save_json(tmp_path / "found.json").read_text())
    assert values == found.to_dict()
    assert values["groups"][1]["layers"] == ["first", "norm", "second"]
    assert values["widths"][2]["macs"] == MOST.macs
    assert values["verdicts"][0]["met"]
    assert values["frozen"][0] == {"reason": "input of the model", "groups": 1, "channels": 3}


SIGNS = {"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF"}


@pytest.mark.parametrize("suffix", SIGNS)
def test_a_picture_in_each_format(tmp_path, suffix):
    path = tmp_path / f"graph.{suffix}"
    found = tgp.inspect(small(), picture=path)
    content = path.read_bytes()
    assert content.startswith(SIGNS[suffix])
    with pytest.raises(tgp.UserError, match="exists"):
        found.save_picture(path)
    found.save_picture(path, overwrite=True)
    assert path.read_bytes() == content
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_every_layer_of_a_deep_network_is_in_the_picture(tmp_path):
    model = keras.applications.MobileNetV2(weights=None, input_shape=(32, 32, 3))
    found = tgp.inspect(model, freeze=["block_1_expand"], picture=tmp_path / "graph.svg")
    text = html.unescape((tmp_path / "graph.svg").read_text())
    titles = re.findall(r"<title>(.*?)</title>", text, re.DOTALL)
    named = {line.split(" (")[0] for title in titles for line in title.splitlines()}
    assert {node["name"] for node in found.graph["nodes"]} <= named
    assert len(titles) < len(found.graph["nodes"]) / 2
    shown = re.findall(r"<text.*?>(.*?)</text>", text)
    assert "block_16_project" in shown
    assert "Depthw.Conv, BN, ReLU" in shown
    assert {"frozen by the user (block_1_expand)", "output of the model"} <= set(shown)
    assert len(text) < 400_000


def test_a_layer_name_is_only_text_in_the_picture(tmp_path):
    image = keras.Input((4,), name="image")
    model = keras.Sequential([image, keras.layers.Dense(3), keras.layers.Dense(2)])
    model.layers[0]._name = "<b>&amp;$x$"
    tgp.inspect(model, picture=tmp_path / "graph.svg")
    text = (tmp_path / "graph.svg").read_text()
    assert "<b>" not in text
    assert text.count("&lt;b&gt;&amp;amp;$x$") >= 2


REFUSED = {
    "graph.gif": r"graph\.gif must end in \.svg, \.png or \.pdf",
    "graph": r"graph must end in \.svg, \.png or \.pdf",
    "none/graph.svg": "none does not exist: create it first",
    "folder.svg": r"folder\.svg is a folder",
    "there.svg": r"there\.svg exists: give another path",
    "link.svg": r"link\.svg exists: give another path",
}


@pytest.mark.parametrize(("name", "sentence"), REFUSED.items(), ids=REFUSED)
def test_a_picture_is_not_written_over_or_beside_anything(tmp_path, name, sentence):
    (tmp_path / "folder.svg").mkdir()
    (tmp_path / "there.svg").write_text("mine")
    (tmp_path / "link.svg").symlink_to("nowhere.svg")
    with pytest.raises(tgp.UserError, match=sentence):
        tgp.inspect(None, picture=tmp_path / name)  # before the model is read
    assert (tmp_path / "there.svg").read_text() == "mine"
    assert len([*tmp_path.iterdir()]) == 3


def test_a_budget_is_a_budget():
    with pytest.raises(tgp.UserError, match=r"budget must be a Budget, not 0\.5"):
        tgp.inspect(small(), budget=0.5)


def test_a_file_is_inspected(tmp_path):
    model = small()
    model.save(tmp_path / "m.keras")
    picture, data = tmp_path / "m.svg", tmp_path / "m.json"
    options = {"picture": str(picture), "json": str(data), "freeze": ["first"]}
    found = inspect_file(tmp_path / "m.keras", macs_ratio=0.5, params_ratio=0.5, **options)
    assert [verdict.cost for verdict in found.verdicts] == ["macs", "params"]
    assert str(found) == str(
        tgp.inspect(model, ["first"], budget=tgp.Budget(macs_ratio=0.5, params_ratio=0.5))
    )
    assert json.loads(data.read_text()) == found.to_dict()
    data.unlink()
    with pytest.raises(tgp.UserError, match="exists"):
        inspect_file(tmp_path / "m.keras", **options)
    assert not data.exists()
    inspect_file(tmp_path / "m.keras", **options, overwrite=True)
    with pytest.raises(tgp.UserError, match=r"m\.txt must end in \.json"):
        inspect_file(tmp_path / "m.keras", json=str(tmp_path / "m.txt"))

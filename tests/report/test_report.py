"""Figures, tables and the page, from plain records."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import matplotlib
import pytest

import tfgraphprune as tgp
from tfgraphprune.report import Report
from tfgraphprune.report.figures import channels_figure, search_figure
from tfgraphprune.report.graph_figure import layer_graph_figure
from tfgraphprune.report.layout import collapse, lay_out
from tfgraphprune.report.tables import summary_table
from tfgraphprune.results import RunRecord

HOSTILE = "conv<script>alert(1)</script>&\"'"


def _graph(count=6, name="conv"):
    nodes, groups = [], []
    for i in range(count):
        label = name if i == 2 else f"layer{i}"
        nodes.append(
            {
                "name": label,
                "type": "Conv2D",
                "inputs": [nodes[-1]["name"]] if nodes else ["image"],
                "shape": [8, 8, 4],
                "macs": 100,
                "params": 10,
                "groups": [label],
            }
        )
        if i > 3:
            nodes[-1]["inputs"].append(nodes[i - 2]["name"])
        free = i % 3 != 1
        groups.append(
            {
                "name": label,
                "size": 8,
                "prunable": free,
                "reason": "" if free else "output of the model",
                "layers": [label],
                "step": 1,
            }
        )
    return {"fingerprint": "f", "nodes": nodes, "groups": groups}


METRICS = {
    "dense": {"accuracy": 0.99, "macs": 452_608, "params": 15_000, "file_bytes": 63_464,
              "latency_ms": 0.012},
    "pruned": {"accuracy": 0.985, "macs": 225_000, "params": 9_670, "file_bytes": 41_176,
               "latency_ms": 0.009},
    "tflite": {"float32": {"accuracy": 0.985, "agreement": 1.0, "max_error": 1.3e-6,
                           "mean_error": 1e-7, "bytes": 41_176},
               "int8": {"accuracy": 0.98, "agreement": 0.995, "max_error": 0.63,
                        "mean_error": 0.05, "bytes": 21_192}},
    "search": {"sac": {"best_reward": 0.9, "evaluations": 100, "seconds": 31.0}},
    "latency_ratio": 0.76,
}  # fmt: skip

SEARCH = [
    {"method": method, "evaluation": i, "reward": 0.5 + i / 100, "best_reward": 0.5 + i / 100}
    for method in ("sac", "random")
    for i in range(1, 31)
]


@pytest.fixture(scope="module")
def record():
    return RunRecord(
        graph=_graph(name=HOSTILE),
        kept={"layer0": [0, 2], HOSTILE: [1]},
        metrics=METRICS,
        history={"search": SEARCH, "finetune": [], "train": []},
        config={"seed": 0, "note": HOSTILE, "search": {"agent": "sac"}},
    )


class _Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.outside = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href") and not (value or "").startswith(("data:", "#")):
                self.outside.append(value)


def test_the_page_is_self_contained_and_escapes_names(record):
    text = Report(record).html()
    page = _Page(text)
    assert page.outside == [] and "script" not in page.tags and "link" not in page.tags
    assert not re.search(r"@import|url\((?!#)", text)
    assert "&lt;script&gt;alert(1)" in text
    assert page.tags.count("svg") == 4


def test_the_page_tells_the_figures(record):
    text = Report(record).html()
    for expected in ("99.00", "98.50", "output of the model", "453 k", "225 k"):
        assert expected in text, expected


def test_save_refuses_to_overwrite(record, tmp_path):
    report = Report(record)
    report.save(tmp_path / "r.html")
    with pytest.raises(tgp.UserError, match="exists already"):
        report.save(tmp_path / "r.html")
    report.save(tmp_path / "r.html", overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["r.html"]
    with pytest.raises(tgp.UserError, match="does not exist"):
        report.save(tmp_path / "none" / "r.html")


def test_summary_has_a_row_for_each_model_and_method():
    lines = summary_table(METRICS).splitlines()
    rows = {line.split("  ")[0].strip(): line for line in lines if line}
    assert {"dense", "pruned", "float32 TFLite", "int8 TFLite", "sac"} <= set(rows)
    assert "99.50" in rows["int8 TFLite"] and "0.63" in rows["int8 TFLite"]
    assert "0.76" in lines[-1]


@pytest.mark.parametrize(
    "change",
    [
        {"metrics": {}},
        {"history": {}},
        {"kept": {}},
        {"graph": {"nodes": [], "groups": []}},
        {"metrics": {"dense": {"accuracy": None}, "pruned": {}}},
        {"config": {}},
    ],
)
def test_missing_parts_are_left_out(record, change):
    report = Report(replace(record, **change))
    assert "<h1>" in report.html()
    assert isinstance(report.summary(), str)


def test_figures_keep_the_users_backend(record):
    before = matplotlib.rcParams["backend"]
    figures = Report(record).figures()
    assert set(figures) == {"costs", "layer_graph", "channels", "search"}
    assert matplotlib.rcParams["backend"] == before


def _texts(figure):
    return [t.get_text() for t in figure.findobj(matplotlib.text.Text) if t.get_text()]


def test_the_layer_graph_shows_every_layer_of_a_deep_network():
    graph = _graph(150)
    figure = layer_graph_figure(graph, {"layer0": 0.25})
    texts = _texts(figure)
    assert all(any(f"layer{i}" in text for text in texts) for i in range(150) if i != 2)
    assert any("25" in text for text in texts)


def test_channels_before_and_after():
    texts = _texts(channels_figure(_graph(), {"layer0": [0, 2]}))
    assert any("layer0" in t for t in texts) and not any("layer1" in t for t in texts)


def test_search_curves_have_each_method():
    texts = _texts(search_figure({"search": SEARCH}))
    assert {"sac", "random"} <= set(texts)


def _node(name, inputs, groups, kind="ReLU", size=8):
    return {"name": name, "type": kind, "inputs": inputs, "shape": [size], "groups": groups}


CHAINS = [
    _node("a", ["image"], ["a"], "Conv2D"),
    _node("a_bn", ["a"], ["a"], "BatchNormalization"),
    _node("a_relu", ["a_bn"], ["a"]),
    _node("deep", ["a_relu"], ["a"], "DepthwiseConv2D"),
    _node("b", ["deep"], ["a"], "Conv2D"),
    _node("add", ["deep", "b"], ["a"], "Add"),
    _node("relu", ["add"], ["a"]),
    _node("in/c", ["relu"], ["c"], "Conv2D"),
    _node("in/d", ["in/c"], ["d"], "Conv2D"),
    _node("in/relu", ["in/d"], ["d"]),
    _node("out", ["in/relu"], ["d"]),
]


def _chains():
    groups = [
        {"name": name, "size": 8, "prunable": name != "d", "layers": [], "step": 1,
         "reason": "in/relu: mixes channels" if name == "d" else ""}
        for name in ("a", "c", "d")
    ]  # fmt: skip
    return {"nodes": CHAINS, "groups": groups}


def test_chains_of_layers_are_one_box():
    boxes = {box["name"]: box for box in collapse(CHAINS)}
    members = {name: [node["name"] for node in box["members"]] for name, box in boxes.items()}
    assert members == {
        "a": ["a", "a_bn", "a_relu"],
        "deep": ["deep"],
        "b": ["b"],
        "add": ["add", "relu"],
        "in/c": ["in/c"],
        "in/d": ["in/d", "in/relu"],
        "out": ["out"],
    }
    assert boxes["add"]["inputs"] == ["deep", "b"]


def test_groups_reasons_and_nested_models_are_told_apart():
    figure = layer_graph_figure(_chains())
    texts = _texts(figure)
    assert "11 layers in 7 boxes" in texts
    assert {"a, 8", "a group of one layer", "mixes channels"} <= set(texts)
    assert "several groups" not in texts
    assert {"in", "c", "d"} <= set(texts) and "in/c" not in texts
    patches = {patch.get_gid(): patch for patch in figure.axes[0].patches if patch.get_gid()}
    colours = [patches[f"box-{index}"].get_facecolor() for index in range(7)]
    assert colours[0] == colours[1] == colours[2] == colours[3] != colours[4]
    assert colours[5] == colours[6] not in colours[:5]
    assert any(patch.get_hatch() for patch in figure.axes[0].patches)


def test_wide_drawings_have_fewer_columns():
    nodes = [_node("n0", [], [], "Add")]
    for index in range(1, 120):
        nodes.append(_node(f"n{index}", [f"n{index - 1}"], [], "Add"))
    assert len(lay_out(nodes).lanes) == 5
    assert lay_out(nodes, most_lanes=3).lanes == (1, 1, 1)
    places = lay_out(nodes, most_lanes=3).places
    assert len({(place.column, place.row, place.lane) for place in places.values()}) == 120

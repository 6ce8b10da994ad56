"""Configs: packaged ones have the same fields, others are found by path, bad ones are refused."""

import ast

import pytest

from configs import cifar10
from tests.support import ROOT
from tfgraphprune.cli.config_flag import find_config, load_config, packaged, read_config
from tfgraphprune.errors import UserError
from tfgraphprune.models import network_by_name
from tfgraphprune.settings import Budget, FineTune, Search

FAMILIES = [f"cifar10:{family}" for family in cifar10.FAMILIES]


def fields(config, prefix=""):
    for name, value in config.items():
        if hasattr(value, "items"):
            yield from fields(value, f"{prefix}{name}.")
        else:
            yield prefix + name, type(value)


def test_the_packaged_configs():
    assert packaged() == ["cifar10", "digits", "universal_policy"]


@pytest.mark.parametrize("name", ["cifar10", "digits", *FAMILIES])
def test_an_experiment_is_whole(name):
    config = load_config(name)
    assert config.is_locked
    assert dict(fields(config)) == dict(fields(load_config("digits")))
    Budget(**{k: v for k, v in config.budget.items() if v})
    Search(**{k: v for k, v in config.search.to_dict().items() if v})
    FineTune(**{**config.finetune, "learning_rate": config.finetune.learning_rate or None})


@pytest.mark.parametrize("name", FAMILIES)
def test_the_families_have_networks(name):
    assert network_by_name(load_config(name).model.name, 10, (32, 32, 3)).output_shape == (None, 10)


@pytest.mark.parametrize("name", packaged())
def test_every_field_is_commented(name):
    lines = find_config(name).read_text().splitlines()
    assigned = [n for n in ast.walk(ast.parse("\n".join(lines))) if isinstance(n, ast.Assign)]
    fields_ = [n for n in assigned if isinstance(n.targets[-1], ast.Attribute)]
    set_here = [n.lineno - 1 for n in fields_ if not isinstance(n.value, ast.Call)]
    assert len(set_here) == len(dict(fields(load_config(name))))
    assert [lines[n] for n in set_here if not lines[n - 1].strip().startswith("#")] == []


def test_a_path_goes_before_a_packaged_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_config("digits") == ROOT / "configs" / "digits.py"
    (tmp_path / "digits").write_text("")
    assert str(find_config("digits")) == "digits"


def test_arguments(tmp_path):
    assert load_config("cifar10").model.name == "resnet20"
    assert load_config("cifar10:vgg16_bn").finetune.precision == "mixed_bfloat16"
    with pytest.raises(
        UserError, match=r"the network must be resnet20, mobilenet_v1, .*, not 'alexnet'"
    ):
        load_config("cifar10:alexnet")
    with pytest.raises(UserError, match=r"digits\.py can't be read \(TypeError"):
        load_config("digits:small")
    with pytest.raises(UserError, match="there is no config file nothing"):
        load_config("nothing:small")
    path = tmp_path / "a:b.py"
    path.write_text((ROOT / "configs" / "digits.py").read_text())
    assert load_config(str(path)).data.name == "digits"


BAD = {
    "x = 1": "AttributeError: module 'tfgraphprune_config' has no attribute 'get_config'",
    "def get_config(:": "SyntaxError",
    "def get_config(): return {}": "must return an ml_collections.ConfigDict, not dict.",
    "import no_such_package": "No module named 'no_such_package'",
}


@pytest.mark.parametrize(("text", "message"), BAD.items())
def test_a_bad_config_is_refused(tmp_path, text, message):
    path = tmp_path / "config.py"
    path.write_text(text)
    with pytest.raises(UserError, match=r"config\.py") as error:
        read_config(path)
    assert message in str(error.value)


def test_a_config_must_be_a_python_file(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("seed: 1")
    with pytest.raises(UserError, match=r"a config is a Python file whose name ends in \.py"):
        read_config(path)

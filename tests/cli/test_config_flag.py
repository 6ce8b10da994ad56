"""Configs: packaged ones have the same fields, others are found by path, bad ones are refused."""

import ast

import pytest

from tests.support import ROOT
from tfgraphprune.cli.config_flag import find_config, packaged, read_config
from tfgraphprune.errors import UserError
from tfgraphprune.settings import Budget, FineTune, Search


def fields(config, prefix=""):
    for name, value in config.items():
        if hasattr(value, "items"):
            yield from fields(value, f"{prefix}{name}.")
        else:
            yield prefix + name, type(value)


def test_the_packaged_configs():
    assert packaged() == ["cifar10_resnet20", "digits", "universal_policy"]


@pytest.mark.parametrize("name", ["cifar10_resnet20", "digits"])
def test_an_experiment_is_whole(name):
    config = read_config(find_config(name))
    assert config.is_locked
    assert dict(fields(config)) == dict(fields(read_config(find_config("digits"))))
    Budget(**{k: v for k, v in config.budget.items() if v})
    Search(**{k: v for k, v in config.search.to_dict().items() if v})
    FineTune(**{**config.finetune, "learning_rate": config.finetune.learning_rate or None})


@pytest.mark.parametrize("name", packaged())
def test_every_field_is_commented(name):
    lines = find_config(name).read_text().splitlines()
    assigned = [n for n in ast.walk(ast.parse("\n".join(lines))) if isinstance(n, ast.Assign)]
    set_here = [n.lineno - 1 for n in assigned if not isinstance(n.value, ast.Call)]
    assert len(set_here) == len(dict(fields(read_config(find_config(name)))))
    assert [lines[n] for n in set_here if not lines[n - 1].strip().startswith("#")] == []


def test_a_path_goes_before_a_packaged_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_config("digits") == ROOT / "configs" / "digits.py"
    (tmp_path / "digits").write_text("")
    assert str(find_config("digits")) == "digits"


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

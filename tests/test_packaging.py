"""The wheel, what it asks for, its commands outside the checkout, and the Makefile's refusals."""

import re
import shutil
import subprocess
import sys
import zipfile
from email import message_from_string
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests.support import ROOT, fresh_environment
from tfgraphprune.cli.main import COMMANDS

PACKAGED = ("tfgraphprune", "configs", "setup.py", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    source = tmp_path_factory.mktemp("source")
    for name in (*PACKAGED, "MANIFEST.in", "tests", "export"):
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copy(ROOT / name, source)
    out = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--no-deps"]
    subprocess.run(
        [*pip, "--no-build-isolation", "--no-index", "-w", out, source],
        check=True,
        capture_output=True,
    )
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The wheel's content, as an installation lays it out."""
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def metadata(installed):
    return message_from_string(next(installed.glob("*.dist-info/METADATA")).read_text())


def command(installed, cwd, *args):
    return subprocess.run(
        [sys.executable, "-m", "tfgraphprune.cli.main", *args],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=fresh_environment({"PYTHONPATH": str(installed)}),
    )


def test_the_wheel_holds_the_package_and_the_configs_and_nothing_else(installed):
    found = {
        str(path.relative_to(installed))
        for path in installed.rglob("*")
        if path.is_file() and ".dist-info" not in str(path)
    }
    expected = {str(p.relative_to(ROOT)) for p in (ROOT / "tfgraphprune").rglob("*.py")}
    expected |= {f"tfgraphprune/configs/{p.name}" for p in (ROOT / "configs").glob("*.py")}
    data = ("py.typed", "search/pretrained/policy.json", "search/pretrained/policy.npz")
    assert found == expected | {f"tfgraphprune/{name}" for name in data}
    assert list(installed.glob("*.dist-info/**/LICENSE"))


def test_the_console_script_is_the_dispatcher(installed):
    text = next(installed.glob("*.dist-info/entry_points.txt")).read_text()
    assert "tfgraphprune = tfgraphprune.cli.main:run" in text


def test_requirements_are_ranges_that_hold_the_pinned_versions(metadata):
    assert metadata["Requires-Python"] in ("<3.12,>=3.10", ">=3.10,<3.12")
    extras = {"search", "cv", "datasets", "int4", "all", "test"}
    assert set(metadata.get_all("Provides-Extra")) == extras
    pins = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines()[1:]:
        name, version = line.split("==")
        pins[normal(name)] = Version(version)
    for text in metadata.get_all("Requires-Dist"):
        requirement = Requirement(text)
        assert not any(each.operator in ("==", "===") for each in requirement.specifier), text
        assert requirement.specifier.contains(pins[normal(requirement.name)]), text


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def test_outside_the_checkout_every_command_runs(installed, tmp_path):
    for name in COMMANDS:
        ended = command(installed, tmp_path, name, "--help")
        assert ended.returncode == 0
        assert f"tfgraphprune {name} [flags]" in ended.stdout
    ended = command(installed, tmp_path, "compress", "--config=digits")
    assert ended.stderr == "tfgraphprune compress: the flag --workdir is missing: see --help.\n"
    code = "import tfgraphprune.configs.digits as d; print(d.get_config().data.name, d.__file__)"
    ended = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=fresh_environment({"PYTHONPATH": str(installed)}),
    )
    assert ended.stdout == f"digits {installed}/tfgraphprune/configs/digits.py\n"


def test_outside_the_checkout_a_model_is_inspected(installed, tmp_path):
    import tf_keras as keras

    image = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(4, 3, name="stem")(image)
    x = keras.layers.GlobalAveragePooling2D()(x)
    keras.Model(image, keras.layers.Dense(3)(x)).save(tmp_path / "model.keras")
    ended = command(installed, tmp_path, "inspect", "--model=model.keras", "--freeze=de*")
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    assert re.search(r"stem +4 .*free", ended.stdout)


MAKE_REFUSES = {
    "no Python": (
        {"PYTHON": "no-such-python"},
        "tfgraphprune: Python 3.11 is needed, but there is no no-such-python: install it, or "
        "name it with make PYTHON=FILE.",
    ),
    "a wrong Python": (
        {"PYTHON": "{folder}/python"},
        "tfgraphprune: Python 3.11 is needed (constraints.txt holds versions for it), but "
        "{folder}/python is 3.9: name another with make PYTHON=FILE.",
    ),
    "a disk that is full": (
        {"PYTHON": sys.executable, "NEEDED_GB": "999999"},
        "tfgraphprune: 999999 GB of disk are needed, but {folder}/ has less: free some, or name "
        "another place with make VENV=FOLDER.",
    ),
}


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make here")
@pytest.mark.parametrize("target", ["compress", "test"])
@pytest.mark.parametrize(("settings", "sentence"), MAKE_REFUSES.values(), ids=MAKE_REFUSES)
def test_make_refuses_in_one_sentence(tmp_path, target, settings, sentence):
    stub = tmp_path / "python"
    stub.write_text("#!/bin/sh\necho 3.9\n")
    stub.chmod(0o755)
    given = [f"{k}={v.format(folder=tmp_path)}" for k, v in settings.items()]
    ended = subprocess.run(
        ["make", target, f"VENV={tmp_path}/.venv", *given],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert ended.returncode != 0
    first, *rest = ended.stderr.splitlines()
    assert first == sentence.format(folder=tmp_path)
    assert all(line.startswith("make") for line in rest)
    assert not (tmp_path / ".venv").exists()

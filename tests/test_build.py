"""BUILD: every source file belongs to exactly one target, and every file and label exists."""

import glob
import re
from collections import Counter

import pytest

from tests.support import ROOT

SOURCES = ("benchmarks", "configs", "export", "tests", "tfgraphprune")


def find(include, exclude=(), **_):
    """Bazel's `glob`, for files."""

    def paths(patterns):
        found = [glob.glob(p, root_dir=ROOT, recursive=True) for p in patterns]
        return {path for each in found for path in each if (ROOT / path).is_file()}

    found = sorted(paths(include) - paths(exclude))
    assert found or _.get("allow_empty"), f"nothing matches {include}"
    return found


@pytest.fixture(scope="module")
def targets():
    """The targets that BUILD declares: Starlark is close enough to Python to be run as it."""
    declared = []

    def rule(**attributes):
        declared.append(attributes)

    def ignore(*_, **__):
        pass

    names = dict.fromkeys(("py_library", "py_binary", "py_test"), rule)
    names |= dict.fromkeys(("load", "package", "licenses", "exports_files"), ignore)
    exec((ROOT / "BUILD").read_text(), {"glob": find, **names})
    return declared


def test_every_source_file_belongs_to_exactly_one_target(targets):
    owners = Counter(source for target in targets for source in target["srcs"])
    there = {
        str(path.relative_to(ROOT)) for folder in SOURCES for path in (ROOT / folder).rglob("*.py")
    }
    assert set(owners) == there
    assert [source for source, count in owners.items() if count > 1] == []


def test_every_file_exists(targets):
    named = [f for t in targets for f in (*t["srcs"], *t.get("data", ()), t.get("main"))]
    assert [name for name in named if name and not (ROOT / name).is_file()] == []


def test_tests_have_all_that_they_read(targets):
    tests = next(target for target in targets if target["name"] == "tests")
    read = ("benchmarks/**/*.py", "configs/*.py", "docs/**", "export/*.py", "*.txt", "*.toml")
    assert set(find(read)) <= set(tests["data"])


def test_names_are_unique_and_local_labels_exist(targets):
    names = [target["name"] for target in targets]
    assert len(names) == len(set(names))
    labels = {label for target in targets for label in target.get("deps", ())}
    assert {label[1:] for label in labels if label.startswith(":")} <= set(names)


def test_packages_from_outside_are_among_the_pinned_ones(targets):
    pinned = {
        re.sub(r"[-.]", "_", line.split("==")[0]).lower()
        for line in (ROOT / "constraints.txt").read_text().splitlines()
    }
    labels = {label for target in targets for label in target.get("deps", ())}
    assert {label.removeprefix("@pypi//") for label in labels if label[0] == "@"} <= pinned


def test_a_binary_starts_in_its_own_file(targets):
    for target in targets:
        if "main" in target:
            assert target["main"] in target["srcs"]

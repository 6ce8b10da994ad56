"""Starts pytest where Bazel starts the tests; everywhere else pytest starts itself."""

import sys
from pathlib import Path

import pytest

if __name__ == "__main__":
    sys.exit(pytest.main([str(Path(__file__).parent), *sys.argv[1:]]))

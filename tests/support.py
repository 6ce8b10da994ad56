"""Fresh interpreters for tests, with packages hidden where a test wants a bare environment."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

EXTRAS = ("tf_agents", "keras_cv", "tensorflow_datasets", "importlib_resources", "litert_quantizer")
"""The packages that the extras bring and a bare environment lacks."""

_BLOCK = """
import sys
class _Blocker:
    blocked = {blocked!r}
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.blocked:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, _Blocker())
"""


def run_python(
    code: str,
    blocked: Sequence[str] = (),
    args: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float = 300,
) -> subprocess.CompletedProcess:
    """Run code in a fresh interpreter that finds the checkout.

    Args:
        code: the program.
        blocked: packages that can't be imported there, as if they were not installed.
        args: its `sys.argv[1:]`.
        env: variables beside this process's.
        cwd: folder it runs in.
        timeout: seconds.
    """
    if blocked:
        code = _BLOCK.format(blocked=tuple(blocked)) + code
    return subprocess.run(
        [sys.executable, "-c", code, *args],
        capture_output=True,
        text=True,
        env=fresh_environment(env),
        cwd=cwd,
        timeout=timeout,
    )


def fresh_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without what importing tfgraphprune set, and with the checkout."""
    environment = {k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"}
    return {**environment, "PYTHONPATH": str(ROOT), **(extra or {})}

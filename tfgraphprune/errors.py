"""The errors that users see: one sentence each, with what was expected, what came, what to do."""


class UserError(ValueError):
    """Bad input: a model, data set, path, budget or setting that cannot be used (exit code 1)."""


class SearchFailedError(UserError):
    """A search could not reward any plan: the metric, the reward function or their data fail."""


class ToleranceError(RuntimeError):
    """A check ran and its figure lies outside the tolerance that was asked for (exit code 2)."""


class MissingExtraError(UserError):
    """A step needs an optional dependency that is not installed."""

    def __init__(self, step: str, package: str, extra: str):
        super().__init__(
            f"{step} needs the package {package!r}, which is not installed: "
            f"run pip install 'tfgraphprune[{extra}]'."
        )


def first_line(error: BaseException) -> str:
    """What another library's error says first, or its kind where it says nothing."""
    lines = [line.strip() for line in str(error).splitlines()]
    return next(filter(None, lines), type(error).__name__)

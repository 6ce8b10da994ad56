"""What is quoted of the errors of other libraries."""

import pytest

from tfgraphprune.errors import first_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("no such layer"), "no such layer"),
        (ValueError("\n  bad shape \nTraceback: ..."), "bad shape"),
        (ValueError(""), "ValueError"),
        (NotImplementedError(), "NotImplementedError"),
        (OSError(28, "No space left on device"), "[Errno 28] No space left on device"),
    ],
)
def test_the_first_line_of_an_error_is_never_empty(error, line):
    assert first_line(error) == line

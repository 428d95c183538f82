"""What the tests of the boards share."""

from __future__ import annotations

import os
from collections.abc import Iterable

import pytest

from firmware_tests.boards import BOARDS, Board
from firmware_tests.toolchain import missing


def require(boards: Iterable[Board]) -> None:
    """Skip without the tools of a board; under CI=true nothing may be skipped."""
    absent = sorted({name for board in boards for name in missing(board.toolchain)})
    if absent:
        reason = f"not installed: {', '.join(absent)}; `make toolchain` installs them"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture(params=BOARDS.values(), ids=lambda board: f"{board.core}")
def board(request: pytest.FixtureRequest) -> Board:
    """Each board in turn."""
    chosen: Board = request.param
    require([chosen])
    return chosen

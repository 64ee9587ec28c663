"""What the whole suite shares: the long (``soak``) tests run only when they are asked for."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# The same examples in every run, so that CI tells about a change and not about its luck. `make soak` draws new ones.
settings.register_profile("repeatable", derandomize=True)
settings.register_profile("random", derandomize=False)
settings.load_profile(os.environ.get("RTMALLOC_EXAMPLES", "repeatable"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # A plain `pytest` must stay short; `-m soak` (make soak), or any other expression that names it, runs them.
    if "soak" in str(config.option.markexpr):
        return
    long_ones = [item for item in items if item.get_closest_marker("soak")]
    if long_ones:
        config.hook.pytest_deselected(items=long_ones)
        items[:] = [item for item in items if not item.get_closest_marker("soak")]

"""The pytest plugin of the kit: a cache for the session, and failures that a suite expects, by name and with a reason.

pytest loads it in every session of an environment that has tlplat, so it imports neither torch nor tlplat's core.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite(
    "tlplat.testing.guards",
    "tlplat.testing.kit",
    "tlplat.testing.strategies",
    "tlplat.testing.domains",
    "tlplat.testing.tasks",
)


@pytest.fixture(scope="session")
def tlplat_kit_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache a session, so that the toy sources are pretrained once."""
    return tmp_path_factory.mktemp("tlplat-cache")


@pytest.fixture
def tlplat_kit(tlplat_kit_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What every check runs in: a cache of the session's own and one torch thread, put back afterwards."""
    import torch

    from tlplat.ops import extension

    extension.load()  # found or built in the user's own cache, not once more in each session's
    monkeypatch.setenv("TLPLAT_CACHE_DIR", str(tlplat_kit_cache))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield tlplat_kit_cache
    torch.set_num_threads(threads)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what a suite's ``expected_failures`` name: such a check must fail, and its reason is shown."""
    for item in items:
        if isinstance(item, pytest.Function) and item.cls is not None:
            expected = getattr(item.cls, "expected_failures", {})
            unknown = [name for name in expected if not hasattr(item.cls, name)]
            if unknown:
                raise pytest.UsageError(
                    f"{item.cls.__name__}.expected_failures names {', '.join(unknown)}, which is no check of it"
                )
            if item.originalname in expected:
                item.add_marker(pytest.mark.xfail(reason=expected[item.originalname], strict=True))

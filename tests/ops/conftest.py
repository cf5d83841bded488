"""Every test of the ops runs twice: with the native library, where it could be built, and in plain torch."""

from __future__ import annotations

import pytest

from tlplat.ops import extension, heads


@pytest.fixture(autouse=True, params=["native", "reference"])
def implementation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "reference":
        monkeypatch.setattr(heads, "_why_not_native", lambda _gpu: "this test wants the reference")
    elif extension.load().library is None:
        pytest.skip(f"no native library: {extension.load().reason}")
    return str(request.param)

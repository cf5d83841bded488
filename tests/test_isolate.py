"""Blame, and stdout that stays clean."""

from __future__ import annotations

import os

import pytest

from tlplat.errors import DataError, PluginError
from tlplat.isolate import blame, stdout_to_stderr


def test_blame_names_who_where_and_what():
    with pytest.raises(PluginError) as caught, blame("dist-x 1.0", "loss of behaviour 'x' in epoch 2"):
        raise RuntimeError("boom")
    text = caught.value.render()
    assert caught.value.code == "TL-PLUGIN-CRASH"
    assert all(word in text for word in ("dist-x 1.0", "RuntimeError", "epoch 2", "boom", "resume"))
    assert isinstance(caught.value.__cause__, RuntimeError)


@pytest.mark.parametrize("error", [DataError("TL-X", "x", fix="f"), MemoryError(), KeyboardInterrupt(), SystemExit(1)])
def test_blame_lets_other_errors_pass(error):
    with pytest.raises(type(error)) as caught, blame("dist-x 1.0", "x"):
        raise error
    assert caught.value is error


def test_stdout_is_restored_after_an_error(capfd):
    def fail() -> None:
        with stdout_to_stderr():
            print("inner")
            os.write(1, b"raw\n")
            raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        fail()
    print("outer")
    os.write(1, b"last\n")
    out, err = capfd.readouterr()
    assert "inner" in err
    assert "raw" in err
    assert out.split() == ["last", "outer"] or out.split() == ["outer", "last"]

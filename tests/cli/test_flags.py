"""Flags made of a domain's options."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Literal

import click
import pytest
from pydantic import BaseModel, Field

from tlplat.cli.flags import domain_options, shape, values


class Options(BaseModel):
    count: int = Field(3, description="how many")
    rate: float | None = None
    mode: Literal["a", "b"] | None = Field("a", description="which")
    names: tuple[str, ...] = ()
    deep: bool = True
    place: Annotated[Path, Field(description="where")] = Path("x")
    seed: int = 0
    odd: dict[str, int] = Field(default_factory=dict)
    needed: str


@pytest.fixture
def flags():
    domain = SimpleNamespace(name="d", Options=Options)
    return {p.name: p for p in domain_options(domain, {"--seed", "--help"})}


def test_each_field_has_its_flag(flags):
    assert {name: p.opts[0] for name, p in flags.items()} == {
        "options__count": "--count",
        "options__rate": "--rate",
        "options__mode": "--mode",
        "options__names": "--names",
        "options__deep": "--deep",
        "options__place": "--place",
        "options__seed": "--d-seed",
        "options__odd": "--odd",
        "options__needed": "--needed",
    }
    assert flags["options__deep"].secondary_opts == ["--no-deep"]
    assert flags["options__count"].help == "How many.  [default: 3]"


@pytest.mark.parametrize(
    ("annotation", "expected", "many"),
    [
        (int, click.INT, False),
        (float | None, click.FLOAT, False),
        (list[int], click.INT, True),
        (tuple[str, ...], click.STRING, True),
        (int | str, click.STRING, False),
    ],
)
def test_shapes(annotation, expected, many):
    found = shape(annotation)
    assert (found.type, found.many) == (expected, many)


def test_what_is_not_given_is_no_value(flags):
    command = click.Command("x", params=list(flags.values()), callback=lambda **given: given)
    assert values(command.main([], standalone_mode=False)) == {}
    given = command.main(["--count", "0", "--no-deep", "--names", "a", "--names", "b"], standalone_mode=False)
    assert values(given) == {"options.count": 0, "options.deep": False, "options.names": ("a", "b")}


def test_lists_may_be_repeated_or_split():
    assert values({"strategies": ("a,b", "c")}) == {"strategies": ["a", "b", "c"]}
    assert values({"labels": "all"}) == {"labels": "all"}
    assert values({"labels": "64", "as_json": True, "set": ("a=1",)}) == {"labels": 64}

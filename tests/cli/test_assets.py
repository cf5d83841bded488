"""assets list, fetch and verify, on a domain with one file of its own."""

from __future__ import annotations

import hashlib

import pytest

DOMAIN = """
from tlplat import hookimpl
from tlplat.assets import Asset, LocalFile
from tlplat.testing.toy import Toy

class Stock(Toy):
    '''Has a file.'''
    name = "stock"

    def assets(self):
        return [Asset("ledger", "{sha256}", "CC0-1.0", "nobody", LocalFile(r"{path}"), 6)]

@hookimpl
def tlplat_register_domains():
    return [Stock]
"""


@pytest.fixture
def ledger(site, toy, tmp_path):
    path = tmp_path / "ledger.txt"
    path.write_text("lines\n", encoding="utf-8")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    site.add("stock", DOMAIN.format(sha256=digest, path=path), group="domains", name="stock")
    return path


def states(outcome) -> dict[str, str]:
    return {asset["name"]: asset["state"] for asset in outcome.document["assets"]}


def test_a_whole_file(tlplat, ledger):
    for command in (["assets", "fetch", "ledger"], ["assets", "verify"], ["assets", "list"]):
        outcome = tlplat(*command, "--domain", "stock", "--json")
        assert (outcome.code, states(outcome)) == (0, {"ledger": "cached"})


def test_a_damaged_one_is_named(tlplat, ledger):
    ledger.write_text("limes\n", encoding="utf-8")
    outcome = tlplat("assets", "verify", "--domain", "stock", "--json")
    assert (outcome.code, outcome.error, states(outcome)) == (6, "TL-ASSET-HASH", {"ledger": "damaged"})
    assert str(ledger) in outcome.err
    assert tlplat("assets", "fetch", "--domain", "stock").error == "TL-ASSET-HASH"


def test_a_missing_one_is_shown_and_cannot_be_fetched(tlplat, ledger):
    ledger.unlink()
    outcome = tlplat("assets", "verify", "--domain", "stock", "--json")
    assert (outcome.code, states(outcome)) == (0, {"ledger": "missing"})
    assert (tlplat("assets", "fetch", "--domain", "stock").error) == "TL-ASSET-MISSING"


def test_an_unknown_name(tlplat, ledger):
    outcome = tlplat("assets", "fetch", "leger", "--domain", "stock")
    assert (outcome.code, outcome.error) == (2, "TL-USAGE")
    assert "did you mean 'ledger'" in outcome.err

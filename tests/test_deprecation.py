"""Names that were changed: a plugin under an old one works, and is told the new one, once."""

import pytest
from site_of import GOOD_STRATEGY

from tlplat import deprecation, plugins
from tlplat.deprecation import RenamedWarning
from tlplat.errors import PluginError

OLD = GOOD_STRATEGY.format(name="x").replace("def tlplat_register_strategies", "def tlplat_register_recipes")


@pytest.fixture
def renamed(monkeypatch):
    """As if tlplat_register_strategies had once had another name."""
    monkeypatch.setitem(deprecation.RENAMED_HOOKS, "tlplat_register_recipes", "tlplat_register_strategies")
    deprecation.renamed.cache_clear()
    yield
    deprecation.renamed.cache_clear()


def test_a_hook_under_its_old_name_is_asked_and_the_plugin_told_the_new_one(site, renamed):
    site.add("dist-x", OLD)
    with pytest.warns(RenamedWarning) as caught:
        registry = plugins.load("strategies", ["x"])
    assert registry.get("strategies", "x").name == "x"
    (warning,) = caught
    said = "plugin 'x' (dist-x 1.0) uses the hook tlplat_register_recipes, which is now tlplat_register_strategies"
    assert said in str(warning.message)
    assert issubclass(warning.category, DeprecationWarning)
    assert plugins.load("strategies", ["x"]).names("strategies") == ["x"]  # again, without a warning


def test_the_command_line_says_it_in_one_line(site, renamed, capfd, monkeypatch):
    from tlplat.cli.entry import main

    monkeypatch.setattr("tlplat.probe.vet", lambda entry: None)  # another process does not have the table of this test

    site.add("dist-x", OLD)
    assert main(["strategies", "x"]) == 0
    out, err = capfd.readouterr()
    assert "family" in out
    (line,) = err.splitlines()
    assert line.startswith("tlplat: warning plugin 'x' (dist-x 1.0) uses the hook tlplat_register_recipes")


def test_a_name_that_never_was_is_refused(site):
    site.add("dist-x", OLD)
    with pytest.raises(PluginError, match="unknown hook tlplat_register_recipes"):
        plugins.load("strategies", ["x"])

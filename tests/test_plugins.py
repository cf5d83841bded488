"""Finding and loading plugins: real little distributions, sound and broken."""

from __future__ import annotations

import os
import sys

import pytest
from site_of import GOOD_STRATEGY

from tlplat import plugins
from tlplat.errors import PluginError
from tlplat.installed import discover, metadata_fault
from tlplat.registry import Registry

X = GOOD_STRATEGY.format(name="x")


def fault(name: str = "x", group: str = "strategies") -> PluginError:
    """What loading the plugin raises."""
    with pytest.raises(PluginError) as caught:
        plugins.load(group, [name])
    assert caught.value.exit_code == 5
    return caught.value


def test_a_plugin_is_found_by_metadata_and_loaded_by_name(site):
    site.add("other-x", X, version="2.1", module="other_x_module")
    entry = next(e for e in discover() if e.name == "x")
    assert (entry.owner, entry.group, entry.module) == ("other-x 2.1", "strategies", "other_x_module")
    assert "other_x_module" not in sys.modules
    registry = plugins.load("strategies", ["x"])
    assert registry.get("strategies", "x").__name__ == "Mine"
    assert registry.owner("strategies", "x") == "other-x 2.1"
    assert registry.plugins["strategies", "x"] == ("strategies", "x")
    assert registry.names("strategies") == ["x"]


def test_built_ins_come_through_the_same_door():
    owners = {e.name: e.distribution for e in discover()}
    assert owners["linear_probe"] == owners["classification"] == "tlplat"


def test_loading_again_changes_nothing(site):
    site.add("other-x", X)
    registry = plugins.load("tlplat.strategies", ["x"])
    before = registry.get("strategies", "x")
    assert plugins.load("strategies", ["x"], registry) is registry
    assert registry.get("strategies", "x") is before


def test_only_what_is_asked_for_is_imported(site):
    site.add("other-x", X)
    site.add("other-y", "raise RuntimeError('imported')", name="y")
    plugins.load("strategies", ["x"])
    assert "other_y_y" not in sys.modules


BROKEN = {
    "import error": ("import foo_that_is_nowhere", "TL-PLUGIN-LOAD", ["'x'", "other-x 1.0", "foo_that_is_nowhere"]),
    "system exit": ("import sys; sys.exit(3)", "TL-PLUGIN-LOAD", ["SystemExit: 3"]),
    "exception": ("1 / 0", "TL-PLUGIN-LOAD", ["ZeroDivisionError"]),
    "base exception": ("class E(BaseException): pass\nraise E('panic')", "TL-PLUGIN-LOAD", ["panic"]),
    "syntax": ("def", "TL-PLUGIN-LOAD", ["SyntaxError"]),
    "unknown hook": (
        "from tlplat import hookimpl\n@hookimpl\ndef tlplat_register_domians(): return []",
        "TL-PLUGIN-HOOK",
        ["tlplat_register_domians", "tlplat_register_domains"],
    ),
    "extra argument": (
        "from tlplat import hookimpl\n@hookimpl\ndef tlplat_register_strategies(extra): return []",
        "TL-PLUGIN-HOOK",
        ["argument", "extra"],
    ),
    "unmarked": ("def tlplat_register_strategies(): return []", "TL-PLUGIN-HOOK", ["@tlplat.hookimpl"]),
    "no hook": ("pass", "TL-PLUGIN-CONTRACT", ["returned nothing", "expected a class named 'x'"]),
    "another name": (GOOD_STRATEGY.format(name="y"), "TL-PLUGIN-CONTRACT", ["strategy 'y'", "named 'x'"]),
    "a name that is a path": (GOOD_STRATEGY.format(name="../x"), "TL-PLUGIN-CONTRACT", ["'../x'"]),
}
RETURNS = {
    "None": "NoneType None",
    "42": "int 42",
    "'text'": "str 'text'",
    "[42]": "returned 42",
    "Mine": "ABCMeta <class",
    "[Mine()]": "returned Mine()",
    "[int]": "<class 'int'>",
    "[__import__('tlplat.domain').domain.Domain]": "Domain",
    "[Strategy]": "Strategy",
    "iter([Mine, None])": "returned None",
    "__import__('itertools').count()": "returned 0",
}
for value, said in RETURNS.items():
    BROKEN[f"returns {value}"] = (X.replace("[Mine]", value), "TL-PLUGIN-CONTRACT", [said, "expected", "other-x 1.0"])
STATE = {
    "the working directory": "import os; os.chdir('/')",
    "signal handlers": "import signal; signal.signal(signal.SIGINT, lambda *_: None)",
    "logging of the root logger": "import logging; logging.getLogger().addHandler(logging.NullHandler())",
    "torch's default dtype": "import torch; torch.set_default_dtype(torch.float64)",
    "torch's thread count": "import torch; torch.set_num_threads(2)",
    "torch's random seed": "import torch; torch.manual_seed(123456789)",
}
for changed, code in STATE.items():
    BROKEN[f"changes {changed}"] = (f"{code}\n{X}", "TL-PLUGIN-CONTRACT", ["changed", changed, "other-x 1.0"])


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_plugin_is_blamed_where_it_is_needed_and_passed_over_elsewhere(site, case, capsys):
    code, wanted, said = BROKEN[case]
    site.add("other-x", code)
    error = fault()
    assert error.code == wanted
    text = error.render()
    assert not [word for word in said if word not in text], text
    sys.modules.pop("other_x_x", None)
    warnings: list[str] = []
    registry = plugins.load("strategies", None, warn=warnings.append)
    assert "linear_probe" in registry.names("strategies")
    assert "x" not in registry.names("strategies")
    assert [w for w in warnings if wanted in w and "'x' (other-x 1.0)" in w and "disabled" in w], warnings


@pytest.mark.parametrize("changed", STATE)
def test_changed_state_is_put_back(site, changed):
    import logging
    import signal

    import torch

    def state():
        return (
            os.getcwd(),
            signal.getsignal(signal.SIGINT),
            list(logging.getLogger().handlers),
            torch.get_default_dtype(),
            torch.get_num_threads(),
            torch.get_rng_state().tolist(),
        )

    before = state()
    site.add("other-x", f"{STATE[changed]}\n{X}")
    fault()
    assert state() == before


def test_duplicates_name_both_and_neither_wins(site, monkeypatch):
    site.add("dist-a", GOOD_STRATEGY.format(name="vision"), name="vision")
    site.add("dist-b", GOOD_STRATEGY.format(name="vision"), name="vision")
    error = fault("vision")
    assert error.code == "TL-PLUGIN-DUP"
    assert all(word in error.message for word in ("vision", "dist-a 1.0", "dist-b 1.0"))
    warnings: list[str] = []
    assert "vision" not in plugins.load("strategies", None, warn=warnings.append).names("strategies")
    assert len([w for w in warnings if "TL-PLUGIN-DUP" in w]) == 1
    monkeypatch.setenv("TLPLAT_PLUGINS", "dist-b")
    assert plugins.load("strategies", ["vision"]).owner("strategies", "vision") == "dist-b 1.0"


BEHAVIOUR = """
from tlplat.edits import Behaviour

class Towards(Behaviour):
    name = "l2sp"

@hookimpl
def tlplat_register_behaviours():
    return [Towards]
"""


def test_a_name_of_tlplats_own_stays_its_own(site):
    """A third party's plugin of a built-in's name is blamed and passed over, whichever is loaded first."""
    site.add("dist-a", GOOD_STRATEGY.format(name="full_ft"), name="full_ft")
    warnings: list[str] = []
    registry = plugins.load("strategies", ["full_ft"], warn=warnings.append)
    assert registry.get("strategies", "full_ft").__module__ == "tlplat.strategies.full_ft"
    assert len(warnings) == 1
    assert "TL-PLUGIN-DUP" in warnings[0]
    assert "plugin 'full_ft' (dist-a 1.0) brings the strategy 'full_ft', which is a name of tlplat's own" in warnings[0]
    entries = discover()
    rows = {e.distribution: metadata_fault(e, entries) for e in entries if e.name == "full_ft"}
    assert rows["tlplat"] is None
    assert rows["dist-a"].code == "TL-PLUGIN-DUP"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (X.replace("[Mine]", "[Mine, Other]") + "\nclass Other(Mine):\n    name: ClassVar[str] = 'lora'\n", "strategy"),
        (X + BEHAVIOUR, "behaviour"),
    ],
)
def test_a_class_of_a_built_ins_name_is_refused_before_anything_is_registered(site, code, kind):
    site.add("dist-a", code)
    error = fault()
    assert error.code == "TL-PLUGIN-DUP"
    assert f"plugin 'x' (dist-a 1.0) brings the {kind} " in error.message
    registry = plugins.load("strategies", None, warn=lambda sentence: None)
    assert registry.owner("strategies", "lora").startswith("tlplat ")
    assert "x" not in registry.names("strategies")


def test_what_a_failing_import_changed_is_put_back(site):
    before = os.getcwd()
    site.add("other-x", "import os; os.chdir('/'); raise ImportError('no foo')")
    assert fault().code == "TL-PLUGIN-LOAD"
    assert os.getcwd() == before


def test_two_plugins_with_one_class_name(site):
    site.add("dist-a", GOOD_STRATEGY.format(name="a"), name="a")
    site.add(
        "dist-b",
        GOOD_STRATEGY.format(name="b").replace("return [Mine]", "return [Mine, A]")
        + """
class A(Mine):
    name: ClassVar[str] = "a"
""",
        name="b",
    )
    registry = plugins.load("strategies", ["a"])
    with pytest.raises(PluginError, match=r"dist-a 1\.0 and dist-b 1\.0") as caught:
        plugins.load("strategies", ["b"], registry)
    assert caught.value.code == "TL-PLUGIN-DUP"


def test_one_distribution_in_two_folders_is_one(site, tmp_path, monkeypatch):
    from site_of import Site

    site.add("other-x", X)
    Site(tmp_path / "second", monkeypatch).add("Other_X", X, version="9")
    assert [e.version for e in discover() if e.name == "x"] == ["9"]


@pytest.mark.parametrize(
    ("requires", "accepted"),
    [
        ("tlplat>=99", False),
        ("TLPLAT==99.*", False),
        ("tlplat>=0.0.1", True),
        ("tlplat>=99; extra == 'new'", True),
        ("tlplat>=99; python_version < '3'", True),
        ("other>=99", True),
        ("not a requirement!", True),
    ],
)
def test_the_requirement_on_tlplat_is_checked_before_the_import(site, requires, accepted):
    site.add("other-x", X, requires=[requires], module="required_x")
    if accepted:
        assert plugins.load("strategies", ["x"]).names("strategies") == ["x"]
        return
    error = fault()
    assert error.code == "TL-PLUGIN-VERSION"
    assert "other-x 1.0" in error.message
    assert "99" in error.message
    assert "required_x" not in sys.modules
    entries = discover()
    found = metadata_fault(next(e for e in entries if e.name == "x"), entries)
    assert found is not None
    assert found.code == "TL-PLUGIN-VERSION"


@pytest.mark.parametrize("allowed", ["other-x", "Other_X", "x", "nothing, other-x"])
def test_the_allow_list_takes_distributions_and_names(site, monkeypatch, allowed):
    site.add("other-x", X)
    site.add("other-y", X, name="y")
    monkeypatch.setenv("TLPLAT_PLUGINS", allowed)
    names = {e.name for e in discover()}
    assert "x" in names
    assert "y" not in names
    assert "linear_probe" in names


def test_a_missing_domain_says_what_to_install(monkeypatch):
    monkeypatch.setenv("TLPLAT_PLUGINS", "none-at-all")
    with pytest.raises(PluginError, match="no domain plugin named 'vision' is installed") as caught:
        plugins.domain("vision", Registry())
    assert caught.value.code == "TL-PLUGIN-MISSING"
    assert "pip install tlplat-vision" in caught.value.fix


def test_a_misspelled_name_is_no_reason_to_install(site):
    site.add("tlplat-toys", "pass", group="domains", name="toys")
    error = fault("tosy", "domains")
    assert "did you mean 'toys'" in error.message
    assert "choose one of" in error.fix


def test_a_name_that_is_no_package_is_not_proposed():
    assert "rm" not in fault("x; rm -rf", "domains").fix


def test_noise_at_import_goes_to_stderr(site, capfd):
    site.add("other-x", f"import os\nprint('noise one', flush=True)\nos.write(1, b'noise two\\n')\n{X}")
    plugins.load("strategies", ["x"])
    out, err = capfd.readouterr()
    assert out == ""
    assert "noise one" in err
    assert "noise two" in err


OBSERVER = """
from tlplat import hookimpl
@hookimpl
def tlplat_run_event(event):
    {body}
"""


@pytest.fixture
def fresh_observers():
    plugins._observers.cache_clear()
    yield
    plugins._observers.cache_clear()


@pytest.mark.usefixtures("fresh_observers")
def test_observers_are_told_one_by_one_and_a_raising_one_is_dropped(site, capfd):
    for name, body in {
        "a": "print('a', event)",
        "b": "raise RuntimeError('bad ear')",
        "c": "event['report']['candidates'].clear()",
        "e": "import os; os.chdir('/')",
    }.items():
        site.add(f"dist-{name}", OBSERVER.format(body=body), group="observers", name=name)
    site.add("dist-d", "raise ImportError('no ear')", group="observers", name="d")
    warnings: list[str] = []
    event = {"event": "run_complete", "report": {"candidates": [1]}}
    plugins.notify(event, warn=warnings.append)
    plugins.notify(event, warn=warnings.append)
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("a {'event': 'run_complete', 'report': {'candidates': [1]}}") == 2
    assert err.count("no ear") == 1
    assert len(warnings) == 2
    assert "[TL-PLUGIN-CRASH] observer plugin 'b' (dist-b 1.0)" in warnings[0]
    assert "bad ear" in warnings[0]
    assert "[TL-PLUGIN-CONTRACT] observer plugin 'e' (dist-e 1.0) changed the working directory" in warnings[1]
    assert event == {"event": "run_complete", "report": {"candidates": [1]}}

"""Broken plugins through the command line: a listing goes on, a check or a use exits 5 and blames."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from site_of import GOOD_STRATEGY, Site

X = GOOD_STRATEGY.format(name="x")
BROKEN = {
    "import": ("raise ImportError('no foo')", "TL-PLUGIN-LOAD", ["no foo"]),
    "exit": ("import os; os._exit(0)", "TL-PLUGIN-LOAD", ["ended the process"]),
    "segfault": ("import ctypes; ctypes.string_at(0)", "TL-PLUGIN-LOAD", ["signal 11"]),
    "abort": ("import os; os.abort()", "TL-PLUGIN-LOAD", ["signal 6"]),
    "hang": ("import time; time.sleep(600)", "TL-PLUGIN-LOAD", ["more than 5 seconds"]),
    "hook": (
        "from tlplat import hookimpl\n@hookimpl\ndef tlplat_register_domians(): ...",
        "TL-PLUGIN-HOOK",
        ["domains"],
    ),
    "garbage": (X.replace("[Mine]", "None"), "TL-PLUGIN-CONTRACT", ["returned", "expected"]),
    "state": ("import os; os.chdir('/')", "TL-PLUGIN-CONTRACT", ["changed"]),
}


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    """``plugins check`` over a sound plugin and all broken ones at once: each is probed in a process of its own."""
    with pytest.MonkeyPatch.context() as patch:
        site = Site(tmp_path_factory.mktemp("broken") / "site", patch)
        for case, (code, _, _) in BROKEN.items():
            site.add(f"dist-{case}", code, name=case)
        site.add("dist-sound", GOOD_STRATEGY.format(name="sound"), name="sound")
        command = [sys.executable, "-m", "tlplat", "plugins", "check", "--timeout", "5", "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        listings = [
            subprocess.run([sys.executable, "-m", "tlplat", *listing], capture_output=True, text=True, check=False)
            for listing in (["plugins", "list"], ["strategies"], ["--help"])
        ]
    return done, listings


@pytest.mark.parametrize("case", BROKEN)
def test_check_names_each_fault(checked, case):
    _, code, said = BROKEN[case]
    rows = {row["distribution"]: row["result"] for row in json.loads(checked[0].stdout)["plugins"]}
    result = rows[f"dist-{case}"]
    assert result.startswith(f"[{code}] plugin ")
    assert not [word for word in [f"(dist-{case} 1.0)", *said] if word not in result], result


def test_check_goes_on_to_the_sound_ones_and_ends_with_5(checked):
    done = checked[0]
    rows = {row["name"]: row["result"] for row in json.loads(done.stdout)["plugins"]}
    assert rows["sound"] == rows["linear_probe"] == "ok"
    assert done.returncode == 5
    error = json.loads(done.stdout)["error"]
    assert len(error["findings"]) == len(BROKEN)
    assert done.stderr.count("\nfix: ") == 1
    assert "Traceback" not in done.stderr


def test_listings_read_metadata_alone(checked):
    for listed in checked[1]:
        assert listed.returncode == 0
        assert "dist-hang" in listed.stdout or "Usage" in listed.stdout


def test_check_of_one_plugin(site, process):
    site.add("other-x", "import ctypes; ctypes.string_at(0)")
    outcome = process("plugins", "check", "x")
    assert (outcome.code, outcome.error) == (5, "TL-PLUGIN-LOAD")
    assert "signal 11" in outcome.err
    assert "sound" not in outcome.out


@pytest.mark.slow
def test_check_of_a_sound_plugin_runs_the_kit(process):
    outcome = process("plugins", "check", "linear_probe", "--json")
    assert outcome.code == 0
    (row,) = outcome.document["plugins"]
    assert re.fullmatch(r"ok; \d\d checks passed, \d do not apply", row["result"])
    row = process("plugins", "check", "linear_probe", "--no-kit", "--json").document["plugins"][0]
    assert row["result"] == "ok"


@pytest.mark.slow
def test_check_names_the_checks_that_fail(site, process):
    """Its plan raises: most checks fail, each in a finding, and the plugin is blamed by distribution and version."""
    site.add("dist-x", X)
    outcome = process("plugins", "check", "x", "--json")
    error = outcome.document["error"]
    assert (outcome.code, error["code"]) == (5, "TL-PLUGIN-CONTRACT")
    assert re.search(r"plugin 'x' \(dist-x 1\.0\) fails \d+ of \d+ checks of the conformance kit", error["message"])
    assert "test_plan_is_pure_and_serialisable" in [finding["where"] for finding in error["findings"]]


@pytest.mark.slow
def test_the_kit_has_a_time_limit(process):
    outcome = process("plugins", "check", "linear_probe", "--kit-timeout", "1", "--json")
    assert (outcome.code, outcome.document["error"]["code"]) == (5, "TL-PLUGIN-LOAD")
    assert "took more than 1 seconds under the conformance kit" in outcome.err


def test_using_a_broken_plugin(site, tlplat):
    site.add("other-x", "raise ImportError('no foo')")
    outcome = tlplat("strategies", "x")
    assert (outcome.code, outcome.error) == (5, "TL-PLUGIN-LOAD")
    site.add("dom-x", "raise ImportError('no foo')", group="domains")
    for command in (["run", "--domain", "x", "--any", "thing"], ["domains", "x"], ["sources", "--domain", "x"]):
        outcome = tlplat(*command)
        assert (outcome.code, outcome.error) == (5, "TL-PLUGIN-LOAD"), outcome.err


def test_loading_all_warns_of_the_broken_one_and_goes_on(site, tlplat):
    site.add("dom-x", "raise ImportError('no foo')", group="domains")
    for command in (["sources", "--json"], ["assets", "list", "--json"]):
        outcome = tlplat(*command)
        assert outcome.code == 0
        assert outcome.document
        assert all(word in outcome.err for word in ("plugin 'x'", "no foo", "disabled"))


def test_duplicates(site, tlplat, monkeypatch):
    site.add("dist-a", GOOD_STRATEGY.format(name="vision"), name="vision")
    site.add("dist-b", GOOD_STRATEGY.format(name="vision"), name="vision")
    listed = tlplat("strategies", "--json")
    assert listed.code == 0
    assert len([row for row in listed.document["strategies"] if row["fault"]]) == 2
    assert all(word in listed.err for word in ("TL-PLUGIN-DUP", "vision", "dist-a", "dist-b"))
    used = tlplat("strategies", "vision")
    assert (used.code, used.error) == (5, "TL-PLUGIN-DUP")
    monkeypatch.setenv("TLPLAT_PLUGINS", "dist-a")
    assert tlplat("strategies", "vision").code == 0


def test_noise_leaves_json_alone(site, tlplat):
    site.add("other-x", f"import os\nprint('noise', flush=True)\nos.write(1, b'noise')\n{X}")
    outcome = tlplat("strategies", "x", "--json")
    assert outcome.code == 0
    assert outcome.document["strategy"]["name"] == "x"


def test_commands_of_plugins(site, tlplat):
    code = """
    import click
    from tlplat import hookimpl
    @hookimpl
    def tlplat_register_commands(cli):
        @cli.command("greet")
        def greet():
            click.echo("hello")
    """
    site.add("dist-g", code, group="commands", name="greet")
    site.add("dist-h", "raise ImportError('no foo')", group="commands", name="moan")
    assert "greet  Brought by dist-g 1.0." in tlplat("--help").out
    assert tlplat("greet").out == "hello\n"
    assert tlplat("gret").err.startswith("tlplat: error [TL-USAGE]: No such command 'gret'; did you mean 'greet'?")
    outcome = tlplat("moan")
    assert (outcome.code, outcome.error) == (5, "TL-PLUGIN-LOAD")


def test_without_a_domain_the_user_is_told_what_to_install(tlplat, monkeypatch):
    monkeypatch.setenv("TLPLAT_PLUGINS", "none-at-all")
    for command in (["domains"], ["sources"], ["assets", "list"]):
        outcome = tlplat(*command)
        assert outcome.code == 0
        assert "pip install tlplat-genomics" in outcome.err
    outcome = tlplat("run", "--domain", "genomics", "--json")
    assert (outcome.code, outcome.document["error"]["code"]) == (5, "TL-PLUGIN-MISSING")
    assert "pip install tlplat-genomics" in outcome.err


def test_doctor_shows_the_fault(site, process, tmp_path):
    site.add("other-x", "raise ImportError('no foo')")
    outcome = process(
        "doctor", "--json", env={"TLPLAT_CACHE_DIR": str(tmp_path / "none" / "yet"), "TLPLAT_NO_EXT": "1"}
    )
    checks = {row["check"]: row for row in outcome.document["checks"]}
    assert {
        "python",
        "torch",
        "threads",
        "instruction set",
        "extension",
        "cuda kernels",
        "cache",
        "pip",
    } <= checks.keys()
    assert checks["plugin x"]["state"] == "fault"
    assert "no foo" in checks["plugin x"]["value"]
    assert checks["cache"]["path"] == str(tmp_path / "none" / "yet")
    assert not (tmp_path / "none").exists()


def test_new_writes_a_package_and_refuses_to_do_it_twice(tlplat):
    pytest.importorskip("copier")
    outcome = tlplat("plugins", "new", "strategy", "my_own")
    assert outcome.code == 0
    assert "pip install -e" in outcome.out
    assert Path("tlplat-my-own", "pyproject.toml").exists()
    again = tlplat("plugins", "new", "strategy", "my_own")
    assert (again.code, again.error) == (2, "TL-OUT-EXISTS")

"""run, resume, report, predict through the command line, on the toy domain."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from site_of import GOOD_STRATEGY

RAISES = "raise NotImplementedError"
PLANS = "from tlplat.strategies.full_ft import FullFineTuning as F; return F().plan(task, backbone, measured, budget)"
SHORT = ["--strategy", "linear_probe", "--seeds", "1", "--set", "train.steps=5", "--threads", "1"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, toy_site, shared_cache):
    """A finished run whose data have a name that is not UTF-8: (its folder, what it printed)."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(toy_site))
        patch.setenv("TLPLAT_CACHE_DIR", str(shared_cache))
        patch.setenv("TLPLAT_SEED", "7")
        command = [sys.executable, "-m", "tlplat", "run", "--domain", "toy", *SHORT, "--json", "--shift", "0.5"]
        rest = ["--labels", "40", "--data", b"d\xff", "--out", "out"]
        done = subprocess.run([*command, *rest], cwd=folder, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return folder / "out", done


def test_json_is_the_report(finished):
    folder, done = finished
    document = json.loads(done.stdout)
    assert document == json.loads((folder / "report" / "report.json").read_text(encoding="utf-8"))
    assert document["verdict"]["sentence"]
    assert b"tlplat: error" not in done.stderr


def test_the_resolved_configuration_is_kept(finished):
    from tlplat.config import from_toml

    config = from_toml(finished[0] / "config.toml")
    assert config.seed == 7
    assert config.labels == 40
    wanted = {"shift": 0.5, "size": "small", "lend_source": True, "unlabeled": True}
    assert config.options.items() >= wanted.items()
    assert config.out == finished[0]
    assert config.data.path == finished[0].parent / "d\udcff"


def test_report_shows_table_verdict_and_places(tlplat, finished):
    outcome = tlplat("report", str(finished[0]))
    assert "linear_probe" in outcome.out
    assert "scratch" in outcome.out
    assert "report.html" in outcome.out
    sentence = " ".join(json.loads(finished[1].stdout)["verdict"]["sentence"].split())
    assert sentence in " ".join(outcome.out.split())
    assert tlplat("report", str(finished[0]), "--json").document == json.loads(finished[1].stdout)


def test_resume_of_a_finished_run_shows_it(tlplat, finished):
    outcome = tlplat("resume", str(finished[0]), "--json")
    assert outcome.document == json.loads(finished[1].stdout)


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "new.csv"
    path.write_text("\n".join(",".join(str(0.1 * (i + j)) for j in range(12)) for i in range(5)), encoding="utf-8")
    return str(path)


def test_predict_streams_csv(tlplat, toy, finished, data):
    outcome = tlplat("predict", str(finished[0]), data)
    assert outcome.code == 0
    rows = list(csv.DictReader(io.StringIO(outcome.out)))
    assert [row["id"] for row in rows] == ["0", "1", "2", "3", "4"]
    assert list(rows[0]) == ["id", "prediction", "p(in)", "p(out)", "calibrated(in)", "calibrated(out)"]
    for row in rows:
        for kind in ("p", "calibrated"):
            assert float(row[f"{kind}(in)"]) + float(row[f"{kind}(out)"]) == pytest.approx(1, abs=1e-5)
        assert row["prediction"] == max(("in", "out"), key=lambda label: float(row[f"p({label})"]))


def test_predict_in_other_forms(tlplat, toy, finished, data):
    lines = [json.loads(x) for x in tlplat("predict", str(finished[0]), data, "--format", "jsonl").out.splitlines()]
    document = tlplat("predict", str(finished[0] / "model"), data, "--json").document
    assert document["rows"] == lines
    assert len(lines) == 5


def test_predict_refuses_what_is_no_data(tlplat, toy, finished, tmp_path):
    bad = tmp_path / "bad.csv"
    bad.write_text("1,2,3", encoding="utf-8")
    outcome = tlplat("predict", str(finished[0]), str(bad), "--json")
    assert (outcome.code, outcome.document["error"]["code"]) == (3, "TL-DATA-COLUMN")


def test_a_full_disk_under_predict(process, finished, data, toy):
    with open("/dev/full", "wb") as full:
        outcome = process("predict", str(finished[0]), data, stdout=full)
    assert (outcome.code, outcome.error) == (6, "TL-IO-ENOSPC")


@pytest.mark.usefixtures("toy")
class TestRun:
    """Needs the toy domain in this process."""

    def test_help_shows_the_options_of_the_domain(self, tlplat, write):
        for arguments in (
            ["--domain", "toy"],
            ["--domain=toy"],
            ["-c", write('domain = "toy"')],
            ["--set", "domain=toy"],
        ):
            outcome = tlplat("run", *arguments, "--help")
            assert "Options of the domain toy" in outcome.out
            assert "--shift FLOAT" in outcome.out
            assert "How far the target lies from the source." in outcome.out
            assert "--size [small|large]" in outcome.out
        assert "--shift" not in tlplat("run", "--help").out

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["--size", "huge"], ["--size", "huge", "small"]),
            (["--shift", "x"], ["--shift", "x"]),
            (["--shift", "nan"], ["options.shift", "finite"]),
            (["--set", "options.shfit=1"], ["options.shfit", "did you mean 'options.shift'"]),
            (["--set", "options.size=huge"], ["options.size", "huge"]),
            (["--shfit", "1"], ["No such option", "--shfit", "--shift"]),
        ],
    )
    def test_options_of_the_domain_are_checked(self, tlplat, arguments, said):
        outcome = tlplat("run", "--domain", "toy", *arguments)
        assert (outcome.code, outcome.error) == (2, "TL-USAGE"), outcome.err
        assert not [word for word in said if word not in outcome.err], outcome.err
        assert not list(Path().iterdir())

    def test_config_show_names_every_origin(self, tlplat, write, monkeypatch):
        monkeypatch.setenv("TLPLAT_SEEDS", "4")
        monkeypatch.setenv("TLPLAT_DATA_SEED", "9")
        path = write('domain = "toy"\nseeds = 3\nthreads = 2\n[train]\nepochs = 2\n[options]\nshift = 1\n')
        flags = ["--set", "threads=1", "--set", "seed=3", "--seed", "5", "--size", "large"]
        document = tlplat("config", "show", "-c", path, *flags, "--json").document
        config, origins = document["config"], document["origins"]
        assert (config["seeds"], origins["seeds"]) == (3, f"file {path}")
        assert (config["data_seed"], origins["data_seed"]) == (9, "environment TLPLAT_DATA_SEED")
        assert (config["threads"], origins["threads"]) == (1, "--set")
        assert (config["seed"], origins["seed"]) == (5, "flag --seed")
        assert (config["labels"], origins["labels"]) == (40, "domain toy")
        wanted = {"shift": 1.0, "size": "large", "lend_source": True, "unlabeled": True}
        assert config["options"].items() >= wanted.items()
        assert origins["options.size"] == "flag --size"
        assert (config["train"]["batch_size"], origins["train.batch_size"]) == (32, "default")

    def test_dry_run_shows_values_origins_and_plans(self, tlplat):
        outcome = tlplat("run", "--domain", "toy", *SHORT, "--dry-run", "--json")
        assert outcome.code == 0, outcome.err
        document = outcome.document
        assert document["origins"]["train.steps"] == "--set"
        assert "linear_probe" in [c["name"] for c in document["candidates"]]
        assert not list(Path().iterdir())
        text = tlplat("run", "--domain", "toy", *SHORT, "--dry-run").out
        assert "flag --strategy" in text
        assert "linear_probe" in text

    def test_dry_run_shows_members_and_how_they_are_combined(self, tlplat):
        flags = ["--domain", "toy", "--strategy", "greedy_soup,wise_ft,full_ft", "--set", "train.steps=5", "--dry-run"]
        plans = {c["name"]: c["plan"] for c in tlplat("run", *flags, "--json").document["candidates"] if "plan" in c}
        assert [m["rate_scale"] for m in plans["greedy_soup"]["members"]] == [0.5, 1.0, 2.0]
        assert plans["wise_ft"]["combine"] == "interpolate"
        lines = {line.split()[0]: line for line in tlplat("run", *flags).out.splitlines() if line}
        assert "3 member(s), greedy_average" in lines["greedy_soup"]
        assert "1 member(s), interpolate" in lines["wise_ft"]
        assert "member" not in lines["full_ft"]

    def test_a_broken_or_noisy_strategy_does_not_disturb_a_run_that_does_not_need_it(self, tlplat, site):
        site.add("other-x", "raise ImportError('no foo')")
        site.add("other-y", "print('noise')\n" + GOOD_STRATEGY.format(name="y").replace(RAISES, PLANS), name="y")
        flags = ["--dry-run", "--json", "--strategy", "auto", "--set", "train.steps=5"]
        outcome = tlplat("run", "--domain", "toy", *flags)
        assert outcome.code == 0, outcome.err
        assert "y" in [c["name"] for c in outcome.document["candidates"]]
        assert all(word in outcome.err for word in ("plugin 'x' (other-x 1.0)", "no foo", "disabled", "noise"))
        outcome = tlplat("run", "--domain", "toy", "--strategy", "x")
        assert (outcome.code, outcome.error) == (5, "TL-PLUGIN-LOAD")

    def test_a_strategy_that_raises_is_blamed(self, tlplat, site):
        site.add("other-x", GOOD_STRATEGY.format(name="x").replace(RAISES, "raise RuntimeError('boom')"))
        outcome = tlplat("run", "--domain", "toy", "--strategy", "x", "--dry-run")
        assert (outcome.code, outcome.error) == (5, "TL-PLUGIN-CRASH")
        assert all(word in outcome.err for word in ("'x' (other-x 1.0)", "plan", "boom", "resume")), outcome.err

    def test_an_unmet_requirement_ends_with_8(self, tlplat):
        flags = [*SHORT, "--require", "auroc>=1.1", "--require", "auroc>=0", "--out", "out"]
        outcome = tlplat("run", "--domain", "toy", *flags, "--json")
        assert (outcome.code, outcome.error) == (8, "TL-REQUIRE")
        assert outcome.document["verdict"]
        assert [f["where"] for f in outcome.document["error"]["findings"]] == ["auroc>=1.1"]
        outcome = tlplat("resume", "out")
        assert (outcome.code, outcome.error) == (8, "TL-REQUIRE")
        assert "linear_probe" in outcome.out

    def test_out_that_exists(self, tlplat, finished):
        shutil.copytree(finished[0], "run")
        before = {p: p.read_bytes() for p in Path("run").rglob("*") if p.is_file()}
        outcome = tlplat("run", "--domain", "toy", *SHORT, "--out", "run/")
        assert (outcome.code, outcome.error) == (2, "TL-OUT-EXISTS")
        assert all(word in outcome.err for word in ("run/", "already", "resume"))
        assert before == {p: p.read_bytes() for p in Path("run").rglob("*") if p.is_file()}

    def test_domains_describes_the_toy(self, tlplat):
        assert "toy   tlplat-toy" in tlplat("domains").out or "tlplat-toy" in tlplat("domains").out
        text = tlplat("domains", "toy").out
        assert all(word in text for word in ("two-class vectors", "rings", "--shift"))
        assert tlplat("domains", "toy", "--json").document["domain"]["options"]["properties"]["size"]
        listed = tlplat("sources", "--domain", "toy", "--json").document["sources"]
        assert [source["name"] for source in listed] == ["rings", "flipped", "headless"]
        outcome = tlplat("sources", "ringz", "--domain", "toy")
        assert (outcome.code, "did you mean 'rings'" in outcome.err) == (2, True)

    def test_init_makes_a_file_that_run_takes(self, tlplat):
        assert tlplat("config", "init", "--domain", "toy", "-o", "run.toml").code == 0
        assert tlplat("config", "show", "-c", "run.toml").code == 0
        text = Path("run.toml").read_text(encoding="utf-8")
        live = [
            line.removeprefix("# ") if line.endswith(("= 32", "= 5", '= "small"')) else line
            for line in text.splitlines()
        ]
        Path("live.toml").write_text("\n".join(live), encoding="utf-8")
        origins = tlplat("config", "show", "-c", "live.toml", "--json").document["origins"]
        assert {origins[k] for k in ("seeds", "train.batch_size", "options.size")} == {"file live.toml"}

    def test_init_writes_what_flags_say(self, tlplat):
        said = (
            "--strategy",
            "full_ft,lora",
            "--labels",
            "40",
            "--balance",
            "--shift",
            "0.5",
            "--set",
            "train.epochs=5",
        )
        assert tlplat("config", "init", "--domain", "toy", *said, "-o", "run.toml").code == 0
        shown = tlplat("config", "show", "-c", "run.toml", "--json").document
        named = {key for key, origin in shown["origins"].items() if origin == "file run.toml"}
        assert named == {"domain", "strategies", "labels", "balance", "train.epochs", "options.shift"}
        config = shown["config"]
        assert (config["strategies"], config["labels"], config["balance"]) == (["full_ft", "lora"], 40, True)
        assert (config["train"]["epochs"], config["options"]["shift"]) == (5, 0.5)
        outcome = tlplat("config", "init", "--labels", "40")
        assert (outcome.code, "--domain" in outcome.err) == (2, True)

"""The cases of bad_inputs.yaml of the areas cli and config, through the real command line."""

from __future__ import annotations

from pathlib import Path

import pytest

USAGE = [
    (["rnu", "--domain", "genomics", "-c", "c.toml"], ["No such command", "rnu", "did you mean", "run"]),
    (["plugins", "lst"], ["No such command", "lst", "did you mean", "list"]),
    (["run", "--sedes", "3"], ["No such option", "--sedes", "--seeds"]),
    (["run"], ["Missing option", "--domain"]),
    (["run", "--domain", "genomics", "--set", "train.learning_rate=nan"], ["learning_rate", "finite"]),
    (["run", "--domain", "genomics", "--set", "train.learning_rate=-inf"], ["learning_rate", "finite"]),
    (["run", "--domain", "genomics", "--set", "train.learning_rate"], ["KEY=VALUE", "train.learning_rate"]),
    (["run", "--domain", "genomics", "--set", "seeds=1\nseed=2"], ["seeds", "integer"]),
    (["run", "--domain", "genomics", "--seeds", "0"], ["--seeds", "greater than or equal to 1", "0"]),
    (["run", "--domain", "genomics", "--labels", "ten"], ["--labels", "integer", '"ten"']),
    (["run", "--domain", "genomics", "--device", "tpu"], ["--device", "cuda:N", '"tpu"']),
    (["run", "--domain", "genomics", "--require", "auroc=>0.9"], ["auroc=>0.9", "METRIC>=NUMBER"]),
    (["run", "--domain", "genomics", "--require", "auroc>=nan"], ["auroc>=nan"]),
    (["run", "--domain", "genomics", "--budget", "10 parsecs"], ["budget", "10 parsecs", "trials=N"]),
    (["run", "--domain", "genomics", "--budget", "0s"], ["budget", "0s", "more than 0"]),
    (["run", "-c", "/nope/c.toml"], ["/nope/c.toml", "does not exist"]),
    (["run", "-c", "/tmp"], ["/tmp", "is a directory"]),
    (["run", "--domain", "arrays", "--split", "fold"], ["--split needs --data"]),
    (["run", "--domain", "genomics", "--data", "x", "--split", "f", "--test-data", "y"], ["--split, --test-data"]),
    (["run", "--domain", "genomics", "--data", "x.fa", "--val-data", "y.fa"], ["--val-data needs --test-data"]),
    (["predict", "run"], ["Missing argument", "DATA"]),
    (["config", "show"], ["Missing option", "--domain"]),
    (["completion", "tcsh"], ["tcsh", "bash"]),
]


@pytest.mark.parametrize(("arguments", "said"), USAGE, ids=lambda v: " ".join(v) if isinstance(v, list) else None)
def test_usage(tlplat, arguments, said):
    outcome = tlplat(*arguments)
    assert (outcome.code, outcome.error) == (2, "TL-USAGE")
    assert not [word for word in said if word not in outcome.err], outcome.err
    assert outcome.out == ""
    assert not list(Path().iterdir())


def test_a_domain_that_splits_rows_itself_takes_no_split(toy, tlplat):
    outcome = tlplat("run", "--domain", "toy", "--data", "x.csv", "--split", "fold")
    assert (outcome.code, outcome.error) == (2, "TL-USAGE")
    assert "toy splits rows itself" in outcome.err


def test_json_carries_the_same_error(tlplat):
    outcome = tlplat("run", "--sedes", "3", "--json")
    error = outcome.document["error"]
    assert (outcome.code, error["code"], error["exit_code"]) == (2, "TL-USAGE", 2)
    assert error["message"] in outcome.err
    assert error["fix"] in outcome.err


def test_json_after_two_dashes_is_an_argument(tlplat):
    assert tlplat("report", "--", "--json").out == ""


CONFIG = [
    ("a = [1,", "TL-CONFIG-SYNTAX", ["c.toml", "line 1", "column 8"]),
    ("a = 1\nb = @", "TL-CONFIG-SYNTAX", ["line 2", "column 5"]),
    ("x = " + "[" * 5000, "TL-CONFIG-SYNTAX", ["nested", "line", "column"]),
    ("seed = " + "9" * 5000, "TL-CONFIG-SYNTAX", ["c.toml", "line"]),
    ('domain = "g"\n[train]\nepochs = "ten"', "TL-CONFIG-TYPE", ["train.epochs", "integer", '"ten"']),
    ('epochs = "ten"', "TL-CONFIG-TYPE", ["train.epochs", "integer", '"ten"']),
    ('domain = "g"\nseeds = true', "TL-CONFIG-TYPE", ["seeds", "integer", "true"]),
    ('domain = "g"\nseeds = 3.0', "TL-CONFIG-TYPE", ["seeds", "integer", "3.0"]),
    ('domain = "g"\ntrain = 3', "TL-CONFIG-TYPE", ["train", "a table"]),
    ('domain = "g"\n[train]\nlearning_rate = inf', "TL-CONFIG-TYPE", ["train.learning_rate", "finite"]),
    ('domain = "g"\n[train]\nepocs = 3', "TL-CONFIG-UNKNOWN", ["train.epocs", "did you mean 'train.epochs'"]),
    ('domain = "g"\nbatch_size = 3', "TL-CONFIG-UNKNOWN", ["batch_size", "did you mean 'train.batch_size'"]),
    ("a=1\n" * 25_000_000, "TL-CONFIG-TOO-BIG", ["1 MB"]),
    ('domain = "g"'.encode("utf-16"), "TL-CONFIG-ENCODING", ["UTF-8"]),
    ('domain = "g"'.encode("utf-16-le"), "TL-CONFIG-ENCODING", ["UTF-8"]),
    (b'domain = "\xe9"', "TL-CONFIG-ENCODING", ["UTF-8", "byte 10"]),
    ('path = "${HOME}/x;rm -rf"', "TL-CONFIG-PATH", ["path"]),
    ('domain = "g"\n[data]\npath = "${HOME}/x;rm -rf"', "TL-CONFIG-PATH", ["data.path", "${HOME}/x;rm -rf"]),
    ('domain = "g"\nout = "$HOME/x"', "TL-CONFIG-PATH", ["out"]),
]


@pytest.mark.parametrize(("content", "code", "said"), CONFIG, ids=[f"{c[1]}-{i}" for i, c in enumerate(CONFIG)])
def test_configuration(tlplat, write, content, code, said):
    outcome = tlplat("run", "-c", write(content))
    assert (outcome.code, outcome.error) == (2, code), outcome.err
    assert not [word for word in said if word not in outcome.err], outcome.err
    assert not list(Path().iterdir())


def test_all_faults_are_listed_at_once(tlplat, write):
    path = write('seeds = "x"\nlables = 3\n[train]\nsteps = 0\nepochs = "ten"\n[data]\npath = "a;b"\n')
    outcome = tlplat("run", "-c", path, "--json")
    named = [finding["where"].split(" ")[0] for finding in outcome.document["error"]["findings"]]
    assert set(named) == {"seeds", "lables", "train.steps", "train.epochs", "data.path"}


def test_more_than_twenty_findings_are_cut_on_stderr(tlplat, write):
    outcome = tlplat("run", "-c", write("".join(f"zzz{i} = 1\n" for i in range(30))))
    assert len(outcome.err.splitlines()) <= 24
    assert "and 10 more" in outcome.err


def test_a_device_that_never_ends_is_refused(tlplat):
    outcome = tlplat("run", "-c", "/dev/zero")
    assert outcome.error == "TL-CONFIG-TOO-BIG"


def test_config_init_does_not_overwrite(tlplat):
    assert tlplat("config", "init", "-o", "c.toml").code == 0
    before = Path("c.toml").read_bytes()
    outcome = tlplat("config", "init", "-o", "c.toml")
    assert (outcome.code, outcome.error) == (2, "TL-OUT-EXISTS")
    assert Path("c.toml").read_bytes() == before


def test_reports_of_what_is_no_run(tlplat):
    for arguments in (["report", "nope"], ["resume", "nope"], ["predict", "nope", "x.csv"]):
        outcome = tlplat(*arguments)
        assert outcome.code == 2
        assert outcome.error == ("TL-REPORT-MISSING" if arguments[0] == "report" else "TL-RUN-MISSING"), outcome.err
        assert "nope" in outcome.err

import json
import subprocess
import sys

import pytest
from pydantic import ValidationError
from report import sample

from tlplat.errors import ResourceError, UsageError
from tlplat.report import load_report, write_report


def test_writes_both_and_reads_back(tmp_path):
    written = write_report(tmp_path, sample.sample())
    assert sorted(p.name for p in (tmp_path / "report").iterdir()) == ["report.html", "report.json"]
    assert json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8")) == written
    assert load_report(tmp_path) == written
    assert written["verdict"]["sentence"].startswith("Transfer helps: l2sp")
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert written["verdict"]["sentence"].split(" [")[0] in page


@pytest.mark.parametrize("make", sample.ALL.values(), ids=sample.ALL)
def test_json_is_strict(tmp_path, make):
    write_report(tmp_path, make())

    def refuse(name):
        raise AssertionError(f"{name} in report.json")

    json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8"), parse_constant=refuse)


def test_the_same_document_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_report(tmp_path / name, sample.sample())
    for file in ("report.json", "report.html"):
        assert (tmp_path / "a" / "report" / file).read_bytes() == (tmp_path / "b" / "report" / file).read_bytes()


def test_a_wrong_document_writes_nothing(tmp_path):
    document = sample.sample()
    document["verdict"]["winner"] = "nobody"
    with pytest.raises(ValidationError):
        write_report(tmp_path, document)
    assert not list(tmp_path.iterdir())


def test_bytes_paths_stay_utf8(tmp_path):
    document = sample.sample()
    document["run_dir"] = "runs/d\udcff"
    write_report(tmp_path, document)
    for name in ("report.json", "report.html"):
        assert "d\\" in (tmp_path / "report" / name).read_bytes().decode("utf-8")


def test_missing(tmp_path):
    with pytest.raises(UsageError) as error:
        load_report(tmp_path)
    assert error.value.code == "TL-REPORT-MISSING"
    assert "tlplat resume" in error.value.fix


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ({"schema_version": 99}, "TL-REPORT-VERSION"),
        ({"schema_version": 1}, "TL-REPORT-CORRUPT"),
        ([1], "TL-REPORT-CORRUPT"),
    ],
)
def test_unreadable(tmp_path, content, code):
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "report.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ResourceError) as error:
        load_report(tmp_path)
    assert error.value.code == code
    assert "report.json" in str(error.value)


def test_needs_no_torch():
    code = "import sys, tlplat.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

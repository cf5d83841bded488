"""Which columns of the user's table hold texts and labels: guessed, shown, kept for ``predict``, and overridden."""

from __future__ import annotations

import csv
import json
import random

from commandline import tlplat
from tlplat_nlp.domain import NlpDomain

from tlplat.storage import read_json

PLAIN = ("film", "actor", "scene", "story", "music", "camera", "plot", "ending", "script", "director")


def write(path, header=("review", "mood")):
    draw = random.Random(0)
    words = {"up": ("superb", "moving", "charming"), "down": ("dull", "hollow", "clumsy")}
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(header)
        for mood in ["up", "down"] * 40:
            rows.writerow([" ".join([draw.choice(words[mood]), *draw.sample(PLAIN, 6)]), mood])
    return path


def test_guess(tmp_path):
    path = write(tmp_path / "a.csv")
    assert NlpDomain.guess(path, {}) == {"options.text": "review", "data.target": "mood"}
    assert NlpDomain.guess(path, {"options.text": "review"}) == {"data.target": "mood"}
    assert NlpDomain.guess(write(tmp_path / "b.csv", ("text", "label")), {}) == {}


def test_a_run_shows_what_it_guessed_and_predicts_by_it(tmp_path, encoder_folder):
    write(tmp_path / "a.csv")
    flags = ("--domain", "nlp", "--data", "a.csv", "--source", str(encoder_folder), "--offline")
    more = ("--strategy", "linear_probe", "--seeds", "1", "--jobs", "1", "--threads", "1", "--set", "train.steps=1")
    done = tlplat("run", *flags, *more, "--out", "run", "--json", cache=tmp_path / "cache", cwd=tmp_path)
    assert done.code == 0, done.err
    assert "guessed from a.csv: --target mood --text review (give these to choose others)" in done.err
    told = read_json(tmp_path / "run" / "report" / "report.json")["run"]["config"]
    assert told["data.target"] == {"value": "mood", "origin": "guessed from a.csv"}
    assert told["options.text"]["origin"] == "guessed from a.csv"
    said = tlplat("predict", "run", "a.csv", "--format", "jsonl", cache=tmp_path / "cache", cwd=tmp_path)
    assert said.code == 0, said.err
    assert json.loads(said.out.splitlines()[0])["prediction"] in {"up", "down"}

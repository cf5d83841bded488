"""The domain through the command line: own texts with a tiny encoder, and the real demo."""

from __future__ import annotations

import json

import pytest
from commandline import tlplat


def lines_of(rows):
    return "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows)


def test_own_texts_run_and_predict_without_network(encoder_folder, reviews, tmp_path):
    """Every default strategy that fits, on a local encoder; then the saved model on new rows."""
    (tmp_path / "own.jsonl").write_text(lines_of(reviews(60)), encoding="utf-8")
    outcome = tlplat(
        *("run", "--domain", "nlp", "--data", "own.jsonl", "--source", str(encoder_folder), "--offline", "--jobs", "1"),
        *("--threads", "1", "--set", "train.steps=2", "--out", "run", "--json"),
        cache=tmp_path / "cache",
        cwd=tmp_path,
    )
    assert outcome.code == 0, outcome.err
    scores = {c["strategy"]: c["mean"] for c in outcome.document["candidates"]}
    assert {"linear_probe", "prototype", "full_ft", "scratch", "tfidf_logistic", "majority"} <= scores.keys()
    assert scores["tfidf_logistic"] > 0.9
    assert scores["linear_probe"] > 0.8
    (tmp_path / "new.csv").write_text("id,text\nb,a dull film\na,a superb film\n", encoding="utf-8")
    predicted = tlplat("predict", "run", "new.csv", cache=tmp_path / "cache", cwd=tmp_path)
    assert predicted.code == 0, predicted.err
    assert [line.split(",")[0] for line in predicted.out.splitlines()[1:]] == ["b", "a"]
    explained = tlplat("explain", "run", "--rows", "2", "--json", cache=tmp_path / "cache", cwd=tmp_path)
    assert explained.code == 0, explained.err
    found = explained.document["explanation"]
    assert len(found["shown"]) == 2
    assert found["importance"]
    assert found["depths"]["blocks"][0]["name"] == "embeddings"
    page = (tmp_path / "run" / "report" / "report.html").read_text(encoding="utf-8")
    assert 'class="pieces words"' in page


def test_bad_data_are_refused_by_place_and_leave_nothing(tmp_path):
    """Exit 3 before any source is loaded: no network, no cache, no run folder."""
    (tmp_path / "x.jsonl").write_text('{"text": "a", "label": "x"}\n' * 16 + '{"text":\n', encoding="utf-8")
    before = sorted(tmp_path.rglob("*"))
    outcome = tlplat(
        *("run", "--domain", "nlp", "--data", "x.jsonl", "--offline", "--json"), cache=tmp_path / "cache", cwd=tmp_path
    )
    assert outcome.code == 3
    assert outcome.document["error"]["code"] == "TL-DATA-JSONL"
    assert "line 17" in outcome.err
    assert [p for p in sorted(tmp_path.rglob("*")) if "cache" not in p.parts] == before


@pytest.mark.network
@pytest.mark.slow
def test_tweets_transfer_to_movie_snippets(tmp_path):
    """The demo's frozen part, 64 labels: the source's head helps, and a probe pulled towards it beats a plain one."""
    outcome = tlplat(
        *("run", "--domain", "nlp", "--strategy", "pulled_probe,linear_probe", "--set", "train.steps=1"),
        *("--jobs", "1", "--threads", "1", "--out", "run", "--json"),
        cwd=tmp_path,
    )
    assert outcome.code == 0, outcome.err
    report = outcome.document
    scores = {c["strategy"]: c["mean"] for c in report["candidates"]}
    assert report["verdict"]["outcome"] == "helps"
    assert not report["verdict"]["negative_transfer"]
    assert scores["pulled_probe"] > scores["linear_probe"] > scores["scratch"]
    assert scores["pulled_probe"] > 0.75
    assert scores["zero_shot"] > 0.75
    assert report["data_card"]["split"]["near_copies_across_the_split"] == 0


@pytest.mark.network
@pytest.mark.slow
def test_topics_are_told_by_the_encoder(tmp_path):
    """The second demo's frozen part, 64 labels over four topics."""
    outcome = tlplat(
        *("run", "--domain", "nlp", "--task", "topic", "--strategy", "linear_probe", "--set", "train.steps=1"),
        *("--jobs", "1", "--threads", "1", "--out", "run", "--json"),
        cwd=tmp_path,
    )
    assert outcome.code == 0, outcome.err
    report = outcome.document
    scores = {c["strategy"]: c["mean"] for c in report["candidates"]}
    assert report["task"]["labels"] == ["film", "product", "public affairs", "everyday life"]
    assert report["verdict"]["outcome"] == "helps"
    assert scores["linear_probe"] > scores["tfidf_logistic"] + 0.08
    assert scores["linear_probe"] > 0.74
    assert set(report["data_card"]["rows"].values()) == {1200}
    assert report["data_card"]["split"]["near_copies_across_the_split"] == 0

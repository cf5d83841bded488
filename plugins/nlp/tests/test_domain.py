"""The domain on the user's own texts with a tiny encoder, its baseline, and its refusals before a source is loaded."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from tlplat_nlp.baselines import TfidfLogistic
from tlplat_nlp.domain import NlpDomain
from tlplat_nlp.labels import encode_labels

from tlplat.data.quality import check_quality
from tlplat.data.splits import folds
from tlplat.domain import DataOptions
from tlplat.errors import DataError, ModelError, UsageError


@pytest.fixture
def domain():
    return NlpDomain()


def csv_of(rows, header="text,label"):
    return header + "\n" + "".join(f'"{text}",{label}\n' for text, label in rows)


def target_of(domain, context, folder, path, data=None, **options):
    made = domain.Options(**options)
    data = dataclasses.replace(data or DataOptions(), path=path)
    domain.check(made, data, context)
    source = domain.source(str(folder), made, context)
    return source, domain.target(made, data, source, context)


def test_own_rows_are_encoded_split_and_described(domain, context, encoder_folder, reviews, write):
    source, target = target_of(domain, context, encoder_folder, write("r.csv", csv_of(reviews(100))), max_tokens=24)
    assert target.task.labels == ("neg", "pos")
    assert target.title == "r.csv: neg / pos"
    assert len(target.pool) + len(target.test) == 100
    assert 25 <= len(target.test) <= 35
    assert target.data_card["tokens"]["limit"] == 24
    assert target.data_card["split"]["near_copies_across_the_split"] == 0
    assert check_quality(target.pool, target.test, target.task)["duplicates_across_split"] == 0
    assert set(target.test.units.tolist()).isdisjoint(target.pool.units.tolist())
    assert source.provenance["weights_sha256"]
    assert context.warnings == []


def test_predict_encodes_as_the_run_did(domain, context, encoder_folder, reviews, write):
    _, target = target_of(domain, context, encoder_folder, write("r.csv", csv_of(reviews(40))), max_tokens=24)
    rows = [{"id": f"x{i}", "text": target.test.inputs.texts[i]} for i in range(3)]
    path = write("new.jsonl", "\n".join(map(json.dumps, rows)))
    ids, inputs = domain.encode(path, json.loads(json.dumps(dict(target.preprocess))), context)
    assert ids == ["x0", "x1", "x2"]
    assert torch.equal(inputs.take(torch.arange(3)), target.test.inputs.take(torch.arange(3)))


def test_long_texts_are_cut_counted_and_told(domain, context, encoder_folder, reviews, write):
    rows = reviews(40)
    rows[3] = (rows[3][0] + " story" * 1_700_000, rows[3][1])
    _, target = target_of(domain, context, encoder_folder, write("r.csv", csv_of(rows)), max_tokens=32)
    assert target.data_card["tokens"]["truncated_rows"] == 1
    assert any("1 of 40 texts are truncated" in w and "tokens" in w for w in context.warnings)


def test_a_source_shorter_than_asked_says_so(domain, context, encoder_folder):
    source = domain.source(str(encoder_folder), domain.Options(max_tokens=100), context)
    assert source.preprocess["width"] == 64
    assert "64 tokens" in context.warnings[0]


def test_empty_texts_are_refused_or_dropped_and_counted(domain, context, encoder_folder, reviews, write):
    path = write("r.csv", csv_of([*reviews(40), ("  ", "pos"), ("", "neg")]))
    with pytest.raises(DataError) as caught:
        domain.check(domain.Options(), DataOptions(path=path), context)
    assert caught.value.code == "TL-DATA-EMPTY-TEXT"
    assert [f.where for f in caught.value.findings] == ["row 41", "row 42"]
    _, target = target_of(domain, context, encoder_folder, path, empty_text="drop")
    assert len(target.pool) + len(target.test) == 40
    assert "2 of 42 rows" in context.warnings[0]
    with pytest.raises(DataError, match="empty"):
        domain.encode(path, target.preprocess, context)


def test_test_rows_of_their_own(domain, context, encoder_folder, reviews, write):
    rows = reviews(60)
    train, test = write("a.csv", csv_of(rows[:40])), write("b.csv", csv_of(rows[40:]))
    _, target = target_of(domain, context, encoder_folder, train, DataOptions(test_data=test))
    assert (len(target.pool), len(target.test)) == (40, 20)
    leak = write("c.csv", csv_of(rows[38:]))
    with pytest.raises(DataError) as caught:
        target_of(domain, context, encoder_folder, train, DataOptions(test_data=leak))
    assert caught.value.code == "TL-LEAK-DUP"


def test_a_split_of_the_users_by_column_and_by_files(domain, context, encoder_folder, reviews, write):
    rows = reviews(60)
    named = [(text, f"{label},{('Train', 'val', 'test')[i // 20]}") for i, (text, label) in enumerate(rows)]
    path = write("a.csv", csv_of(named, "text,label,fold"))
    _, target = target_of(domain, context, encoder_folder, path, DataOptions(split="fold"))
    parts = [write(f"{i}.csv", csv_of(rows[20 * i : 20 * i + 20])) for i in range(3)]
    given = DataOptions(val_data=parts[1], test_data=parts[2])
    _, other = target_of(domain, context, encoder_folder, parts[0], given)
    for found in (target, other):
        assert found.pool.validation.tolist() == [False] * 20 + [True] * 20
        assert (len(found.pool), len(found.test)) == (40, 20)
        (fold,) = folds(found.pool, 0, found.task)
        assert fold.validation.tolist() == list(range(20, 40))
    assert target.data_card["split"]["by"] == "the column fold"
    named[3] = (rows[3][0], f"{rows[3][1]},holdout")
    path = write("a.csv", csv_of(named, "text,label,fold"))
    with pytest.raises(DataError) as caught:
        target_of(domain, context, encoder_folder, path, DataOptions(split="fold"))
    assert caught.value.code == "TL-DATA-SPLIT"
    assert "row 4" in caught.value.render()


@pytest.mark.parametrize(
    ("lines", "code", "named"),
    [
        (["a,pos", "b,"], "TL-DATA-LABEL-MISSING", "row 2"),
        (["a,pos", "b,pos"], "TL-DATA-ONE-CLASS", "two classes"),
        (["a,1", "b,0.5"], "TL-DATA-LABEL-TYPE", "row 2"),
        (["a,1", "b,nan"], "TL-DATA-LABEL-TYPE", "row 2"),
    ],
)
def test_bad_labels_are_refused_by_row(domain, context, write, lines, code, named):
    path = write("r.csv", "text,label\n" + "\n".join(lines) + "\n")
    with pytest.raises(DataError) as caught:
        domain.check(domain.Options(), DataOptions(path=path), context)
    assert caught.value.code == code
    assert named in " ".join([str(caught.value), *(str(f.where) for f in caught.value.findings)])


def test_other_bad_rows(domain, context, write):
    def code(name, content, **options):
        with pytest.raises(DataError) as caught:
            domain.check(domain.Options(**options), DataOptions(path=write(name, content)), context)
        return caught.value.code

    assert code("r.csv", "id,text,label\n1,a,x\n1,b,y\n") == "TL-DATA-COLUMN"
    assert code("r.jsonl", '{"text": 3, "label": "x"}\n') == "TL-DATA-JSONL"
    assert code("r.jsonl", '{"text": "a", "label": {"x": 1}}\n') == "TL-DATA-LABEL-TYPE"
    assert code("r.csv", "text,label\na,x\n", text="body") == "TL-DATA-COLUMN"


def test_whole_numbers_are_ordered_as_numbers_and_known_names_as_the_source_has_them():
    task, y = encode_labels(["10", "2", "10"], ["a", "b", "c"])
    assert (task.labels, y.tolist()) == (("2", "10"), [1, 0, 1])
    task, y = encode_labels(["good", "bad"], ["a", "b"], known=("good", "bad"))
    assert (task.labels, y.tolist()) == (("good", "bad"), [0, 1])


def test_unknown_sources_are_refused_with_a_hint(domain, context):
    with pytest.raises(ModelError, match="minilm-tweets") as caught:
        domain.source("minilm-tweet", domain.Options(), context)
    assert caught.value.code == "TL-MODEL-UNKNOWN"


def test_the_baseline_learns_words_and_chooses_its_penalty(domain, context, encoder_folder, reviews, write):
    _, target = target_of(domain, context, encoder_folder, write("r.csv", csv_of(reviews(120))))
    baseline = TfidfLogistic()
    (p,) = baseline.fit_predict(target.pool, [target.test.inputs], target.task, 0)
    assert p.shape == (len(target.test), 2)
    np.testing.assert_allclose(p.sum(1), 1)
    assert (p.argmax(1) == target.test.targets.numpy()).mean() > 0.9
    assert baseline.parameters() > 20
    assert baseline.inference_cost() > 0
    again = baseline.fit_predict(target.pool, [target.test.inputs], target.task, 0)[0]
    np.testing.assert_array_equal(p, again)


def test_the_baseline_without_a_class_or_a_word(encoder_folder, domain, context, write):
    rows = [("!!! ???", "a"), ("?? !!", "b"), ("好", "a"), ("坏", "b"), ("👍", "a"), ("👎 !", "b")] * 1
    _, target = target_of(domain, context, encoder_folder, write("r.csv", csv_of(rows)))
    from tlplat.tasks.classification import Classification

    wider = Classification(labels=("a", "b", "c"))
    (p,) = TfidfLogistic().fit_predict(target.pool, [target.test.inputs], wider, 0)
    assert p.shape == (len(target.test), 3)
    assert (p[:, 2] == 0).all()


def test_the_topic_demo_is_not_for_own_data(domain, context, reviews, write):
    with pytest.raises(UsageError, match="--task chooses a demo"):
        domain.check(domain.Options(task="topic"), DataOptions(path=write("r.csv", csv_of(reviews(20)))), context)

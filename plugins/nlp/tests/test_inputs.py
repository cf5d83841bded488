"""Packed tokens: rows, selections, digests and batches by length."""

from __future__ import annotations

import torch
from tlplat_nlp.inputs import BATCH_TOKENS, TextInputs
from tlplat_nlp.preprocess import TextPreprocess

from tlplat.data.quality import row_digests
from tlplat.features import apply_in_batches


def made(lengths, width=600, pad=0):
    tokens = torch.cat([torch.arange(1, n + 1) + 10 * i for i, n in enumerate(lengths)]).int()
    return TextInputs([f"text {i}" for i in range(len(lengths))], tokens, torch.tensor(lengths), width, pad)


def test_rows_and_selections_keep_their_tokens():
    inputs = made([3, 1, 5, 2], width=6, pad=9)
    rows = inputs.take(torch.tensor([2, 0, 2]))
    assert rows.tolist() == [[21, 22, 23, 24, 25, 9], [1, 2, 3, 9, 9, 9], [21, 22, 23, 24, 25, 9]]
    chosen = inputs.select(torch.tensor([3, 1]))
    assert chosen.texts == ["text 3", "text 1"]
    assert torch.equal(chosen.take(torch.arange(2)), inputs.take(torch.tensor([3, 1])))
    assert chosen.digest() == inputs.select(torch.tensor([3, 1])).digest() != inputs.digest()


def test_equal_texts_are_equal_rows_whatever_their_neighbours():
    inputs = made([3, 1, 5, 2])
    assert row_digests(inputs)[1] == row_digests(inputs.select(torch.tensor([2, 1])))[1]


def test_batches_hold_every_row_once_with_little_filling():
    lengths = torch.randint(3, 500, (700,), generator=torch.Generator().manual_seed(0)).tolist()
    inputs = made(lengths)
    batches = inputs.batches(64)
    assert sorted(torch.cat(batches).tolist()) == list(range(700))
    assert max(map(len, batches)) <= 64
    filled = [len(b) * int(inputs.lengths[b].max()) for b in batches]
    assert max(filled) <= BATCH_TOKENS
    assert sum(filled) < 1.1 * sum(lengths)


def test_features_come_back_in_the_files_order(encoder_folder, reviews):
    from tlplat_nlp.bert import BertEncoder
    from tlplat_nlp.folder import read_folder

    found = read_folder(encoder_folder)
    backbone = BertEncoder(**found.base.args)
    backbone.load_state_dict(dict(found.state))
    texts = [text * (1 + i % 3) for i, (text, _) in enumerate(reviews(30))]
    inputs, cut = TextPreprocess(found.tokenizer, found.pad, 40).encode(texts)
    assert cut == 10
    z = apply_in_batches(backbone, backbone, inputs, 8)
    with torch.no_grad():
        one_by_one = torch.cat([backbone.eval()(inputs.take(torch.tensor([i]))) for i in range(30)])
    torch.testing.assert_close(z, one_by_one, atol=1e-5, rtol=1e-5)


def test_a_text_far_beyond_the_limit_is_cut_and_counted(encoder_folder):
    from tlplat_nlp.folder import read_folder

    found = read_folder(encoder_folder)
    inputs, cut = TextPreprocess(found.tokenizer, found.pad, 16).encode(["film " * 2_000_000, "dull film"])
    assert cut == 1
    assert inputs.lengths.tolist() == [16, 4]

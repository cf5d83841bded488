import pickle

from tlplat.errors import DataError, Finding, did_you_mean


def error(n=3):
    findings = [Finding("bad letter", f"record {i}", "!", "IUPAC") for i in range(n)]
    return DataError("TL-DATA-FASTA", "bad letters", where="a.fa", fix="remove them", findings=findings)


def test_text_has_code_place_findings_and_fix():
    lines = error().render().splitlines()
    assert lines[0] == "tlplat: error [TL-DATA-FASTA]: bad letters"
    assert "  where: a.fa" in lines
    assert "  - record 0: bad letter (found: !, expected: IUPAC)" in lines
    assert lines[-1] == "fix: remove them"


def test_at_most_twenty_findings_are_shown_and_the_rest_counted():
    text = error(50).render()
    assert text.count("bad letter (") == 20
    assert "... and 30 more" in text
    assert len(error(50).to_json()["error"]["findings"]) == 50


def test_errors_cross_process_boundaries():
    again = pickle.loads(pickle.dumps(error()))
    assert type(again) is DataError
    assert again.to_json() == error().to_json()


def test_did_you_mean():
    assert did_you_mean("genmics", ["genomics", "vision"]) == "; did you mean 'genomics'?"
    assert did_you_mean("zzz", ["genomics"]) == ""

"""``tlplat check-data`` on the toy domain."""


def test_findings_in_words_and_as_json(toy, tlplat):
    outcome = tlplat("check-data", "--domain", "toy", "--set", "options.shift=2.0", "--labels", "100")
    assert outcome.code == 0
    assert "note: source and target rows differ (covariate shift)" in outcome.out
    assert "  fix: " in outcome.out
    document = tlplat("check-data", "--domain", "toy", "--labels", "100", "--json").document
    assert document["domain"] == "toy"
    assert document["rows"]["labelled"]["rows"] == 100
    assert all({"kind", "severity", "message", "fix", "rows"} <= finding.keys() for finding in document["findings"])


def test_data_that_a_run_refuses_end_with_3_and_say_so_once(toy, tlplat, monkeypatch):
    import torch

    original = toy.Toy.target

    def target(self, options, data, source, context):
        made = original(self, options, data, source, context)
        made.test.inputs.tensor[0] = made.pool.inputs.take(torch.tensor([0]))[0]
        return made

    monkeypatch.setattr(toy.Toy, "target", target)
    outcome = tlplat("check-data", "--domain", "toy", "--labels", "300", "--json")
    assert (outcome.code, outcome.error) == (3, "TL-LEAK-DUP")
    assert outcome.document["error"]["code"] == "TL-LEAK-DUP"
    assert "TL-LEAK-DUP" in [finding["kind"] for finding in outcome.document["findings"]]
    said = tlplat("check-data", "--domain", "toy", "--labels", "300", "--set", "options.shift=2.0")
    assert (said.out + said.err).count("on both sides of the split") == 1
    assert "note: source and target rows differ" in said.out

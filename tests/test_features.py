import torch

from tlplat.cache import TensorCache
from tlplat.data.examples import TensorInputs
from tlplat.features import FeatureStore, apply_in_batches
from tlplat.testing.workbench import toybench


def store(registry, root, said):
    return FeatureStore(TensorCache(root, said.append), registry)


def entries(root):
    return sorted((root / "features").rglob("*.safetensors"))


def test_features_are_the_frozen_backbones_and_are_kept(registry, tmp_path):
    bench, said = toybench(registry), []
    inputs = bench.target.test.inputs
    z = store(registry, tmp_path, said).features(bench.source, inputs)
    backbone = bench.source.build(registry).eval()
    with torch.no_grad():
        torch.testing.assert_close(z, backbone(inputs.tensor))
    assert len(entries(tmp_path)) == 1
    assert torch.equal(store(registry, tmp_path, said).features(bench.source, inputs), z)
    assert len(entries(tmp_path)) == 1
    assert said == []


def test_changed_rows_weights_or_code_are_misses(registry, tmp_path, toy, monkeypatch):
    bench, other = toybench(registry), toybench(registry, "flipped")
    inputs = bench.target.test.inputs
    store(registry, tmp_path, []).features(bench.source, inputs)
    changed = inputs.tensor.clone()
    changed[7, 3] += 1e-3
    store(registry, tmp_path, []).features(bench.source, TensorInputs(changed))
    assert len(entries(tmp_path)) == 2
    store(registry, tmp_path, []).features(other.source, inputs)
    assert len(entries(tmp_path)) == 3
    monkeypatch.setattr(toy.ToyNet, "code_version", 2)
    store(registry, tmp_path, []).features(bench.source, inputs)
    assert len(entries(tmp_path)) == 4


def test_a_flipped_bit_is_recomputed_and_said(registry, tmp_path):
    bench, said = toybench(registry), []
    inputs = bench.target.test.inputs
    z = store(registry, tmp_path, said).features(bench.source, inputs)
    path = entries(tmp_path)[0]
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(bytes(data))
    assert torch.equal(store(registry, tmp_path, said).features(bench.source, inputs), z)
    assert "recomputed" in said[0]
    assert path.read_bytes() != bytes(data)


def test_depth_features_end_with_the_features(registry, tmp_path):
    bench, inputs = toybench(registry), toybench(registry).target.test.inputs
    made = store(registry, tmp_path, [])
    depths = made.depths(bench.source, inputs)
    assert [z.shape for z in depths] == [(400, 16)] * 3
    torch.testing.assert_close(depths[-1], made.features(bench.source, inputs))


def test_extraction_does_not_disturb_training_modes(registry):
    bench = toybench(registry)
    model = bench.source.build(registry).train()
    model.blocks["dense1"].eval()
    before = {n: m.training for n, m in model.named_modules()}
    apply_in_batches(model, model, bench.target.test.inputs)
    assert {n: m.training for n, m in model.named_modules()} == before

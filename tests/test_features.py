import torch
from torch.nn.utils.fusion import fuse_linear_bn_weights

from tlplat.cache import TensorCache
from tlplat.data.examples import TensorInputs
from tlplat.features import FeatureStore, apply_in_batches, frozen_features
from tlplat.model import Tail
from tlplat.ops import FrozenBlock
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


def fused_toy(toy):
    class Fused(toy.ToyNet):
        """The toy network, which ends in a dense layer, a batch norm that folds into it, and ReLU."""

        def tail(self):
            linear, norm = list(self.blocks.values())[-1][:2]
            moments = (norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias)
            weight, bias = fuse_linear_bn_weights(linear.weight, linear.bias, *moments)
            return Tail(
                lambda batch: (self.before_last(batch), None), FrozenBlock(weight.detach(), bias.detach(), "relu")
            )

    return Fused


def test_a_fused_tail_gives_the_modules_features(registry, toy, monkeypatch):
    bench = toybench(registry)
    plain = bench.source.build(registry).eval()
    fused = fused_toy(toy)()
    fused.load_state_dict(plain.state_dict())
    fused.train()
    monkeypatch.setattr(fused, "forward", None)
    inputs = bench.target.test.inputs
    z = frozen_features(fused, inputs)
    assert fused.training
    torch.testing.assert_close(z, apply_in_batches(plain, plain, inputs), rtol=0, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(plain.before_last(inputs.tensor[:5]), plain.depth_features(inputs.tensor[:5])[-2])


def test_an_extractor_takes_the_place_of_the_modules(registry, toy, monkeypatch):
    bench = toybench(registry)
    plain = bench.source.build(registry).eval()
    whole = toy.ToyNet()
    whole.load_state_dict(plain.state_dict())
    asked: list[str] = []

    def extractor(precision):
        asked.append(precision)
        return plain

    monkeypatch.setattr(whole, "extractor", extractor)
    monkeypatch.setattr(whole, "forward", None)
    inputs = bench.target.test.inputs
    z = frozen_features(whole, inputs, "bf16")
    assert asked == ["bf16"]
    assert torch.equal(z, apply_in_batches(plain, plain, inputs))


def test_bfloat16_products_are_an_entry_of_their_own_and_near(registry, toy, tmp_path):
    bench, inputs = toybench(registry), toybench(registry).target.test.inputs
    full = store(registry, tmp_path, []).features(bench.source, inputs)
    rounded = FeatureStore(TensorCache(tmp_path, print), registry, precision="bf16").features(bench.source, inputs)
    assert len(entries(tmp_path)) == 2
    assert not torch.equal(full, rounded)
    torch.testing.assert_close(full, rounded, rtol=0, atol=0.03 * float(full.abs().max()))
    fused = fused_toy(toy)()
    fused.load_state_dict(bench.source.build(registry).state_dict())
    torch.testing.assert_close(
        frozen_features(fused, inputs, "bf16"), full, rtol=0, atol=0.03 * float(full.abs().max())
    )


def test_bfloat16_features_are_an_entry_of_their_own_at_half_the_size(registry, tmp_path):
    bench, inputs = toybench(registry), toybench(registry).target.test.inputs
    full = store(registry, tmp_path, [])
    half = FeatureStore(TensorCache(tmp_path, print), registry, dtype=torch.bfloat16)
    z, rounded = full.features(bench.source, inputs), half.features(bench.source, inputs)
    assert rounded.dtype == torch.float32
    assert torch.equal(rounded, z.bfloat16().float())
    assert not torch.equal(rounded, z)
    small, large = sorted(path.stat().st_size for path in entries(tmp_path))
    assert large - small == 2 * z.numel()
    assert torch.equal(
        FeatureStore(TensorCache(tmp_path, print), registry, dtype=torch.bfloat16).features(bench.source, inputs),
        rounded,
    )
    assert len(entries(tmp_path)) == 2


def test_rows_come_back_in_their_order_whatever_the_batches(registry):
    class Shuffled(TensorInputs):
        def batches(self, size):
            return list(torch.arange(len(self)).flip(0).split(7))

    bench = toybench(registry)
    model = bench.source.build(registry).eval()
    rows = bench.target.test.inputs.tensor
    found = apply_in_batches(model, model, Shuffled(rows))
    torch.testing.assert_close(found, apply_in_batches(model, model, TensorInputs(rows)))

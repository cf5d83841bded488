"""Features of all blocks: the group lasso solves its problem, relevant ones are found, the extractor stays."""

import torch

from tlplat.strategies.head2toe import relevance
from tlplat.strategies.relevance import group_lasso
from tlplat.tasks.classification import Classification
from tlplat.testing.workbench import toybench

TASK = Classification(["a", "b"])


def planted(rows=200, width=30):
    x = torch.randn(rows, width, generator=torch.Generator().manual_seed(0)).double()
    return x, (x[:, 3] - 2 * x[:, 17] > 0).long()


def test_the_group_lasso_meets_its_optimality_conditions():
    """0 is in the subdifferential: |gradient_i| <= penalty where W_i is 0, else it is -penalty W_i / |W_i|."""
    x, y = planted()
    share = 0.1
    weight = group_lasso(x, y, 2, TASK.loss, share, steps=2000)
    bias = torch.zeros(2).double().requires_grad_()
    optimiser = torch.optim.LBFGS([bias], max_iter=500, tolerance_grad=1e-12, tolerance_change=1e-14)

    def closure():
        optimiser.zero_grad()
        loss = TASK.loss(x @ weight.T + bias, y)
        loss.backward()
        return loss

    optimiser.step(closure)
    leaf = weight.clone().requires_grad_()
    TASK.loss(x @ leaf.T + bias.detach(), y).backward()
    frequencies = torch.bincount(y).double() / len(y)
    at_zero = (x.T @ (frequencies - torch.nn.functional.one_hot(y, 2))) / len(x)
    penalty = share * float(at_zero.norm(dim=1).max())
    length = weight.norm(dim=0)
    out, inside = length == 0, length > 0
    assert out.sum() > 15
    assert {3, 17} <= set(inside.nonzero().flatten().tolist())
    assert (leaf.grad[:, out].norm(dim=0) <= penalty * 1.001).all()
    torch.testing.assert_close(
        leaf.grad[:, inside], -penalty * weight[:, inside] / length[inside], atol=1e-5, rtol=1e-3
    )


def test_a_steep_loss_converges_too():
    x, _ = planted()
    target = (x[:, 3] - 2 * x[:, 17])[:, None]

    def loss(outputs, targets):
        return 50 * (outputs - targets).square().mean()

    weight = group_lasso(x, target, 1, loss, 1e-3, steps=500)
    torch.testing.assert_close(weight[0, [3, 17]], torch.tensor([1.0, -2.0]).double(), atol=0.02, rtol=0)


def test_relevance_finds_planted_features_whatever_their_scale():
    x, y = planted()
    scales = torch.logspace(-3, 3, 30).double()
    assert set(relevance(x * scales, y, TASK, 0.02).topk(2).indices.tolist()) == {3, 17}


def test_a_linear_head_on_what_is_kept_and_the_extractor_untouched(registry):
    bench = toybench(registry, labels=120)
    outcome = bench.run("head2toe")
    kept = outcome.measured["kept"]
    assert len(kept) == max(1, round(outcome.measured["share"] * 48))
    assert kept == sorted(set(kept))
    assert outcome.model.head.weight.shape == (2, len(kept))
    for name, value in outcome.model.backbone.inner.state_dict().items():
        assert torch.equal(value, bench.source.state[name]), name
    x = bench.target.test.inputs.tensor
    with torch.no_grad():
        depths = torch.cat(bench.bench.store.backbone(bench.source).depth_features(x), dim=1)
        assert torch.equal(outcome.model.backbone(x), depths[:, kept])
    assert outcome.result.trained_parameters == 2 * (len(kept) + 1)


def test_it_says_why_one_block_is_not_enough(registry):
    from tlplat.model import BackboneInfo

    info = BackboneInfo("flat", ("only",), (4,), {}, 8)
    reason = registry.get("strategies", "head2toe")().unfit(toybench(registry).bench.task_info, info)
    assert "one block" in reason

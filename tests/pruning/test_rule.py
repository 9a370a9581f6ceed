import pytest
import torch

from cait_mm.pruning.rule import lasso_gradient_, proximal_step, ramp_end, wanted_reduction


def test_gradient_rule_column_by_column():
    columns, grad = torch.randn(2, 4, 4), torch.randn(2, 4, 4)
    mask = torch.tensor([[True, False, True, True], [False, True, True, False]])
    got = lasso_gradient_(grad.clone(), columns, mask, 0.1)
    for group in range(2):
        for channel in range(4):
            c = columns[group, channel]
            wanted = 0.1 * c / c.norm() + (grad[group, channel] if mask[group, channel] else 0)
            torch.testing.assert_close(got[group, channel], wanted)


def test_a_vanished_column_is_guarded():
    columns, grad = torch.zeros(1, 3, 3), torch.ones(1, 3, 3)
    got = lasso_gradient_(grad, columns, torch.tensor([[True, False, True]]), 0.1)
    assert got.isfinite().all() and (got[0, 1] == 0).all() and (got[0, 0] == 1).all()


def test_lasso_is_the_gradient_of_the_norm():
    columns = torch.randn(2, 4, 4, requires_grad=True)
    columns.norm(dim=2).sum().backward()
    mask = torch.ones(2, 4, dtype=torch.bool)
    torch.testing.assert_close(lasso_gradient_(torch.zeros(2, 4, 4), columns.detach(), mask, 1.), columns.grad)


def test_proximal_steps_reach_exactly_zero_in_norm_over_shrink_steps():
    columns = torch.eye(3)[None].clone()
    mask = torch.tensor([[True, False, True]])
    for _ in range(9):
        proximal_step(columns, mask, 0.1)
    assert columns[0, 1, 1] == pytest.approx(0.1, abs=1e-5)
    proximal_step(columns, mask, 0.1001)
    assert (columns[0, 1] == 0).all() and columns[0].diag().tolist() == [1, 0, 1]
    proximal_step(columns, mask, 0.1)
    assert columns.isfinite().all()


def test_ramp_is_the_papers():
    assert wanted_reduction(99, 100, 0.5) == 0
    assert wanted_reduction(100, 100, 0.5) == wanted_reduction(124, 100, 0.5) == 0.00025
    assert wanted_reduction(125, 100, 0.5) == 0.0005
    assert wanted_reduction(10**6, 100, 0.5) == 0.5
    assert wanted_reduction(125, 100, 0.5, begin=0.3) == 0.3005 and wanted_reduction(99, 100, 0.5, begin=0.3) == 0


@pytest.mark.parametrize('target,step,interval', [(0.5, 0.00025, 25), (0.505, 0.01, 3), (0.544, 0.05, 50),
                                                  (0.3, 1., 1)])
def test_ramp_end_is_the_first_iteration_at_the_target(target, step, interval):
    end = ramp_end(100, target, step, interval)
    assert wanted_reduction(end, 100, target, step, interval) == target
    assert end == 100 or wanted_reduction(end - 1, 100, target, step, interval) < target

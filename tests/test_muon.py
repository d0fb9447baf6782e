"""Muon: what a step does, by singular values and by another implementation."""

import pytest
import torch

from unnoise.muon import Muon, orthogonalised


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(3, 32, 288), (2, 12, 9), (1, 5, 5)])
def test_singular_values_become_alike(shape):
    """Fails if the iteration is not five rounds of a s + b s^3 + c s^5 on the singular values, the vectors kept."""
    matrices = random(*shape).double()
    left, values, right = torch.linalg.svd(matrices / matrices.norm(dim=(1, 2), keepdim=True), full_matrices=False)
    for _ in range(5):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    torch.testing.assert_close(
        orthogonalised(matrices.float()).double(), left @ torch.diag_embed(values) @ right, atol=1e-4, rtol=1e-3
    )


def test_zeros_stay_zeros():
    """Fails if a layer without a gradient divides by its norm."""
    assert torch.equal(orthogonalised(torch.zeros(1, 3, 4)), torch.zeros(1, 3, 4))


@pytest.mark.parametrize("shape", [(24, 60), (60, 24), (16, 16)])
def test_steps_are_those_of_torchs_muon(shape):
    """Fails if momentum, Nesterov's look ahead, the decay or the size of a step is another than in torch.optim.Muon.

    Which computes in bfloat16, and for matrices only.
    """
    ours, theirs = (torch.nn.Parameter(random(*shape)) for _ in range(2))
    mine = Muon([ours], 0.01, momentum=0.9, decay=0.1)
    reference = torch.optim.Muon([theirs], 0.01, weight_decay=0.1, momentum=0.9, adjust_lr_fn="match_rms_adamw")
    for step in range(6):
        before = theirs.detach().clone()
        ours.grad = random(*shape, seed=step)
        theirs.grad = ours.grad.clone()
        mine.step()
        reference.step()
        change = (theirs - before).norm()
        assert (ours - theirs).norm() < 0.03 * (step + 1) * change


def test_a_convolution_is_one_matrix_and_a_bias_one_row():
    """Fails if a kernel's places are taken apart, several of one shape are mixed up, or the memory order matters."""
    kernels = [random(8, 3, 3, 3, seed=seed) for seed in (1, 2)]
    ours = [torch.nn.Parameter(k.clone().contiguous(memory_format=torch.channels_last)) for k in kernels]
    bias = torch.nn.Parameter(random(8))
    old, unused = bias.detach().clone(), torch.nn.Parameter(random(8))
    theirs = [torch.nn.Parameter(k.flatten(1)) for k in kernels]
    for seed, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        one.grad = random(8, 3, 3, 3, seed=10 + seed)
        other.grad = one.grad.flatten(1)
    bias.grad = random(8, seed=20)
    Muon([*ours, bias, unused], 0.01, decay=0).step()
    Muon(theirs, 0.01, decay=0).step()
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.flatten(1), other)
    step = (old - bias).detach()
    torch.testing.assert_close(step / step.norm(), bias.grad / bias.grad.norm())
    assert step.square().mean().sqrt() == pytest.approx(0.01 * 0.2, rel=1e-4)
    assert torch.equal(unused, random(8))  # it has no gradient

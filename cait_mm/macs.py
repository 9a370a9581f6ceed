"""MACs and parameters of a spec in closed form, counted as fvcore counts (see ``cait_mm/arch/cost.py``).

``cait_mm/analysis/flops.py`` counts real modules; the two must agree. Fused attention counts as two matrix products.
The architecture of a family counts everything outside the blocks.
"""
from cait_mm.arch.cost import Cost, linear
from cait_mm.ops.token_merge import fused_tokens, has_conv, is_weighted
from cait_mm.spec import Merge, Spec


def merge_cost(dim: int, merge: Merge, tokens: int, has_cls: bool = True) -> Cost:
    """The linear layer (and depthwise convolution) of a merge that leaves ``tokens`` tokens.

    The distances and weights of a weighted merge are no matrix products and count nothing, as in fvcore.
    """
    cost = linear(tokens, fused_tokens(merge.kind) * dim, dim)
    if is_weighted(merge.kind):
        cost += Cost(0, 1 + has_cls)
    return cost + linear(tokens, 9, dim) if has_conv(merge.kind) else cost


def backbone_cost(spec: Spec, img_size: tuple[int, int] | None = None, with_cls_token: bool = True,
                  depth: int | None = None) -> Cost:
    """Stem, merges and blocks of ``spec`` on an image of ``img_size`` (H, W) pixels.

    The positional embedding is counted at its pretraining grid. ``depth`` is how many blocks are built; None is all.
    """
    arch, grid = spec.arch, spec.arch.grid(img_size)
    prefix = arch.prefix_tokens(with_cls_token)
    cost = arch.stem_cost(grid, prefix)
    for index, (block, inside) in enumerate(zip(spec.blocks[:depth], spec.grids(img_size))):
        merge, tokens = spec.merge_before(index), inside[0] * inside[1]
        cost += arch.enter_cost(index, grid) + Cost(0, arch.bias_params(index))
        if merge:
            cost += merge_cost(arch.dim(index), merge, tokens, prefix > 0)
        cost += arch.block_cost(index, block, tokens + prefix, arch.windows(inside, prefix))
        grid = inside
    return cost


def classifier_cost(spec: Spec, img_size: tuple[int, int] | None = None, num_classes: int = 1000) -> Cost:
    """The whole classifier: backbone, final norm over all tokens, and the head."""
    return backbone_cost(spec, img_size) + spec.arch.head_cost(spec.grids(img_size)[-1], num_classes)


def reduction(spec: Spec, img_size: tuple[int, int] | None = None) -> float:
    """The share of the dense classifier's MACs that ``spec`` saves, between 0 and 1."""
    dense = classifier_cost(Spec.dense(spec.arch), img_size).macs
    return 1 - classifier_cost(spec, img_size).macs / dense

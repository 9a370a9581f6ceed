"""MACs and parameters of a spec in closed form, counted as fvcore counts (see ``cait_mm/arch/cost.py``).

``cait_mm/analysis/flops.py`` counts real modules; the two must agree. Fused attention counts as two matrix products.
The architecture of a family counts everything outside the blocks.
"""
from cait_mm.arch.cost import Cost
from cait_mm.spec import Spec


def backbone_cost(spec: Spec, img_size: tuple[int, int] | None = None, with_cls_token: bool = True,
                  depth: int | None = None) -> Cost:
    """Stem, token reducer and blocks of ``spec`` on an image of ``img_size`` (H, W) pixels.

    The positional embedding is counted at its pretraining grid. ``depth`` is how many blocks are built; None is all.
    """
    arch, grid = spec.arch, spec.arch.grid(img_size)
    prefix = arch.prefix_tokens(with_cls_token)
    cost = arch.stem_cost(grid, prefix)
    steps = spec.reducer.counts(arch, spec.blocks, grid, prefix)
    for index, (block, step, inside) in enumerate(zip(spec.blocks[:depth], steps, spec.grids(img_size))):
        cost += arch.enter_cost(index, grid) + step.cost + (step.instead or Cost(0, arch.bias_params(index)) + (
            arch.block_cost(index, block, step.attention, step.windows or (1, step.attention), step.ffn)))
        grid = inside
    return cost


def classifier_cost(spec: Spec, img_size: tuple[int, int] | None = None, num_classes: int = 1000) -> Cost:
    """The whole classifier: backbone, final norm over all tokens, and the head."""
    prefix = spec.arch.prefix_tokens()
    *_, step = spec.reducer.counts(spec.arch, spec.blocks, spec.arch.grid(img_size), prefix)
    left = (step.left or step.ffn) - prefix
    return backbone_cost(spec, img_size) + spec.arch.head_cost((left, 1), num_classes)


def reduction(spec: Spec, img_size: tuple[int, int] | None = None) -> float:
    """The share of the dense classifier's MACs that ``spec`` saves, between 0 and 1."""
    dense = classifier_cost(Spec.dense(spec.arch), img_size).macs
    return 1 - classifier_cost(spec, img_size).macs / dense

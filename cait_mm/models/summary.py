"""Two classifiers side by side: merges, widths, MACs and parameters."""
from dataclasses import dataclass
from typing import Any

from cait_mm.arch.cost import Cost
from cait_mm.errors import UserError
from cait_mm.macs import classifier_cost, reduction
from cait_mm.models.classifier import Classifier
from cait_mm.spec import Spec
from cait_mm.utils.tables import table


@dataclass(frozen=True)
class Summary:
    """A classifier against another of its architecture; ``str()`` is a table for people.

    Args:
        before, after: The specs.
        cost_before, cost_after: MACs and parameters of the classifiers.
        selected_reduction: The share of the dense model's MACs that ``after`` would save if its widths were not padded
            with zeros; None where that is not known.
    """

    before: Spec
    after: Spec
    cost_before: Cost
    cost_after: Cost
    selected_reduction: float | None = None

    @property
    def reduction(self) -> float:
        """The share of MACs that is saved, between 0 and 1."""
        return 1 - self.cost_after.macs / self.cost_before.macs

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {'spec': self.after.to_dict(), 'macs': self.cost_after.macs, 'macs_before': self.cost_before.macs,
                'params': self.cost_after.params, 'params_before': self.cost_before.params,
                'reduction': self.reduction, 'selected_reduction': self.selected_reduction}

    def __str__(self) -> str:
        arch, fields = self.after.arch, ('qk_dim', 'v_dim', 'ffn_dim')
        rows = [[arch.block_name(index), _change(*(_kind(spec, index) for spec in (self.before, self.after))),
                 *(_change(getattr(old, name), getattr(new, name)) for name in fields)]
                for index, (old, new) in enumerate(zip(self.before.blocks, self.after.blocks))]
        old, new = self.cost_before, self.cost_after
        return '\n'.join([
            table(['block', 'merge before', 'q, k per head', 'v per head', 'FFN'], rows),
            f'{arch.name}: MACs {old.macs / 1e9:.3f} => {new.macs / 1e9:.3f} G ({self.reduction:.1%} saved), '
            f'parameters {old.params / 1e6:.2f} => {new.params / 1e6:.2f} M', *self._padding()])

    def _padding(self) -> list[str]:
        """A line about the cost of zeros in widths, if there are any."""
        saved, selected = reduction(self.after), self.selected_reduction
        if selected is None or selected <= saved:
            return []
        return [f'widths are padded with zeros, which fast kernels need. That costs MACs and parameters: {saved:.1%} '
                f'of the dense MACs are saved, and {selected:.1%} without padding (`pad_to=0`), which is slower']


def summary(model: Classifier, against: Classifier | None = None) -> Summary:
    """Merges, widths, MACs and parameters of ``model`` against another classifier, by default the dense one.

    MACs are those of an image of the model's own ``img_size``, counted as fvcore does.

    Raises:
        UserError: They are of different architectures.
    """
    other = Spec.dense(model.spec.arch) if against is None else against.spec
    if other.arch != model.spec.arch:
        raise UserError(f'against is a {other.arch.name}, the model a {model.spec.arch.name}: blocks of one '
                        'architecture can be compared.')
    costs = [classifier_cost(spec, shown.backbone.img_size, shown.num_classes)
             for spec, shown in ((other, against or model), (model.spec, model))]
    return Summary(other, model.spec, *costs, model.provenance.get('selected_reduction'))


def _kind(spec: Spec, block: int) -> str:
    merge = spec.merge_before(block)
    return merge.kind if merge else ''


def _change(old: Any, new: Any) -> str:
    """``old => new``, or one of them where they are equal or one is nothing."""
    return str(new) if old in (new, '') else f'{old} => {new}'

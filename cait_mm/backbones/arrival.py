"""A backbone that gets all of its weights or none, whichever function loads them."""
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.logging import print_log
from mmengine.model import BaseModule
from torch import Tensor

from cait_mm.errors import UserError
from cait_mm.models.arguments import checked_grid
from cait_mm.models.base import Backbone
from cait_mm.models.checkpoint import GRID_META, Checkpoint, LoadReport, matching
from cait_mm.models.loading import fit
from cait_mm.models.vit_forms import timm_names
from cait_mm.models.widths import told_widths
from cait_mm.ops.token_merge import Grid


class ArrivesWhole(Backbone, BaseModule):
    """A backbone that PyTorch's and MMEngine's loaders cannot fill in parts.

    MMEngine only warns of names and shapes that do not match, and a backbone that is half random would go unnoticed.
    """

    _whole = False
    """Whether weights have arrived. ``is_init`` also means that the widths are final."""

    def load_checkpoint(self, checkpoint: Checkpoint) -> LoadReport:
        report = super().load_checkpoint(checkpoint)
        self._is_init = self._whole = True
        return report

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, local_metadata: Mapping[str, Any],
                              strict: bool, missing_keys: list[str], unexpected_keys: list[str],
                              error_msgs: list[str]) -> None:
        """Convert and check everything under ``prefix``, before any weight is set.

        Before any weights were set, an incoming checkpoint also decides the widths of the blocks: a config of a pruned
        model holds widths that stand in until its checkpoint is loaded, and inference tools load a trained checkpoint
        over them without ever seeing the compressed one.

        Raises:
            UserError: Weights are missing or do not fit. All may be missing if they were set before.
        """
        arriving = {key[len(prefix):]: value for key, value in state_dict.items() if key.startswith(prefix)}
        if arriving:
            odd = next((key for key, value in arriving.items() if not isinstance(value, Tensor)), None)
            if odd is not None:
                raise UserError(f'{prefix}{odd} in the checkpoint is a {type(arriving[odd]).__name__}, no tensor: '
                                'fetch or make it again.')
            where = f'(its {prefix}* weights)' if prefix else '(a state dict)'
            weights, told = timm_names(where, arriving)
            self._adopt_widths(weights)
            checkpoint = Checkpoint(where, weights, grid=self._grid_of(weights, prefix, local_metadata))
            unused, optional, notes, hint = fit(self, checkpoint)
            given = matching(self, checkpoint, unused, [*optional, *self._counters()], hint)
            if told or self.stem_key not in arriving:  # another project's, which builds more than this backbone needs
                left = [key for key in checkpoint.state_dict if key not in given]
                told += [f'not used by this backbone: {", ".join(left)}'] if left else []
            else:  # strict loading reports the rest
                given = checkpoint.state_dict
            if told + notes:
                print_log(f'{type(self).__name__}: {"; ".join(told + notes)}', logger='current')
            for key in [key for key in state_dict if key.startswith(prefix)]:
                del state_dict[key]
            state_dict.update({prefix + key: value for key, value in given.items()})
            self._whole = True
        else:
            self._require_elsewhere(unexpected_keys, prefix)
        local_metadata = {key: value for key, value in local_metadata.items() if key != GRID_META}  # resampled by now
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys,
                                      error_msgs)

    def _adopt_widths(self, arriving: Mapping[str, Tensor]) -> None:
        spec = self.spec if self.is_init else told_widths(self.spec, arriving)
        if spec != self.spec:
            self.rebuild(spec)

    def _counters(self) -> list[str]:
        """Counters of batch norms, which old checkpoints lack and which are not used."""
        return [key for key in self.state_dict() if key.endswith('num_batches_tracked')]

    def _grid_of(self, arriving: Mapping[str, Tensor], prefix: str, metadata: Mapping[str, Any]) -> Grid | None:
        """The grid of ``arriving`` weights. What states none has this backbone's own, if it is a part of a whole model
        or has the same names and shapes; a bare file of a classifier is more likely square.
        """
        stated = checked_grid(metadata.get(GRID_META))
        own = {key: value.shape for key, value in self.state_dict().items()}
        same = own == {key: value.shape for key, value in arriving.items()}
        return self.grid if stated is None and (prefix or same) else stated

    def _require_elsewhere(self, unknown: Sequence[str], prefix: str) -> None:
        """Raise if no weight of this backbone arrives and there is no sign that it has its weights already."""
        name, first = type(self).__name__, self.stem_key
        place = next((key.removesuffix(first) for key in unknown if f'.{key}'.endswith(f'.{first}')), None)
        if place is not None:
            what = f'under {place!r}' if place else 'without any prefix, as in a compressed or pretrained one'
            raise UserError(f'the checkpoint holds the weights of {name} {what}, this model wants them under '
                            f'{prefix!r}: name the file in the backbone\'s init_cfg=dict(type=\'Pretrained\', '
                            'checkpoint=FILE), or give a checkpoint that was trained with this config.')
        averaged = not any(parameter.requires_grad for parameter in self.parameters())
        if unknown or not (self.is_init or self._whole or averaged):
            known = f'and unknown {", ".join(unknown[:3])}' if unknown else 'and nothing has set its weights before'
            raise UserError(f'the checkpoint holds no weights of {name} under {prefix!r} {known}: give a checkpoint '
                            'that was trained with this config, or name a pretrained one in the backbone\'s init_cfg.')

"""What the backbones of all families share: a spec, strict loading, frozen stages, widths that a checkpoint decides."""
from abc import abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModule
from timm.layers import trunc_normal_
from timm.models import adapt_input_conv
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as recompute

from cait_mm.arch import ARCHS, Arch
from cait_mm.backbones.arguments import checked_flag, checked_grid, checked_init_cfg, checked_whole
from cait_mm.backbones.block import Block, DropPathRate, drop_path_rates
from cait_mm.backbones.checkpoint import (
    CLASSIFIER_KEYS,
    GRID_META,
    Checkpoint,
    LoadReport,
    matching,
    read_checkpoint,
    state_grid,
    strict_load,
)
from cait_mm.errors import UserError
from cait_mm.ops.token_merge import Grid, TokenMerge
from cait_mm.spec import Spec, Widths, make_spec


class CAITBackbone(BaseModule):
    """A ViT with merged tokens and per-block widths that gives dense feature maps.

    A family's backbone builds its modules under the names of its official checkpoints and says how tokens stream
    through them.

    Raises:
        UserError: The description is impossible, or contradicts the checkpoint's spec.
    """

    family: ClassVar[str]
    stem_key: ClassVar[str] = 'patch_embed.proj.weight'
    """The convolution that sees the image's channels."""

    def __init__(self,
                 arch: str | Mapping[str, Any],
                 merge: Sequence[tuple[int | str, str]],
                 widths: Mapping[str, Widths],
                 spec: None | str | Spec | Mapping[str, Any],
                 in_channels: int | None,
                 restore_mode: str,
                 drop_path_rate: DropPathRate,
                 with_cp: bool,
                 frozen_stages: int,
                 init_cfg: None | Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> None:
        super().__init__(init_cfg=checked_init_cfg(init_cfg, type(self).__name__))
        spec = make_spec(arch, merge, family=self.family, **widths) if spec is None else _as_spec(spec)
        if spec.arch.family != self.family:
            raise UserError(f'{type(self).__name__} cannot be a {spec.arch.name}: it builds {self.family} models.')
        if in_channels is not None:
            spec = _with_channels(spec, checked_whole('in_channels', in_channels, 1))
        self.spec = _spec_of_checkpoint(self.init_cfg, spec, in_channels is not None)
        if restore_mode not in ('nearest', 'bilinear'):
            raise UserError(f'restore_mode={restore_mode!r}: use nearest or bilinear.')
        self.drop_path_rates = drop_path_rates(drop_path_rate, self.arch.depth)
        self.restore_mode, self.with_cp = restore_mode, checked_flag('with_cp', with_cp)
        self.frozen_stages = checked_whole('frozen_stages', frozen_stages, -1)
        self._whole = False
        self._register_state_dict_hook(state_grid)

    @property
    def arch(self) -> Arch:
        return self.spec.arch

    @property
    def embed_dim(self) -> int:
        """Channels of the last block's tokens."""
        return self.arch.out_dim

    @property
    @abstractmethod
    def img_size(self) -> tuple[int, int]:
        """Pixels (H, W) of the images that a classifier of this backbone expects."""

    @property
    def grid(self) -> Grid | None:
        """The grid (H, W) that this backbone's positions are held for; None where positions have none."""
        return None

    @abstractmethod
    def flat_blocks(self) -> list[Block]:
        """All blocks that are built, through all stages."""

    @abstractmethod
    def forward_tokens(self, x: Tensor) -> tuple[Tensor, Grid]:
        """Image (B, C, H, W) -> the last block's tokens (B, N, C), CLS first where there is one, and their grid."""

    @abstractmethod
    def pool(self, tokens: Tensor) -> Tensor:
        """What a classifier looks at: tokens (B, N, C) -> (B, C)."""

    @abstractmethod
    def _build_blocks(self) -> None:
        """Build blocks and merges of the widths in ``self.spec``."""

    @abstractmethod
    def _fit(self, checkpoint: Checkpoint) -> list[str]:
        """Bring a checkpoint's names and position parameters to this backbone's, in place; sentences for the log."""

    @abstractmethod
    def _unused(self) -> list[str]:
        """Prefixes of checkpoint keys that this backbone has no use for."""

    @abstractmethod
    def _frozen(self) -> tuple[list[nn.Module], list[nn.Parameter]]:
        """Modules and bare parameters that ``frozen_stages`` freezes."""

    def _random_weights(self) -> None:
        """The families' own initialisation; merges keep their mean."""
        for block in self.flat_blocks():
            for module in block.modules():
                if isinstance(module, nn.Linear):
                    trunc_normal_(module.weight, std=.02)
                    if module.bias is not None:
                        nn.init.zeros_(module.bias)

    def _run(self, block: Block, x: Tensor, *grid: Grid) -> Tensor:
        if self.with_cp and torch.is_grad_enabled():
            return recompute(block, x, *grid, use_reentrant=False)
        return block(x, *grid)

    def init_weights(self) -> None:
        """Load ``init_cfg``'s checkpoint strictly and log what matched; without one keep the random weights."""
        if not self.init_cfg:
            self._is_init = True
            return
        report = self.load_checkpoint(read_pretrained(self.init_cfg, type(self).__name__))
        print_log(f'{type(self).__name__}: {report}', logger='current')

    def load_checkpoint(self, checkpoint: Checkpoint) -> LoadReport:
        """Load an official, timm or exported checkpoint; all of the backbone's weights must arrive.

        Merges may be absent from a dense checkpoint and then start as means. Position parameters are resampled to this
        backbone's grid, a stem of 3 channels is adapted to more or fewer.

        Raises:
            UserError: It is another model, or keys are missing, unexpected or misshapen (all are listed).
        """
        carried = checkpoint.spec and _as_wanted(checkpoint.spec, self.spec)
        if carried is not None and carried != self.spec:
            raise UserError(f'checkpoint {checkpoint.path} is another model than this backbone: '
                            f'{_difference(carried, self.spec)}.')
        report = strict_load(self, checkpoint, *self._fitted(checkpoint))
        self._is_init = self._whole = True
        return report

    def _fitted(self, checkpoint: Checkpoint) -> tuple[list[str], list[str], list[str], str]:
        """Bring a checkpoint to this backbone's names and shapes, in place.

        Returns:
            Prefixes of what this backbone does not use and of what may be absent, sentences for the log, and what to
            do where the rest does not match.
        """
        state, own = checkpoint.state_dict, self.state_dict()
        if any('.parametrizations.' in key for key in state) and not any('.parametrizations.' in key for key in own):
            raise UserError(f'checkpoint {checkpoint.path} still holds compactors: export it first with python '
                            'tools/fold.py CHECKPOINT OUT.')
        notes, optional = self._fit(checkpoint) + self._fit_channels(checkpoint), self._optional()
        self._refuse_other_size(checkpoint)
        state = checkpoint.state_dict
        merges = [key for key in own if _is_merge(key)]
        if merges and not any(map(_is_merge, state)) and not (checkpoint.spec and checkpoint.spec.merges):
            optional = optional + merges
            blocks = ', '.join(str(merge.block) for merge in self.spec.merges)
            notes.append(f'merges before blocks {blocks} start as the mean of their tokens')
            for module in self.modules():
                if isinstance(module, TokenMerge):
                    module.reset_parameters()
        if any(key.startswith('pre_logits.') for key in state):
            notes.append('the representation layer pre_logits, which stands before a classifier\'s head, is left out')
        hint = ''
        if self._told_by(state) != self.spec:
            hint = ('Its channel widths are not this backbone\'s: give the export it was trained from in init_cfg, or '
                    'its widths.')
        return [*CLASSIFIER_KEYS, *self._unused()], optional, notes, hint

    def _fit_channels(self, checkpoint: Checkpoint) -> list[str]:
        """Adapt a stem of 3 channels to this backbone's, as timm does."""
        stem, wanted = checkpoint.state_dict.get(self.stem_key), self.arch.in_channels
        if stem is None or stem.dim() != 4 or stem.shape[1] == wanted:
            return []
        if stem.shape[1] != 3:
            raise UserError(f'checkpoint {checkpoint.path} is for images of {stem.shape[1]} channels, this backbone '
                            f'for {wanted}: set in_channels={stem.shape[1]}; only 3 channels can become others.')
        checkpoint.state_dict[self.stem_key] = adapt_input_conv(wanted, stem)
        return [f'the stem is adapted from 3 to {wanted} channels']

    def _refuse_other_size(self, checkpoint: Checkpoint) -> None:
        """Raise where the checkpoint's sizes are those of another architecture with a name."""
        sizes = self.arch.sizes(checkpoint.state_dict)
        own = {key: getattr(self.arch, key) for key in sizes}
        name = next((name for name, arch in ARCHS.items() if arch.family == self.family
                     and sizes and all(getattr(arch, key) == value for key, value in sizes.items())), None)
        if name is not None and sizes != own:
            raise UserError(f'checkpoint {checkpoint.path} is a {name} ({_listed(sizes)}), this backbone is '
                            f'{self.arch.name} ({_listed(own)}): give the checkpoint of the same size, or change arch.')

    def _optional(self) -> list[str]:
        """Prefixes of this backbone's keys that any checkpoint may lack, because a classifier has no such thing."""
        return []

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, local_metadata: Mapping[str, Any],
                              strict: bool, missing_keys: list[str], unexpected_keys: list[str],
                              error_msgs: list[str]) -> None:
        """Let weights arrive whole or not at all, whoever loads them.

        PyTorch's and MMEngine's loaders both come here with what stands under ``prefix``, before any weight is set.
        MMEngine only warns of what does not match, and a backbone that is half random would go unnoticed.

        Before any weights were set, an incoming checkpoint also decides the widths of the blocks: a config of a pruned
        model holds widths that stand in until its export is at hand, and inference tools load a trained checkpoint
        over them without ever seeing the export.

        Raises:
            UserError: The backbone does not arrive whole. Its absence is fine where its weights were set before.
        """
        arriving = {key[len(prefix):]: value for key, value in state_dict.items() if key.startswith(prefix)}
        if arriving:
            odd = next((key for key, value in arriving.items() if not isinstance(value, Tensor)), None)
            if odd is not None:
                raise UserError(f'{prefix}{odd} in the checkpoint is a {type(arriving[odd]).__name__}, no tensor: '
                                'fetch or make it again.')
            self._adopt_widths(arriving)
            where = f'(its {prefix}* weights)' if prefix else '(a state dict)'
            checkpoint = Checkpoint(where, arriving, grid=self._grid_of(arriving, local_metadata))
            unused, optional, notes, hint = self._fitted(checkpoint)
            matching(self, checkpoint, unused, [*optional, *self._counters()], hint)
            if notes:
                print_log(f'{type(self).__name__}: {"; ".join(notes)}', logger='current')
            for key in [key for key in state_dict if key.startswith(prefix)]:
                del state_dict[key]
            state_dict.update({prefix + key: value for key, value in checkpoint.state_dict.items()})
            self._whole = True
        else:
            self._require_elsewhere(unexpected_keys, prefix)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys,
                                      error_msgs)

    def _adopt_widths(self, arriving: Mapping[str, Tensor]) -> None:
        spec = self.spec if self.is_init else self._told_by(arriving)
        if spec != self.spec:
            like = next(self.parameters())
            self.spec = spec
            self._build_blocks()
            self.to(like).train(self.training)
            self._freeze()

    def _told_by(self, state: Mapping[str, Tensor]) -> Spec:
        """The spec of the widths that weights tell; this backbone's where their shapes are no model's."""
        try:
            return widths_in_state_dict(self.spec, state)
        except (ValueError, IndexError):
            return self.spec

    def _counters(self) -> list[str]:
        """Counters of batch norms, which old checkpoints lack and nothing reads."""
        return [key for key in self.state_dict() if key.endswith('num_batches_tracked')]

    def _grid_of(self, arriving: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> Grid | None:
        """The grid that ``arriving`` weights state; a copy of this very backbone that states none is on its grid."""
        stated = checked_grid(metadata.get(GRID_META))
        own = {key: value.shape for key, value in self.state_dict().items()}
        same = own == {key: value.shape for key, value in arriving.items()}
        return self.grid if stated is None and same else stated

    def _require_elsewhere(self, unknown: Sequence[str], prefix: str) -> None:
        """Raise where no weight of this backbone arrives and there is no sign that it has its weights already."""
        name, first = type(self).__name__, self.stem_key
        found = next((key.removesuffix(first) for key in unknown if f'.{key}'.endswith(f'.{first}')), None)
        if found is not None:
            what = f'under {found!r}' if found else 'without any prefix, as in an export or a pretrained file'
            raise UserError(f'the checkpoint holds the weights of {name} {what}, this model wants them under '
                            f'{prefix!r}: name the file in the backbone\'s init_cfg=dict(type=\'Pretrained\', '
                            'checkpoint=FILE), or give a checkpoint that was trained with this config.')
        averaged = not any(parameter.requires_grad for parameter in self.parameters())
        if unknown or not (self.is_init or self._whole or averaged):
            known = f'and unknown {", ".join(unknown[:3])}' if unknown else 'and nothing has set its weights before'
            raise UserError(f'the checkpoint holds no weights of {name} under {prefix!r} {known}: give a checkpoint '
                            'that was trained with this config, or name a pretrained one in the backbone\'s init_cfg.')

    def _check_frozen(self, count: int, what: str) -> None:
        if self.frozen_stages > count:
            raise UserError(f'frozen_stages={self.frozen_stages}: {self.arch.name} has {count} {what}.')

    def _freeze(self) -> None:
        modules, parameters = self._frozen()
        for module in modules:
            module.eval()
            module.requires_grad_(False)
        for parameter in parameters:
            parameter.requires_grad = False

    def train(self, mode: bool = True) -> 'CAITBackbone':
        super().train(mode)
        for module in self._frozen()[0]:
            module.eval()
        return self


def last(stream: Iterator[Any]) -> Any:
    """The last item of an iterator, keeping no other."""
    return deque(stream, maxlen=1).pop()


def read_pretrained(init_cfg: Mapping[str, Any], who: str) -> Checkpoint:
    """The checkpoint that a validated or raw ``init_cfg`` names. ``map_location`` needs no care: weights are read on
    the CPU and copied to where the backbone is.
    """
    init_cfg = checked_init_cfg(init_cfg, who)
    return read_checkpoint(init_cfg['checkpoint'], init_cfg.get('prefix'))


def widths_in_state_dict(spec: Spec, state_dict: Mapping[str, Tensor], prefix: str = '') -> Spec:
    """``spec`` with the block widths that the shapes in ``state_dict`` tell; blocks that are not in it keep theirs.

    Shapes that no model has tell nothing: strict loading lists what does not fit.
    """
    blocks = []
    for index, block in enumerate(spec.blocks):
        path = prefix + spec.arch.block_path(index)
        names = [f'{path}.{name}.weight' for name in ('attn.qkv', 'attn.proj', 'mlp.fc1')]
        if all(name in state_dict and state_dict[name].dim() == 2 for name in names):
            qkv, proj, fc1 = (state_dict[name].shape for name in names)
            block = replace(block, qk_dim=(qkv[0] - proj[1]) // (2 * block.num_heads),
                            v_dim=proj[1] // block.num_heads, ffn_dim=fc1[0])
        blocks.append(block)
    try:
        return spec.replace(blocks=tuple(blocks))
    except UserError:
        return spec


def _listed(sizes: Mapping[str, Any]) -> str:
    return ', '.join(f'{key}={value}' for key, value in sizes.items())


def _is_merge(key: str) -> bool:
    return 'merges' in key.split('.')


def _as_spec(spec: str | Spec | Mapping[str, Any]) -> Spec:
    if isinstance(spec, Spec):
        return spec
    if isinstance(spec, (str, Path)):
        return Spec.from_file(spec)
    return Spec.from_dict(spec)


def _spec_of_checkpoint(init_cfg: Mapping[str, Any] | None, spec: Spec, channels_stated: bool) -> Spec:
    """The spec that a local export in ``init_cfg`` carries; ``spec`` where there is none to be had yet."""
    path = (init_cfg or {}).get('checkpoint')
    if not path or not Path(path).is_file():
        return spec
    carried = read_pretrained(init_cfg, 'the backbone').spec
    if carried is None:
        return spec
    if not channels_stated and spec.arch.in_channels == 3:
        spec = _with_channels(spec, carried.arch.in_channels)
    carried = _as_wanted(carried, spec)
    if carried.arch != spec.arch or carried.merges != spec.merges:
        raise UserError(f'checkpoint {path} is another model than the config describes: {_difference(carried, spec)}.')
    return carried


def _as_wanted(carried: Spec, wanted: Spec) -> Spec:
    """The spec of an export after what loading brings about: other channels of the image, for which the stem is
    adapted, and merges where it has none, which start as means.
    """
    carried = _with_channels(carried, wanted.arch.in_channels)
    return carried if carried.merges or carried.arch != wanted.arch else carried.replace(merges=wanted.merges)


def _with_channels(spec: Spec, in_channels: int) -> Spec:
    return spec.replace(arch=replace(spec.arch, in_channels=in_channels))


def _difference(carried: Spec, wanted: Spec) -> str:
    if carried.arch != wanted.arch:
        return f'it is {carried.arch}, wanted {wanted.arch}'
    if carried.merges != wanted.merges:
        it, we = (', '.join(map(str, spec.merges)) or 'nothing' for spec in (carried, wanted))
        return f'it merges {it}, wanted {we}'
    return 'its channel widths differ'

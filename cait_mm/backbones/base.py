"""What the backbones of all families share: a spec, strict loading, frozen stages, widths that a checkpoint decides."""
from abc import abstractmethod
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModule
from timm.layers import trunc_normal_
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as recompute

from cait_mm.arch import ARCHS, Arch
from cait_mm.backbones.block import Block
from cait_mm.backbones.checkpoint import CLASSIFIER_KEYS, Checkpoint, LoadReport, read_checkpoint, strict_load
from cait_mm.errors import UserError
from cait_mm.ops.token_merge import Grid
from cait_mm.spec import Spec, Widths, make_spec


class CAITBackbone(BaseModule):
    """A ViT with merged tokens and per-block widths that gives dense feature maps.

    A family's backbone builds its modules under the names of its official checkpoints and says how tokens stream
    through them.

    Raises:
        UserError: The description is impossible, or contradicts the checkpoint's spec.
    """

    family: ClassVar[str]

    def __init__(self,
                 arch: Union[str, Mapping[str, Any]],
                 merge: Sequence[Tuple[Union[int, str], str]],
                 widths: Mapping[str, Widths],
                 spec: Union[None, str, Spec, Mapping[str, Any]],
                 restore_mode: str,
                 with_cp: bool,
                 frozen_stages: int,
                 init_cfg: Optional[Mapping[str, Any]]) -> None:
        super().__init__(init_cfg=dict(init_cfg) if init_cfg else None)
        spec = make_spec(arch, merge, family=self.family, **widths) if spec is None else _as_spec(spec)
        if spec.arch.family != self.family:
            raise UserError(f'{type(self).__name__} cannot be a {spec.arch.name}: it builds {self.family} models.')
        self.spec = _spec_of_checkpoint(self.init_cfg, spec)
        if restore_mode not in ('nearest', 'bilinear'):
            raise UserError(f'restore_mode={restore_mode!r}: use nearest or bilinear.')
        self.restore_mode, self.with_cp, self.frozen_stages = restore_mode, with_cp, frozen_stages

    @property
    def arch(self) -> Arch:
        return self.spec.arch

    @property
    def embed_dim(self) -> int:
        """Channels of the last block's tokens."""
        return self.arch.out_dim

    @property
    @abstractmethod
    def img_size(self) -> Tuple[int, int]:
        """Pixels (H, W) of the images that a classifier of this backbone expects."""

    @abstractmethod
    def flat_blocks(self) -> List[Block]:
        """All blocks that are built, through all stages."""

    @abstractmethod
    def forward_tokens(self, x: Tensor) -> Tuple[Tensor, Grid]:
        """Image (B, 3, H, W) -> the last block's tokens (B, N, C), CLS first where there is one, and their grid."""

    @abstractmethod
    def pool(self, tokens: Tensor) -> Tensor:
        """What a classifier looks at: tokens (B, N, C) -> (B, C)."""

    @abstractmethod
    def _build_blocks(self) -> None:
        """Build blocks and merges of the widths in ``self.spec``."""

    @abstractmethod
    def _fit(self, checkpoint: Checkpoint) -> List[str]:
        """Bring a checkpoint's names and position parameters to this backbone's, in place; sentences for the log."""

    @abstractmethod
    def _unused(self) -> List[str]:
        """Prefixes of checkpoint keys that this backbone has no use for."""

    @abstractmethod
    def _frozen(self) -> Tuple[List[nn.Module], List[nn.Parameter]]:
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
        if self.init_cfg.get('type') != 'Pretrained' or not self.init_cfg.get('checkpoint'):
            raise UserError(f'init_cfg={self.init_cfg}: {type(self).__name__} knows dict(type="Pretrained", '
                            'checkpoint=FILE).')
        report = self.load_checkpoint(read_checkpoint(self.init_cfg['checkpoint']))
        print_log(f'{type(self).__name__}: {report}', logger='current')

    def load_checkpoint(self, checkpoint: Checkpoint) -> LoadReport:
        """Load an official, timm or exported checkpoint; all of the backbone's weights must arrive.

        Merges may be absent from a dense checkpoint and then start as means. Position parameters are resampled to this
        backbone's grid.

        Raises:
            UserError: It is another model, or keys are missing, unexpected or misshapen (all are listed).
        """
        if any('.parametrizations.' in key for key in checkpoint.state_dict):
            raise UserError(f'checkpoint {checkpoint.path} still holds compactors: export it first with python '
                            f'tools/fold.py {checkpoint.path} OUT.')
        carried = checkpoint.spec and _with_merges(checkpoint.spec, self.spec)
        if carried is not None and carried != self.spec:
            raise UserError(f'checkpoint {checkpoint.path} is another model than this backbone: '
                            f'{_difference(carried, self.spec)}.')
        notes, optional = self._fit(checkpoint), self._optional()
        self._refuse_other_size(checkpoint)
        has_merges = any(_is_merge(key) for key in checkpoint.state_dict)
        merges = [key for key in self.state_dict() if _is_merge(key)]
        if merges and not has_merges and not (checkpoint.spec and checkpoint.spec.merges):
            optional += merges
            blocks = ', '.join(str(merge.block) for merge in self.spec.merges)
            notes.append(f'merges before blocks {blocks} start as the mean of their tokens')
        report = strict_load(self, checkpoint, [*CLASSIFIER_KEYS, *self._unused()], optional, notes)
        self._is_init = True
        return report

    def _refuse_other_size(self, checkpoint: Checkpoint) -> None:
        """Raise where the checkpoint's sizes are those of another architecture with a name."""
        sizes = self.arch.sizes(checkpoint.state_dict)
        own = {key: getattr(self.arch, key) for key in sizes}
        name = next((name for name, arch in ARCHS.items() if arch.family == self.family
                     and sizes and all(getattr(arch, key) == value for key, value in sizes.items())), None)
        if name is not None and sizes != own:
            raise UserError(f'checkpoint {checkpoint.path} is a {name} ({_listed(sizes)}), this backbone is '
                            f'{self.arch.name} ({_listed(own)}): give the checkpoint of the same size, or change arch.')

    def _optional(self) -> List[str]:
        """Prefixes of this backbone's keys that any checkpoint may lack, because a classifier has no such thing."""
        return []

    def _load_from_state_dict(self, state_dict: Dict[str, Tensor], prefix: str, *args: Any, **kwargs: Any) -> None:
        """Before any weights were set, let an incoming checkpoint decide the widths of the blocks.

        A config of a pruned model holds widths that stand in until its export is at hand. Inference tools build from
        the config and load a trained checkpoint over it without ever seeing the export; its shapes say the widths.
        """
        if not self.is_init:
            spec = widths_in_state_dict(self.spec, state_dict, prefix)
            if spec != self.spec:
                like = next(self.parameters())
                self.spec = spec
                self._build_blocks()
                self.to(like).train(self.training)
                self._freeze()
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def _check_frozen(self, count: int, what: str) -> None:
        if not -1 <= self.frozen_stages <= count:
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


def checked_outputs(out_indices: Sequence[int], count: int, what: str) -> Tuple[int, ...]:
    """``out_indices`` sorted, negative ones counted from the end.

    Raises:
        UserError: One does not exist, or there is none; ``what`` says what there is.
    """
    found = tuple(sorted(index % count if -count <= index < 0 else index for index in out_indices))
    if not found or not 0 <= found[0] <= found[-1] < count:
        raise UserError(f'out_indices={tuple(out_indices)}: {what} 0 to {count - 1}.')
    return found


def widths_in_state_dict(spec: Spec, state_dict: Mapping[str, Tensor], prefix: str = '') -> Spec:
    """``spec`` with the block widths that the shapes in ``state_dict`` tell; blocks that are not in it keep theirs."""
    blocks = []
    for index, block in enumerate(spec.blocks):
        path = prefix + spec.arch.block_path(index)
        names = [f'{path}.{name}.weight' for name in ('attn.qkv', 'attn.proj', 'mlp.fc1')]
        if all(name in state_dict for name in names):
            qkv, proj, fc1 = (state_dict[name].shape for name in names)
            block = replace(block, qk_dim=(qkv[0] - proj[1]) // (2 * block.num_heads),
                            v_dim=proj[1] // block.num_heads, ffn_dim=fc1[0])
        blocks.append(block)
    return spec.replace(blocks=tuple(blocks))


def _listed(sizes: Mapping[str, Any]) -> str:
    return ', '.join(f'{key}={value}' for key, value in sizes.items())


def _is_merge(key: str) -> bool:
    return 'merges' in key.split('.')


def _as_spec(spec: Union[str, Spec, Mapping[str, Any]]) -> Spec:
    if isinstance(spec, Spec):
        return spec
    if isinstance(spec, (str, Path)):
        return Spec.from_file(spec)
    return Spec.from_dict(spec)


def _spec_of_checkpoint(init_cfg: Optional[Mapping[str, Any]], spec: Spec) -> Spec:
    """The spec that a local export in ``init_cfg`` carries; ``spec`` where there is none to be had yet."""
    path = (init_cfg or {}).get('checkpoint')
    if not path or not Path(path).is_file():
        return spec
    carried = read_checkpoint(path).spec
    if carried is None:
        return spec
    carried = _with_merges(carried, spec)
    if carried.arch != spec.arch or carried.merges != spec.merges:
        raise UserError(f'checkpoint {path} is another model than the config describes: {_difference(carried, spec)}.')
    return carried


def _with_merges(carried: Spec, wanted: Spec) -> Spec:
    """The spec of an export with the wanted merges where it has none: they start as means, as in a dense checkpoint."""
    return carried if carried.merges or carried.arch != wanted.arch else carried.replace(merges=wanted.merges)


def _difference(carried: Spec, wanted: Spec) -> str:
    if carried.arch != wanted.arch:
        return f'it is {carried.arch}, wanted {wanted.arch}'
    if carried.merges != wanted.merges:
        it, we = (', '.join(map(str, spec.merges)) or 'nothing' for spec in (carried, wanted))
        return f'it merges {it}, wanted {we}'
    return 'its channel widths differ'

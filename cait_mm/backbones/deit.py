"""CAITDeiT: a DeiT with merged tokens and per-block widths that gives dense feature maps."""
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from timm.layers import DropPath, Mlp, PatchEmbed, trunc_normal_
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as recompute

from cait_mm.backbones.checkpoint import (
    Checkpoint,
    LoadReport,
    read_checkpoint,
    resize_pos_embed,
    square_grid,
    strict_load,
)
from cait_mm.errors import UserError
from cait_mm.ops.attention import Attention
from cait_mm.ops.token_merge import Grid, TokenMerge, restore
from cait_mm.spec import BlockSpec, Spec, Widths, make_spec

CLASSIFIER_KEYS = ('head.', 'head_dist.', 'fc_norm.', 'pre_logits.')
"""What a classifier's checkpoint holds behind the backbone."""


class Block(nn.Module):
    """A pre-norm transformer block of the widths in ``spec``: (B, N, C) -> (B, N, C)."""

    def __init__(self, dim: int, spec: BlockSpec, drop_path: float = 0.) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, spec.num_heads, spec.qk_dim, spec.v_dim, spec.head_dim)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, spec.ffn_dim)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


@MODELS.register_module()
class CAITDeiT(BaseModule):
    """DeiT with asymmetric token merging and per-block widths (the paper's ATME and what CDCP leaves).

    ``arch``, ``merge`` and the widths, or ``spec`` alone, say what to build. When ``init_cfg`` names a checkpoint that
    carries a spec (an export of ours), that spec decides the widths, and a config needs no second mention of them.

    Args:
        arch: ``deit_tiny``, ``deit_small``, ``deit_base``, or a dict with ``embed_dim``, ``depth``, ``num_heads`` and
            optionally ``mlp_ratio``, ``patch_size``, ``img_size`` (the pretraining size).
        merge: ``((block, kind), ...)``, 0-based, each before the whole block.
        qk_dim, v_dim, ffn_dim: Widths (per head for qk and v), one for all blocks or one per block; None is dense.
        spec: Instead of the above: a :class:`~cait_mm.spec.Spec`, its dict, or the path of its JSON file.
        img_size: Pixels (H, W) the positional embedding is held for; None is the pretraining size. Other inputs work
            too, at the price of resizing it in every forward pass.
        out_indices: Blocks whose output is returned. Blocks after the last one are not built.
        with_cls_token: Keep the CLS token. It costs one token and takes part in attention, as it did in pretraining.
        final_norm: Apply the classifier's final norm to the last output.
        restore_mode: ``nearest`` (the paper's) or ``bilinear`` upsampling of merged maps.
        drop_path_rate: Stochastic depth of the last block; it grows linearly from 0.
        with_cp: Recompute blocks in the backward pass to save memory.
        frozen_stages: -1 freezes nothing, 0 the embedding, n also the first n blocks and the merges before them.
        init_cfg: ``dict(type='Pretrained', checkpoint=...)`` loads strictly; None starts from random weights.

    Raises:
        UserError: The description is impossible, or contradicts the checkpoint's spec.
    """

    def __init__(self,
                 arch: Union[str, Mapping[str, Any]] = 'deit_small',
                 merge: Sequence[Tuple[int, str]] = (),
                 qk_dim: Widths = None,
                 v_dim: Widths = None,
                 ffn_dim: Widths = None,
                 spec: Union[None, str, Spec, Mapping[str, Any]] = None,
                 img_size: Union[None, int, Tuple[int, int]] = None,
                 out_indices: Sequence[int] = (3, 5, 7, 11),
                 with_cls_token: bool = True,
                 final_norm: bool = False,
                 restore_mode: str = 'nearest',
                 drop_path_rate: float = 0.,
                 with_cp: bool = False,
                 frozen_stages: int = -1,
                 init_cfg: Optional[Mapping[str, Any]] = None) -> None:
        super().__init__(init_cfg=dict(init_cfg) if init_cfg else None)
        if spec is None:
            spec = make_spec(arch, merge, qk_dim, v_dim, ffn_dim)
        else:
            spec = _as_spec(spec)
        self.spec = _spec_of_checkpoint(self.init_cfg, spec)
        depth = self.spec.arch.depth
        self.out_indices = tuple(sorted(index % depth if -depth <= index < 0 else index for index in out_indices))
        if not self.out_indices or not 0 <= self.out_indices[0] <= self.out_indices[-1] < depth:
            raise UserError(f'out_indices={tuple(out_indices)}: {self.spec.arch.name} has blocks 0 to {depth - 1}.')
        if restore_mode not in ('nearest', 'bilinear'):
            raise UserError(f'restore_mode={restore_mode!r}: use nearest or bilinear.')
        if not -1 <= frozen_stages <= depth:
            raise UserError(f'frozen_stages={frozen_stages}: {self.spec.arch.name} has {depth} blocks.')
        self.restore_mode, self.with_cp, self.frozen_stages = restore_mode, with_cp, frozen_stages
        self.drop_path_rates = torch.linspace(0, drop_path_rate, depth).tolist()

        dim, patch = self.spec.arch.embed_dim, self.spec.arch.patch_size
        self.patch_embed = PatchEmbed(None, patch, embed_dim=dim, flatten=False, strict_img_size=False,
                                      dynamic_img_pad=True)
        self.pos_grid = self.spec.arch.grid((img_size, img_size) if isinstance(img_size, int) else img_size)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim)) if with_cls_token else None
        positions = self.pos_grid[0] * self.pos_grid[1] + int(with_cls_token)
        self.pos_embed = nn.Parameter(torch.zeros(1, positions, dim))
        self._build_blocks()
        self.norm = nn.LayerNorm(dim, eps=1e-6) if final_norm else None
        self._random_weights()
        self._freeze()

    @property
    def depth(self) -> int:
        """Blocks that are built: up to the last of ``out_indices``."""
        return self.out_indices[-1] + 1

    @property
    def img_size(self) -> Tuple[int, int]:
        """Pixels (H, W) that the positional embedding's grid covers."""
        patch = self.spec.arch.patch_size
        return self.pos_grid[0] * patch, self.pos_grid[1] * patch

    @property
    def embed_dim(self) -> int:
        return self.spec.arch.embed_dim

    @property
    def num_cls(self) -> int:
        """CLS tokens in front of the grid: 1 or 0."""
        return int(self.cls_token is not None)

    def _build_blocks(self) -> None:
        built = range(self.depth)
        self.blocks = nn.ModuleList(Block(self.embed_dim, self.spec.blocks[i], self.drop_path_rates[i]) for i in built)
        self.merges = nn.ModuleDict({str(merge.block): TokenMerge(self.embed_dim, merge.kind)
                                     for merge in self.spec.merges if merge.block < self.depth})

    def _random_weights(self) -> None:
        """DeiT's initialisation; merges keep their mean."""
        trunc_normal_(self.pos_embed, std=.02)
        if self.cls_token is not None:
            trunc_normal_(self.cls_token, std=.02)
        for module in self.blocks.modules():
            if isinstance(module, nn.Linear):
                trunc_normal_(module.weight, std=.02)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        """Image (B, 3, H, W) -> maps (B, C, ceil(H / 16), ceil(W / 16)), one per ``out_indices``, for patch size 16."""
        size, maps = self.spec.arch.grid(tuple(x.shape[-2:])), []
        for index, (tokens, grid) in enumerate(self._stream(x)):
            if index not in self.out_indices:
                continue
            tokens = tokens[:, self.num_cls:]
            if self.norm is not None and index == self.out_indices[-1]:
                tokens = self.norm(tokens)
            merged = tokens.transpose(1, 2).unflatten(2, grid).contiguous()
            maps.append(restore(merged, size, self.restore_mode))
        return tuple(maps)

    def forward_tokens(self, x: Tensor) -> Tuple[Tensor, Grid]:
        """Image (B, 3, H, W) -> the last block's tokens (B, 1 + H' * W', C), CLS first, and their grid (H', W')."""
        tokens, grid = deque(self._stream(x), maxlen=1).pop()
        return tokens if self.norm is None else self.norm(tokens), grid

    def _stream(self, x: Tensor) -> Iterator[Tuple[Tensor, Grid]]:
        """Yield the tokens (B, N, C), CLS first where there is one, and the grid (H, W) after every block."""
        maps = self.patch_embed(x)
        grid = tuple(maps.shape[-2:])
        x = maps.flatten(2).transpose(1, 2)
        if self.num_cls:
            x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1)
        x = x + resize_pos_embed(self.pos_embed, self.pos_grid, grid)
        for index, block in enumerate(self.blocks):
            if str(index) in self.merges:
                merged, grid = self.merges[str(index)](x[:, self.num_cls:], grid)
                x = torch.cat([x[:, :1], merged], dim=1) if self.num_cls else merged
            x = recompute(block, x, use_reentrant=False) if self.with_cp and torch.is_grad_enabled() else block(x)
            yield x, grid

    def init_weights(self) -> None:
        """Load ``init_cfg``'s checkpoint strictly and log what matched; without one keep the random weights."""
        if not self.init_cfg:
            self._is_init = True
            return
        if self.init_cfg.get('type') != 'Pretrained' or not self.init_cfg.get('checkpoint'):
            raise UserError(f'init_cfg={self.init_cfg}: CAITDeiT knows dict(type="Pretrained", checkpoint=FILE).')
        report = self.load_checkpoint(read_checkpoint(self.init_cfg['checkpoint']))
        print_log(f'{type(self).__name__}: {report}', logger='current')

    def load_checkpoint(self, checkpoint: Checkpoint) -> LoadReport:
        """Load a DeiT, timm or exported checkpoint; all of the backbone's weights must arrive.

        Merges may be absent from a dense checkpoint and then start as means. The positional embedding is resampled to
        this backbone's grid.

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
        notes, optional = self._fit_pos_embed(checkpoint), []
        has_merges = any(key.startswith('merges.') for key in checkpoint.state_dict)
        if self.merges and not has_merges and not (checkpoint.spec and checkpoint.spec.merges):
            optional = ['merges.']
            notes.append(f'merges before blocks {", ".join(self.merges)} start as the mean of their tokens')
        unused = [*CLASSIFIER_KEYS, *([] if self.norm else ['norm.']), *([] if self.num_cls else ['cls_token'])]
        unused += [f'{part}.{index}.' for part in ('blocks', 'merges')
                   for index in range(self.depth, self.spec.arch.depth)]
        report = strict_load(self, checkpoint, unused, optional, notes)
        self._is_init = True
        return report

    def _fit_pos_embed(self, loaded: Checkpoint) -> List[str]:
        """Resample the checkpoint's pos_embed to this backbone's grid; say so."""
        pos_embed = loaded.state_dict.get('pos_embed')
        if pos_embed is None or pos_embed.dim() != 3:
            return []
        has_cls = int('cls_token' in loaded.state_dict)
        positions = pos_embed.shape[1] - has_cls
        known = next((grid for grid in (self.spec.arch.grid(), self.pos_grid) if grid[0] * grid[1] == positions), None)
        old_grid = known or square_grid(positions)
        if self.cls_token is None:
            pos_embed = pos_embed[:, has_cls:]
        loaded.state_dict['pos_embed'] = resize_pos_embed(pos_embed, old_grid, self.pos_grid)
        if old_grid == self.pos_grid:
            return []
        return [f'pos_embed resized from {old_grid[0]}x{old_grid[1]} to {self.pos_grid[0]}x{self.pos_grid[1]}']

    def _load_from_state_dict(self, state_dict: Dict[str, Tensor], prefix: str, *args: Any, **kwargs: Any) -> None:
        """Before any weights were set, let an incoming checkpoint decide the widths of the blocks.

        A config of a pruned model holds widths that stand in until its export is at hand. Inference tools build from
        the config and load a trained checkpoint over it without ever seeing the export; its shapes say the widths.
        """
        if not self.is_init:
            spec = widths_in_state_dict(self.spec, state_dict, prefix)
            if spec != self.spec:
                self.spec = spec
                self._build_blocks()
                self.to(self.pos_embed).train(self.training)
                self._freeze()
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def get_layer_depth(self, param_name: str, prefix: str = '') -> Tuple[int, int]:
        """The layer of a parameter for layer-wise decay: 0 the embedding, i + 1 block i and the merge before it.

        Returns:
            The parameter's layer, and the number of layers (the built blocks + 2).
        """
        layers, name = self.depth + 2, param_name[len(prefix):]
        if not param_name.startswith(prefix):
            return layers - 1, layers
        if name in ('cls_token', 'pos_embed') or name.startswith('patch_embed'):
            return 0, layers
        if name.startswith(('blocks.', 'merges.')):
            return int(name.split('.')[1]) + 1, layers
        return layers - 1, layers

    def _frozen(self) -> List[nn.Module]:
        if self.frozen_stages < 0:
            return []
        merges = [merge for block, merge in self.merges.items() if int(block) < self.frozen_stages]
        return [self.patch_embed, *self.blocks[:self.frozen_stages], *merges]

    def _freeze(self) -> None:
        for module in self._frozen():
            module.eval()
            module.requires_grad_(False)
        if self.frozen_stages >= 0:
            self.pos_embed.requires_grad = False
            if self.cls_token is not None:
                self.cls_token.requires_grad = False

    def train(self, mode: bool = True) -> 'CAITDeiT':
        super().train(mode)
        for module in self._frozen():
            module.eval()
        return self


def _as_spec(spec: Union[str, Spec, Mapping[str, Any]]) -> Spec:
    if isinstance(spec, Spec):
        return spec
    if isinstance(spec, (str, Path)):
        if not Path(spec).is_file():
            raise UserError(f'spec file {spec} does not exist.')
        return Spec.from_json(Path(spec).read_text())
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


def widths_in_state_dict(spec: Spec, state_dict: Mapping[str, Tensor], prefix: str = '') -> Spec:
    """``spec`` with the block widths that the shapes in ``state_dict`` tell; blocks that are not in it keep theirs."""
    blocks = []
    for index, block in enumerate(spec.blocks):
        names = [f'{prefix}blocks.{index}.{name}.weight' for name in ('attn.qkv', 'attn.proj', 'mlp.fc1')]
        if all(name in state_dict for name in names):
            qkv, proj, fc1 = (state_dict[name].shape for name in names)
            block = replace(block, qk_dim=(qkv[0] - proj[1]) // (2 * block.num_heads),
                            v_dim=proj[1] // block.num_heads, ffn_dim=fc1[0])
        blocks.append(block)
    return spec.replace(blocks=tuple(blocks))

"""STViT-R against its description written out token by token, its authors' count, and what the package does with it."""
import math

import pytest
import torch
from torch import nn

from cait_mm.analysis.flops import count_macs
from cait_mm.arch.cost import layer_norm, linear
from cait_mm.backbones import CAITSwin
from cait_mm.errors import UserError
from cait_mm.macs import classifier_cost
from cait_mm.models import Classifier
from cait_mm.models.checkpoint import Checkpoint
from cait_mm.models.swin import Swin
from cait_mm.ops.semantic import sample_grid
from cait_mm.ops.windows import wider_windows
from cait_mm.pruning.cdcp import CDCP
from cait_mm.pruning.compress import compress
from cait_mm.spec import Spec, make_spec
from cait_mm.tokens import STViTR

ARCH = dict(embed_dim=8, depths=(1, 1, 7, 1), num_heads=(1, 1, 2, 2), window_size=4, img_size=(128, 128))
"""A third stage of 8 x 8 tokens, a group of six blocks and one of Swin's."""
SIZES = [(128, 128), (160, 96), (48, 304)]
"""Images whose third stage is whole windows, parts of windows, and less than one on an axis."""


def small(**options) -> Swin:
    """With weights under which the new blocks matter."""
    torch.manual_seed(0)
    model = Swin(ARCH, **{'tokens': dict(type='STViTR'), **options}).eval()
    for name, parameter in model.named_parameters():
        if name.startswith('layers.2') and parameter.dim() > 1 or name.endswith('gamma'):
            nn.init.normal_(parameter, std=0.3)
    return model


def classifier(**options) -> Classifier:
    return Classifier(small(out_indices=(3,), final_norm=True, **options), num_classes=5).eval()


def heard(block, queries, keys):
    """What queries (n, C) get from keys (m, C), one head after the other."""
    attn, results = block.attn, []
    size, queries, keys = attn.num_heads * attn.qk_dim, block.norm1(queries), block.norm1(keys)
    q = queries @ attn.qkv.weight[:size].T + attn.qkv.bias[:size]
    k, v = (keys @ attn.qkv.weight[size:].T + attn.qkv.bias[size:]).chunk(2, dim=-1)
    for head in range(attn.num_heads):
        own = slice(head * attn.qk_dim, (head + 1) * attn.qk_dim)
        results.append((q[:, own] @ k[:, own].T / attn.qk_dim**0.5).softmax(-1) @ v[:, own])
    return block.ls1.gamma * attn.proj(torch.cat(results, dim=-1))


def fed(block, x):
    return x + block.ls2.gamma * block.mlp(block.norm2(x))


def part(index, count, side):
    """The places of part ``index`` of ``count`` of a side, which may share places with its neighbours."""
    return range(math.floor(index * side / count), math.ceil((index + 1) * side / count))


def around(index, count, length, side):
    """The ``length`` places inside a side whose middle is nearest to that of part ``index``."""
    middle = (index + 0.5) * side / count
    start = min(range(side - length + 1), key=lambda start: abs(start + length / 2 - middle))
    return range(start, start + length)


def by_hand(blocks, x, window, samples, margin):
    """The map behind the five blocks of a group on semantic tokens, (H, W, C) both."""
    generate, gather, local, all_, recover = blocks
    height, width, _ = x.shape
    rows, columns = math.ceil(height / window), math.ceil(width / window)
    grid, flat = [(row, column) for row in range(rows) for column in range(columns)], x.flatten(0, 1)
    semantic = {}
    for row, column in grid:
        own = {(row * samples + r, column * samples + c): torch.stack(
            [x[i, j] for i in part(row * samples + r, rows * samples, height)
             for j in part(column * samples + c, columns * samples, width)]).amax(0)
            for r in range(samples) for c in range(samples)}
        wide = [min(min(window, side) + margin, side) for side in (height, width)]
        seen = [x[i, j] for i in around(row, rows, wide[0], height) for j in around(column, columns, wide[1], width)]
        maxima = torch.stack(list(own.values()))
        semantic.update(zip(own, fed(generate, heard(generate, maxima, torch.cat([maxima, torch.stack(seen)])))))
    places = sorted(semantic)
    tokens = torch.stack([semantic[place] for place in places])
    tokens = fed(gather, tokens + heard(gather, tokens, torch.cat([tokens, flat])))
    mixed = tokens.clone()
    for row, column in grid:
        inside = [number for number, (r, c) in enumerate(places) if (r // samples, c // samples) == (row, column)]
        mixed[inside] = tokens[inside] + heard(local, tokens[inside], tokens[inside])
    tokens = fed(local, mixed)
    tokens = fed(all_, tokens + heard(all_, tokens, tokens))
    return fed(recover, flat + heard(recover, flat, tokens)).view_as(x)


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('settings', [dict(), dict(samples=2, margin=1), dict(samples=1, margin=0)], ids=str)
@torch.no_grad()
def test_it_is_the_one_written_out(size, settings):
    model, seen = small(tokens=dict(type='STViTR', **settings)), {}
    stage = model.layers[2].blocks
    stage[0].register_forward_hook(lambda _, inputs, output: seen.update(before=output, grid=inputs[1]))
    stage[5].register_forward_hook(lambda _, __, output: seen.update(after=output))
    model(torch.randn(2, 3, *size))
    after, left = seen['after']
    assert left is None and seen['grid'] == tuple(-(-side // 16) for side in size)
    wanted = {'samples': 3, 'margin': 3, **settings}
    for before, own in zip(seen['before'], after):
        expected = by_hand(list(stage[1:6]), before.unflatten(0, seen['grid']), 4, **wanted)
        torch.testing.assert_close(own, expected.flatten(0, 1), atol=1e-4, rtol=1e-4)


def test_wider_windows_hold_their_part_and_are_those_of_the_authors():
    for window in (4, 7):
        for side in range(1, 60):
            count = -(-side // window)
            for index, places in enumerate(wider_windows((side, 1), (min(window, side), 1), 3)):
                own = part(index, count, side)
                assert set(own) <= set(places.tolist()) and len(places) == min(window + 3, side)
    unfolded = nn.functional.unfold(torch.arange(196.).view(1, 1, 14, 14), kernel_size=10, stride=4)
    assert torch.equal(wider_windows((14, 14), (7, 7), 3), unfolded[0].T.long())


@torch.no_grad()
def test_maxima_are_those_of_every_window_where_windows_are_whole():
    x = torch.randn(2, 5, 21, 14)
    whole = nn.functional.adaptive_max_pool2d(x, sample_grid((21, 14), 7, 3))
    for row in range(3):
        for column in range(2):
            own = nn.functional.adaptive_max_pool2d(x[:, :, 7 * row:7 * row + 7, 7 * column:7 * column + 7], 3)
            assert torch.equal(whole[:, :, 3 * row:3 * row + 3, 3 * column:3 * column + 3], own)


@pytest.mark.parametrize('size', SIZES)
def test_macs_and_parameters_are_those_of_the_modules(size):
    model = classifier()
    cost = classifier_cost(model.backbone.spec, size, num_classes=5)
    assert cost.params == sum(parameter.numel() for parameter in model.parameters())
    assert cost.macs == count_macs(model, (torch.rand(1, 3, *size),))['']


def test_the_authors_count_of_swin_small():
    """log/small.txt of the repository: 18 blocks of 31.958 M parameters and 3.312 G. There every window's keys and
    values are projected on their own, and norms of keys that were seen before are taken once more.
    """
    dense, reduced = (make_spec('swin_small', tokens=tokens) for tokens in (None, dict(type='STViTR')))
    steps = list(reduced.tokens.counts(reduced.arch, reduced.blocks, (56, 56), 0))
    macs = params = 0
    for block in reduced.arch.merge_blocks:
        own = steps[block].instead or reduced.arch.block_cost(block, reduced.blocks[block], 196, (4, 49), 196)
        macs += own.macs
        params += own.params + (0 if steps[block].instead else 169 * 12)
    windows, once = 4 * (9 + 100) + 36, 36 + 196
    again = linear(windows - 36 - once, 384, 768).macs + layer_norm(windows - once, 384).macs + layer_norm(36, 384).macs
    assert round(params / 1e6, 3) == 31.958
    assert round((macs + 3 * again) / 1e9, 3) == 3.312
    assert classifier_cost(reduced).macs < 0.67 * classifier_cost(dense).macs


def test_a_spec_holds_it_and_groups_are_whole():
    spec = make_spec('swin_small', tokens=dict(type='STViTR', samples=2))
    assert Spec.from_json(spec.to_json()) == spec and spec.tokens == STViTR(samples=2)
    assert [block for block in range(24) if block not in spec.tokens.blocks(spec.arch)] == [0, 1, 2, 3, 4, 10, 16, 22,
                                                                                           23]
    assert STViTR().blocks(Swin(ARCH).arch) == [3, 4, 5, 6, 7]


@pytest.mark.parametrize('arch, settings, words', [
    ('deit_tiny', {}, 'no such stage'), (dict(ARCH, depths=(1, 1, 5, 1)), {}, 'third stage of a Swin'),
    (dict(ARCH, depths=(1, 7), num_heads=(1, 2)), {}, 'no such stage'), (ARCH, dict(samples=4), 'no fewer'),
    (ARCH, dict(samples=0), 'samples=0'), (ARCH, dict(margin=-1), 'margin=-1'), (ARCH, dict(init_values=0), 'above 0'),
])
def test_what_cannot_be_is_a_sentence(arch, settings, words):
    with pytest.raises(UserError, match=words):
        make_spec(arch, tokens=dict(type='STViTR', **settings), family='swin')
    with pytest.raises(UserError, match='leave merge out'):
        make_spec(ARCH, (('2.4', 'horizontal'),), tokens=dict(type='STViTR'), family='swin')


@torch.no_grad()
def test_maps_have_the_dense_shapes_and_dense_weights_start_it():
    dense = Swin(ARCH, merge=()).eval()
    model = Swin(ARCH, tokens=dict(type='STViTR')).eval()
    report = model.load_checkpoint(Checkpoint('dense', dict(dense.state_dict()), dense.spec))
    assert any('STViTR start from those of windows' in note for note in report.notes)
    assert torch.equal(model.layers[2].blocks[1].attn.qkv.weight, dense.layers[2].blocks[1].attn.qkv.weight)
    assert torch.equal(model.layers[2].blocks[1].ls1.gamma, torch.full((32,), 1e-5))
    image = torch.randn(2, 3, 90, 140)
    maps, wanted = model(image), dense(image)
    assert [item.shape for item in maps] == [item.shape for item in wanted]
    torch.testing.assert_close(maps[1], wanted[1])
    lacking = {key: value for key, value in model.state_dict().items() if 'blocks.2.ls1' not in key}
    with pytest.raises(UserError, match='blocks.2.ls1'):
        model.load_checkpoint(Checkpoint('its own', lacking, model.spec))


def test_gradients_reach_all_of_it_and_recomputed_blocks_give_the_same():
    models = [small(with_cp=with_cp, drop_path_rate=0.2).train() for with_cp in (False, True)]
    for model in models:
        torch.manual_seed(0)  # of the paths dropped
        sum(item.square().mean() for item in model(torch.randn(2, 3, 64, 96))).backward()
    for one, other in zip(*(model.parameters() for model in models)):
        torch.testing.assert_close(one.grad, other.grad)
    assert all(parameter.grad.any() for parameter in models[0].layers[2].parameters())


@torch.no_grad()
def test_channels_are_cut_by_their_weights_and_the_file_is_read(tmp_path):
    model, images = classifier(), torch.randn(8, 3, 128, 128)
    with pytest.raises(UserError, match='magnitude'):
        compress(model, [images], target=0.4)
    with pytest.raises(UserError, match='magnitude'):
        compress(model, [images], target=0.4, score='taylor')
    cut = compress(model, [images], target=0.5, score='magnitude')
    assert cut.backbone.spec.is_pruned and cut.backbone.spec.tokens == STViTR()
    cut.save(tmp_path / 'small.pth')
    loaded = CAITSwin(ARCH, tokens=dict(type='STViTR'), out_indices=(3,), final_norm=True, init_cfg=dict(
        type='Pretrained', checkpoint=str(tmp_path / 'small.pth'))).eval()
    loaded.init_weights()
    torch.testing.assert_close(loaded(images), cut.backbone(images))


def test_a_compression_run_cuts_it():
    model = classifier(drop_path_rate=0.1).train()
    pruner = CDCP(model, target=0.6, total_steps=60, ramp_start=0, interval=1, step=0.6, rule='proximal', shrink=0.1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    pruner.attach(optimizer)
    images, labels = torch.randn(4, 3, 64, 64), torch.arange(4)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
    cut = pruner.fold()
    assert pruner.reduction >= 0.6 and cut.backbone.spec.blocks[4].ffn_dim < model.backbone.spec.blocks[4].ffn_dim
    torch.testing.assert_close(cut(images), model.eval()(images), atol=1e-4, rtol=1e-4)

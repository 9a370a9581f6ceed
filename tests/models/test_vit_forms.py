"""Checkpoints in other projects' forms, against the models of these projects with random weights."""
import re
from dataclasses import replace
from functools import partial

import pytest
import safetensors.torch
import timm
import torch
from mmengine.registry import MODELS
from timm.layers import SwiGLUPacked
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer
from torch import nn

import cait_mm
from cait_mm.arch import get_arch
from cait_mm.arch.timm_names import arch_of
from cait_mm.errors import UserError
from cait_mm.models import classifier_backbone
from cait_mm.models.checkpoint import Checkpoint, read_checkpoint
from cait_mm.models.vit_forms import timm_names
from cait_mm.spec import Spec

PLAIN = dict(family='vit', embed_dim=24, depth=2, num_heads=3, patch_size=8, img_size=(32, 32))
HUGGING_FACE = dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=3, patch_size=8, image_size=32)
SWIGLU = dict(ffn='swiglu', mlp_ratio=64 / 24)
DINOV3 = dict(reg_tokens=2, pos_embed=False, init_values=0.1, norm_eps=1e-5,
              rope=dict(type='dinov3', temperature=100., rotate_half=True))


@torch.no_grad()
def shaken(model):
    """Leave nothing at its initial value: norms, scales and biases neither."""
    for name, value in model.named_parameters():
        if value.dim() > 1:
            nn.init.normal_(value, std=0.3)
        elif name.endswith('weight') or 'gamma' in name or 'lambda' in name:
            nn.init.uniform_(value, 0.5, 1.5)
        else:
            nn.init.normal_(value, std=0.3)
    model.eval()  # OpenMMLab's returns nothing
    return model


def saved(path, content):
    torch.save(content, path)
    return str(path)


def tokens_of(arch, path, **options):
    """The tokens that our backbone of the file gives for a fixed image."""
    return cait_mm.backbone(arch, path, final_norm=True, out_indices=-1, **options).forward_tokens(image())[0]


def image():
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def assert_same(ours, theirs):
    assert ours.shape == theirs.shape
    assert float((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1)) < 1e-5


SIGLIP = dict(class_token=False, global_pool='map', ffn='gelu_tanh')
FFN = dict(intermediate_size=96)
MAE = dict(FFN, decoder_hidden_size=12, decoder_num_attention_heads=2, decoder_num_hidden_layers=1,
           decoder_intermediate_size=24, mask_ratio=0.)
TRANSFORMERS = {
    'vit': ('ViT', FFN, dict(norm_eps=1e-12)),
    'deit': ('DeiT', FFN, dict(norm_eps=1e-12, dist_token=True)),
    'vit_mae': ('ViTMAE', MAE, dict(norm_eps=1e-12)),
    'dinov2': ('Dinov2', {}, dict(init_values=1.)),
    'dinov2, gated': ('Dinov2', dict(use_swiglu_ffn=True), dict(SWIGLU, init_values=1.)),
    'dinov2_with_registers': ('Dinov2WithRegisters', dict(num_register_tokens=2),
                              dict(init_values=1., reg_tokens=2, no_embed_class=True)),
    'dinov3_vit': ('DINOv3ViT', dict(FFN, num_register_tokens=2), DINOV3),
    'dinov3_vit, gated': ('DINOv3ViT', dict(intermediate_size=64, use_gated_mlp=True, num_register_tokens=2,
                                            hidden_act='silu'), {**DINOV3, **SWIGLU}),
    'clip_vision_model': ('CLIPVision', FFN, dict(pre_norm=True, norm_eps=1e-5, ffn='quick_gelu')),
    'siglip_vision_model': ('SiglipVision', FFN, SIGLIP),
}
"""Names of transformers' classes, settings that make them small, and the fields of the same architecture here."""


def transformers():
    return pytest.importorskip('transformers', reason='transformers is not installed: see requirements/tests.txt')


def hugging_face(kind, end='Model', **more):
    """A small model of transformers with random weights, and the same architecture here."""
    name, settings, fields = TRANSFORMERS[kind]
    library = transformers()
    if not hasattr(library, f'{name}Model'):
        pytest.skip(f'transformers {library.__version__} has no {name}Model')
    config = getattr(library, f'{name}Config')(**{**HUGGING_FACE, **settings, **more})
    return shaken(getattr(library, name + end)(config)), {**PLAIN, **fields}


def their_tokens(kind, model):
    """The normalised tokens of all positions."""
    order = dict(noise=torch.arange(16.).expand(2, 16)) if kind == 'vit_mae' else {}
    tokens = model(image(), **order).last_hidden_state
    return model.post_layernorm(tokens) if kind == 'clip_vision_model' else tokens


@torch.no_grad()
@pytest.mark.parametrize('kind', TRANSFORMERS)
def test_models_of_transformers_are_read_as_files_and_as_state_dicts(tmp_path, kind):
    """``save_pretrained`` writes the names of the files on the Hub, which in version 5 are not those of the modules."""
    model, arch = hugging_face(kind)
    wanted = their_tokens(kind, model)
    model.save_pretrained(tmp_path)
    assert_same(tokens_of(arch, tmp_path / 'model.safetensors'), wanted)
    assert_same(tokens_of(arch, saved(tmp_path / 'a.pth', model.state_dict())), wanted)
    outer = 'vision_model' if 'Vision' in TRANSFORMERS[kind][0] else kind.partition(',')[0].replace('vit_mae', 'vit')
    inside = {f'{outer}.{key}': value for key, value in model.state_dict().items()}
    assert_same(tokens_of(arch, saved(tmp_path / 'b.pth', inside)), wanted)


@torch.no_grad()
@pytest.mark.parametrize('kind,end', [('vit', 'ForImageClassification'),
                                      ('deit', 'ForImageClassificationWithTeacher'),
                                      ('clip_vision_model', 'ModelWithProjection')])
def test_heads_of_transformers_are_read(tmp_path, kind, end):
    model, arch = hugging_face(kind, end, **(dict(projection_dim=5) if 'clip' in kind else dict(num_labels=5)))
    model.save_pretrained(tmp_path)
    theirs = model(image())
    assert_same(cait_mm.load(arch, tmp_path / 'model.safetensors')(image()),
                theirs.image_embeds if 'clip' in kind else theirs.logits)


@torch.no_grad()
def test_siglips_attention_pooling_is_read(tmp_path):
    model, arch = hugging_face('siglip_vision_model')
    model.save_pretrained(tmp_path)
    ours = cait_mm.backbone(arch, tmp_path / 'model.safetensors', final_norm=True, out_indices=-1, pooling=True)
    assert_same(ours.pool(ours.forward_tokens(image())[0]), model(image()).pooler_output)


@torch.no_grad()
def test_clips_text_tower_is_left_out_and_said(tmp_path):
    library, kind = transformers(), 'clip_vision_model'
    text = dict(HUGGING_FACE, vocab_size=9, max_position_embeddings=4, bos_token_id=0, eos_token_id=1, pad_token_id=1)
    config = library.CLIPConfig(text_config={**text, **FFN}, vision_config={**HUGGING_FACE, **FFN}, projection_dim=5)
    model, arch = shaken(library.CLIPModel(config)), {**PLAIN, **TRANSFORMERS[kind][2]}
    path = saved(tmp_path / 'a.pth', model.state_dict())
    assert_same(tokens_of(arch, path), their_tokens(kind, model.vision_model))
    notes = read_checkpoint(path).notes
    assert notes[0] == 'its names are those of Hugging Face\'s CLIP or SigLIP'
    assert re.fullmatch(r'logit_scale and \d+ more left out, which no model here has', notes[1])


@torch.no_grad()
def test_a_head_on_more_than_cls_is_refused_and_its_backbone_is_read(tmp_path):
    """DINOv2's linear head in transformers reads CLS and the mean of the patches."""
    model, arch = hugging_face('dinov2', 'ForImageClassification', num_labels=5)
    model.save_pretrained(tmp_path)
    assert_same(tokens_of(arch, tmp_path / 'model.safetensors'), their_tokens('dinov2', model.dinov2))
    with pytest.raises(UserError, match=r'misshapen: head.weight is \(5, 48\), wanted \(5, 24\)') as error:
        cait_mm.load(arch, tmp_path / 'model.safetensors')
    assert '\n' not in str(error.value)


def vit(**settings):
    """A small ViT of timm with random weights."""
    return shaken(VisionTransformer(**{**dict(img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=3,
                                              num_classes=5), **settings}))


def renamed(weights, *pairs):
    """The weights under names with parts replaced, as they are written in the other project's files."""
    for old, new in pairs:
        weights = {key.replace(old, new): value for key, value in weights.items()}
    return weights


def without_head(model):
    return {key: value for key, value in model.state_dict().items() if not key.startswith('head')}


def chunked(weights):
    """DINOv2's blocks in two chunks, in which they keep their numbers."""
    return renamed(weights, ('blocks.0.', 'blocks.0.0.'), ('blocks.1.', 'blocks.1.1.'))


DINOV2 = dict(init_values=0.1, num_classes=0)
GATED = dict(mlp_layer=SwiGLUPacked, mlp_ratio=128 / 24, act_layer=nn.SiLU)


@torch.no_grad()
@pytest.mark.parametrize('chunk', [dict, chunked], ids=['whole', 'chunks'])
@pytest.mark.parametrize('place', ['alone', 'teacher', 'names', 'fsdp'])
@pytest.mark.parametrize('gated', [False, True], ids=['mlp', 'swiglu'])
@pytest.mark.parametrize('registers', [0, 2])
def test_dinov2_is_read(tmp_path, registers, gated, place, chunk):
    """https://github.com/facebookresearch/dinov2, models/vision_transformer.py."""
    model = vit(reg_tokens=registers, no_embed_class=registers > 0, **DINOV2, **(GATED if gated else {}))
    weights = chunk(renamed(model.state_dict(), ('mlp.fc1', 'mlp.w12'), ('mlp.fc2', 'mlp.w3')) if gated else
                    model.state_dict())
    weights['mask_token'] = torch.ones(1, 24)
    if registers:  # the position of CLS is kept apart there
        position = torch.randn(1, 1, 24)
        weights['register_tokens'] = weights.pop('reg_token')
        weights['cls_token'] = weights['cls_token'] - position
        weights['pos_embed'] = torch.cat([position, weights['pos_embed']], 1)
    backbone = {f'backbone.{key}': value for key, value in weights.items()}
    head = {'dino_head.mlp.0.weight': torch.ones(3, 3)}
    names = {f'{owner}.{key}': value * factor for owner, factor in (('student', 2), ('teacher', 1))
             for key, value in {**backbone, **head}.items()}
    wrapped = {f'backbone._fsdp_wrapped_module.{key}': value for key, value in weights.items()}
    content = {'alone': weights, 'teacher': {'teacher': {**backbone, **head}}, 'names': {'model': names},
               'fsdp': {'teacher': wrapped}}[place]
    arch = {**PLAIN, 'init_values': 0.1, 'reg_tokens': registers, 'no_embed_class': registers > 0,
            **(SWIGLU if gated else {})}
    path = saved(tmp_path / 'a.pth', content)
    assert_same(tokens_of(arch, path), model.forward_features(image()))
    if place == 'names':
        assert any('tensors outside teacher., such as student.' in note for note in read_checkpoint(path).notes)


@torch.no_grad()
@pytest.mark.parametrize('owners', [('student', 'teacher'), ('student', )])
def test_a_training_of_dino_gives_its_teacher_without_the_projection_head(tmp_path, owners):
    """https://github.com/facebookresearch/dino, main_dino.py: the student is wrapped by DDP, the teacher is not."""
    models = {owner: vit(num_classes=0) for owner in owners}
    content = {owner: {**{f'{"module." * (owner == "student")}backbone.{key}': value
                          for key, value in model.state_dict().items()},
                       f'{"module." * (owner == "student")}head.mlp.0.weight': torch.ones(8, 24),
                       f'{"module." * (owner == "student")}head.last_layer.weight_v': torch.ones(9, 8)}
               for owner, model in models.items()}
    path = saved(tmp_path / 'a.pth', {**content, 'epoch': 3})
    assert_same(tokens_of(PLAIN, path), models[owners[-1]].forward_features(image()))
    left = ', not those under student' if len(owners) > 1 else ''
    assert read_checkpoint(path).notes == [f'the weights are those under {owners[-1]}{left}']
    with pytest.raises(UserError, match='has no head: give num_classes, and new_head=True'):
        cait_mm.load(PLAIN, path)


@torch.no_grad()
@pytest.mark.parametrize('file', ['a.pth', 'a.safetensors'])
@pytest.mark.parametrize('official', [False, True])
def test_deit_iii_keeps_its_layer_scale_in_the_family_of_plain_vits(tmp_path, official, file):
    """https://github.com/facebookresearch/deit, models_v2.py."""
    model = vit(init_values=0.1, no_embed_class=True)
    weights = renamed(model.state_dict(), ('ls1.gamma', 'gamma_1'), ('ls2.gamma', 'gamma_2')) if official else \
        model.state_dict()
    if file == 'a.pth':
        torch.save({'model': weights}, tmp_path / file)
    else:
        safetensors.torch.save_file(weights, tmp_path / file)
    ours = cait_mm.load(dict(PLAIN, init_values=0.1, no_embed_class=True), tmp_path / file)
    assert_same(ours(image()), model(image()))
    assert torch.equal(ours.backbone.blocks[1].ls2.gamma, model.blocks[1].ls2.gamma)


def dinov3(**settings):
    return shaken(timm.create_model('vit_small_patch16_dinov3_qkvb', img_size=32, patch_size=8, embed_dim=24, depth=2,
                                    num_heads=3, **settings))


def official_dinov3(model):
    """https://github.com/facebookresearch/dinov3, models/vision_transformer.py."""
    weights = renamed(model.state_dict(), ('reg_token', 'storage_tokens'), ('mlp.fc1_g', 'mlp.w1'),
                      ('mlp.fc1_x', 'mlp.w2'))
    if 'blocks.0.mlp.w1.weight' in weights:
        weights = renamed(weights, ('mlp.fc2', 'mlp.w3'))
    for path in ('blocks.0', 'blocks.1'):
        query, value = (weights.pop(f'{path}.attn.{part}_bias') for part in 'qv')
        weights[f'{path}.attn.qkv.bias'] = torch.cat([query, torch.randn(24), value])
        weights[f'{path}.attn.qkv.bias_mask'] = torch.tensor([1., 0., 1.]).repeat_interleave(24)
        for number in '12':
            weights[f'{path}.ls{number}.gamma'] = weights.pop(f'{path}.gamma_{number}')
    return {**weights, 'mask_token': torch.ones(1, 24), 'local_cls_norm.weight': torch.ones(24),
            'rope_embed.periods': 100**(torch.arange(2) / 2.)}


@torch.no_grad()
@pytest.mark.parametrize('gated', [False, True], ids=['mlp', 'swiglu'])
def test_dinov3_is_read(tmp_path, gated):
    model = dinov3(**(dict(swiglu_mlp=True, mlp_ratio=64 / 24) if gated else {}))
    path = saved(tmp_path / 'a.pth', official_dinov3(model))
    arch = arch_of('dinov3', model)
    assert_same(tokens_of(arch, path), model.forward_features(image()))
    other = {**PLAIN, **DINOV3, 'reg_tokens': 4, 'rope': {**DINOV3['rope'], 'temperature': 50.}, 'qkv_bias': True}
    with pytest.raises(UserError, match='a.pth has rotary positions of other periods than custom'):
        tokens_of({**other, **(SWIGLU if gated else {})}, path)


@torch.no_grad()
def test_dinov3s_biases_are_left_out_only_where_they_are_zero(tmp_path):
    """timm's plain names of DINOv3 have no biases of queries, keys and values, those with ``_qkvb`` have them."""
    model = dinov3()
    weights, arch = official_dinov3(model), replace(arch_of('dinov3', model), qkv_bias=False)
    with pytest.raises(UserError, match='unexpected: blocks.0.attn.qkv.bias, blocks.1.attn.qkv.bias'):
        tokens_of(arch, saved(tmp_path / 'a.pth', weights))
    for block in model.blocks:
        block.attn.q_bias.zero_()
        block.attn.v_bias.zero_()
    path = saved(tmp_path / 'b.pth', official_dinov3(model))
    assert_same(tokens_of(arch, path), model.forward_features(image()))


@torch.no_grad()
def test_maes_decoder_is_left_out(tmp_path):
    """https://github.com/facebookresearch/mae, models_mae.py."""
    model = vit()
    decoder = {'mask_token': torch.ones(1, 1, 8), 'decoder_embed.weight': torch.ones(8, 24),
               'decoder_pos_embed': torch.ones(1, 17, 8), 'decoder_blocks.0.norm1.weight': torch.ones(8),
               'decoder_norm.bias': torch.ones(8), 'decoder_pred.bias': torch.ones(12)}
    path = saved(tmp_path / 'a.pth', {'model': {**without_head(model), **decoder}})
    assert_same(tokens_of(PLAIN, path), model.forward_features(image()))
    assert 'mask_token and 5 more left out, which no model here has' in read_checkpoint(path).notes


@torch.no_grad()
def test_a_fine_tuned_mae_averages_patches_and_says_so_to_others(tmp_path):
    model = vit(global_pool='avg')
    path = saved(tmp_path / 'a.pth', {'model': model.state_dict()})
    arch = dict(PLAIN, global_pool='avg', fc_norm=True, final_norm=False)
    assert_same(cait_mm.load(arch, path)(image()), model(image()))
    with pytest.raises(UserError, match="with global_pool='avg', fc_norm=True and final_norm=False"):
        cait_mm.load(PLAIN, path)
    maps = cait_mm.backbone(PLAIN, path, out_indices=(0, 1))(image())
    assert_same(maps[1], model.forward_intermediates(image(), norm=False, intermediates_only=True)[1])


@torch.no_grad()
@pytest.mark.parametrize('settings', [dict(pre_norm=True), dict(init_values=0.1)], ids=['openai', 'open_clip'])
def test_openais_and_openclips_own_towers_are_read(tmp_path, settings):
    """https://github.com/openai/CLIP, clip/model.py, and open_clip, transformer.py, with LayerScale and no_ln_pre."""
    model = vit(act_layer=timm.layers.QuickGELU, norm_layer=partial(nn.LayerNorm, eps=1e-5), **settings)
    for layer in (model.head, model.patch_embed.proj):
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    names = (('norm_pre', 'ln_pre'), ('patch_embed.proj', 'conv1'), ('blocks.', 'transformer.resblocks.'),
             ('.norm1', '.ln_1'), ('.norm2', '.ln_2'), ('attn.qkv.', 'attn.in_proj_'), ('attn.proj', 'attn.out_proj'),
             ('mlp.fc1', 'mlp.c_fc'), ('mlp.fc2', 'mlp.c_proj'), ('norm.', 'ln_post.'), ('.ls1.', '.ls_1.'),
             ('.ls2.', '.ls_2.'))
    vision = renamed(without_head(model), *names)
    vision.pop('conv1.bias', None)
    vision.update(proj=model.head.weight.T, class_embedding=vision.pop('cls_token')[0, 0],
                  positional_embedding=vision.pop('pos_embed')[0])
    text = {'positional_embedding': torch.ones(4, 8), 'token_embedding.weight': torch.ones(9, 8),
            'transformer.resblocks.0.ln_1.weight': torch.ones(8), 'logit_scale': torch.ones(())}
    weights = {**{f'visual.{key}': value for key, value in vision.items()}, **text}
    arch = dict(PLAIN, norm_eps=1e-5, ffn='quick_gelu', **settings)
    path = saved(tmp_path / 'a.pth', {'state_dict': {f'module.{key}': value for key, value in weights.items()}})
    assert_same(cait_mm.load(arch, path)(image()), model(image()))
    assert read_checkpoint(path).notes[-1] == 'positional_embedding and 3 more left out, which no model here has'


@torch.no_grad()
@pytest.mark.parametrize('biased', [False, True])
def test_openclips_towers_of_timm_are_read(tmp_path, biased):
    """https://github.com/mlfoundations/open_clip, timm_model.py: timm's model, and a projection in ``head``."""
    model = vit()
    weights = {**{f'visual.trunk.{key}': value for key, value in without_head(model).items()},
               'visual.head.proj.weight': model.head.weight, 'text.token_embedding.weight': torch.ones(9, 8)}
    if biased:
        weights['visual.head.proj.bias'] = model.head.bias
    else:
        nn.init.zeros_(model.head.bias)
    assert_same(cait_mm.load(PLAIN, saved(tmp_path / 'a.pth', weights))(image()), model(image()))


EVA = dict(img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=3, num_classes=5, ref_feat_shape=(4, 4))


@torch.no_grad()
@pytest.mark.parametrize('outer', ['', 'visual.'], ids=['eva', 'eva_clip'])
@pytest.mark.parametrize('name', ['eva02_tiny_patch14_224', 'eva02_base_patch14_224', 'eva02_base_patch16_clip_224'])
def test_evas_own_names_are_read(tmp_path, name, outer):
    """https://github.com/baaivision/EVA, EVA-02/asuka/modeling_finetune.py, whose tiny and small models have queries,
    keys and values in one layer and the two of a gated FFN, and EVA-CLIP/rei/eva_clip/eva_vit_model.py."""
    model = shaken(timm.create_model(name, **EVA))
    gated = (('mlp.fc1', 'mlp.w12'), ) if 'tiny' in name else (('mlp.fc1_g', 'mlp.w1'), ('mlp.fc1_x', 'mlp.w2'))
    weights = renamed(model.state_dict(), *gated, ('mlp.fc2', 'mlp.w3'), ('mlp.norm', 'mlp.ffn_ln'),
                      ('attn.norm', 'attn.inner_attn_ln'), ('q_proj.bias', 'q_bias'), ('v_proj.bias', 'v_bias'))
    tables = {f'{place}rope.freqs_{kind}': torch.ones(16, 8) for kind in ('cos', 'sin')
              for place in ('', 'blocks.0.attn.', 'blocks.1.attn.')}
    weights = {outer + key: value for key, value in {**weights, **tables}.items()}
    weights['text.logit_scale' if outer else 'mask_token'] = torch.ones(1)
    arch = arch_of(name, model)
    assert_same(cait_mm.load(arch, saved(tmp_path / 'a.pth', {'model': weights}))(image()), model(image()))


MM = dict(img_size=(32, 32), patch_size=8, embed_dims=24, num_layers=2, num_heads=3, out_indices=(0, 1),
          final_norm=True)


@torch.no_grad()
@pytest.mark.parametrize('settings,fields', [
    ({}, {}), (dict(patch_bias=True, qkv_bias=False), {}), (dict(qkv_bias=False), dict(qkv_bias=False)),
    (dict(pre_norm=True), dict(pre_norm=True)), (dict(patch_norm=True), dict(embed_norm=True))],
    ids=['plain', 'biases', 'qkv', 'pre_norm', 'patch_norm'])
@pytest.mark.parametrize('outer', ['', 'backbone.'])
def test_mmsegmentations_vit_is_read(tmp_path, settings, fields, outer):
    """A segmentor's checkpoint, or that of a backbone, in ``cait_mm.backbone`` and in a config's ``init_cfg``."""
    VisionTransformer = pytest.importorskip('mmseg.models').VisionTransformer
    model, arch = shaken(VisionTransformer(**MM, **settings)), dict(PLAIN, norm_eps=1e-5, **fields)
    weights = {outer + key: value for key, value in model.state_dict().items()}
    if outer:
        weights['decode_head.conv_seg.weight'] = torch.ones(5, 24, 1, 1)
    path, wanted = saved(tmp_path / 'a.pth', {'state_dict': weights}), model(image())
    plain = cait_mm.backbone(arch, path, final_norm=True, out_indices=(0, 1))
    config = dict(type='CAITViT', arch=arch, final_norm=True, out_indices=(0, 1),
                  init_cfg=dict(type='Pretrained', checkpoint=path))
    registered = MODELS.build(config)
    registered.init_weights()
    for backbone in (plain, registered.eval()):
        for ours, theirs in zip(backbone(image()), wanted, strict=True):
            assert_same(ours, theirs)


@torch.no_grad()
@pytest.mark.parametrize('case', ['classifier', 'averaged', 'distilled', 'scaled', 'gated'])
def test_mmpretrains_vit_is_read(tmp_path, case):
    """https://github.com/open-mmlab/mmpretrain, models/backbones/vision_transformer.py."""
    settings, fields = {'classifier': ({}, {}),
                        'averaged': (dict(global_pool='avg'), dict(global_pool='avg', fc_norm=True, final_norm=False)),
                        'distilled': ({}, dict(dist_token=True)),
                        'scaled': (dict(init_values=0.1), dict(init_values=0.1)),
                        'gated': (dict(GATED, init_values=0.1), dict(SWIGLU, init_values=0.1))}[case]
    kind = VisionTransformerDistilled if case == 'distilled' else VisionTransformer
    model = shaken(kind(img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=3, num_classes=5, **settings))
    ffn = (('mlp.fc1', 'ffn.w12'), ('mlp.fc2', 'ffn.w3')) if case == 'gated' else (
        ('mlp.fc1', 'ffn.layers.0.0'), ('mlp.fc2', 'ffn.layers.1'))
    head = 'head.fc' if case == 'averaged' else 'head.layers.head'
    names = (('fc_norm', 'ln2'), ('norm', 'ln'), ('ln.', 'ln1.'), ('blocks.', 'layers.'), ('proj', 'projection'),
             ('attn.projection', 'attn.proj'), ('ls1.gamma', 'attn.gamma1.weight'), ('ls2.gamma', 'ffn.gamma2.weight'))
    weights = renamed({f'backbone.{key}': value for key, value in without_head(model).items()}, *names, *ffn)
    for part in ('weight', 'bias'):
        weights[f'{head}.{part}'] = getattr(model.head, part)
        if case == 'distilled':
            weights[f'head.layers.head_dist.{part}'] = getattr(model.head_dist, part)
    path = saved(tmp_path / 'a.pth', {'state_dict': weights, 'meta': {}})
    assert_same(cait_mm.load({**PLAIN, **fields}, path)(image()), model(image()))


@torch.no_grad()
@pytest.mark.parametrize('kind', ['mmseg', 'mmdet'])
@pytest.mark.parametrize('size', [(32, 32), (64, 96), (150, 61)])
def test_openmmlabs_swin_is_read_with_its_rule_of_windows(tmp_path, kind, size):
    SwinTransformer = pytest.importorskip(f'{kind}.models').SwinTransformer
    arch = dict(embed_dim=12, depths=(1, 2, 3, 2), num_heads=(1, 2, 2, 3), window_size=4)
    model = shaken(SwinTransformer(embed_dims=12, depths=arch['depths'], num_heads=arch['num_heads'], window_size=4))
    weights = {f'backbone.{key}': value for key, value in model.state_dict().items()}
    path, x = saved(tmp_path / 'a.pth', {'state_dict': weights}), torch.randn(1, 3, *size)
    ours = cait_mm.backbone(dict(arch, family='swin', window_rule='mm'), path)
    for one, other in zip(ours(x), model(x), strict=True):
        assert_same(one, other)
    earlier = get_arch({**ours.arch.to_dict(), 'window_rule': 'whole'})
    assert earlier == ours.arch and earlier.to_dict()['window_rule'] == 'mm'


def forms(tmp_path):
    """One file of every form that is told by its names, as (architecture, weights)."""
    for kind in ('dinov2_with_registers', 'dinov3_vit, gated', 'siglip_vision_model'):
        model, arch = hugging_face(kind)
        yield arch, model.state_dict()
    gated = vit(**DINOV2, **GATED)
    yield dict(PLAIN, **SWIGLU, init_values=0.1), renamed(gated.state_dict(), ('mlp.fc1', 'mlp.w12'),
                                                          ('mlp.fc2', 'mlp.w3'))
    model = dinov3()
    yield arch_of('dinov3', model), official_dinov3(model)


def test_damaged_weights_of_every_form_are_one_sentence(tmp_path):
    """Every tensor of the first block and around the blocks in turn: missing, flat, or short of a row."""
    for arch, weights in forms(tmp_path):
        backbone = classifier_backbone(Spec.dense(get_arch(arch)))
        for key in [key for key in weights if '.1.' not in key and 'mask' not in key and not key.startswith(LEFT)]:
            for other in (None, torch.ones(1), weights[key][:-1]):
                spoilt = {**weights, key: other}
                if other is None or other.shape == weights[key].shape:
                    del spoilt[key]
                if key == 'rope_embed.periods' and other is None:
                    continue
                try:
                    backbone.load_checkpoint(Checkpoint('a.pth', timm_names('a.pth', spoilt)[0]))
                except UserError as error:
                    assert '\n' not in str(error), key
                else:
                    raise AssertionError(f'{key} of the shape {None if other is None else tuple(other.shape)} is read')


LEFT = ('local_cls_norm', 'mask_token')


def test_two_tensors_of_one_name_are_refused(tmp_path):
    weights = {**chunked(vit(**DINOV2).state_dict()), 'blocks.0.norm1.bias': torch.ones(24)}
    with pytest.raises(UserError, match='has the names of DINOv2 and not its shapes .two tensors are blocks.0.norm1'):
        tokens_of(dict(PLAIN, init_values=0.1), saved(tmp_path / 'a.pth', weights))

"""Checkpoints in other projects' forms, against the models of these projects with random weights."""
import re

import pytest
import torch
from torch import nn

import cait_mm
from cait_mm.errors import UserError
from cait_mm.models.checkpoint import read_checkpoint

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
    return model.eval()


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

"""The front door on real weights where they are at hand, on random ones of the same names elsewhere."""
import pytest
import timm
import torch
from conftest import DATA, FAMILIES, plain_backbone, plain_classifier
from PIL import Image
from timed import table_of

import cait_mm
from cait_mm.errors import UserError
from cait_mm.macs import classifier_cost
from cait_mm.models import Backbone, Classifier
from cait_mm.pruning.imitate import kl
from cait_mm.spec import Spec

MERGE = ((4, 'horizontal'), (7, 'vertical'))


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """A file of DeiT-Tiny, and timm's model of the same weights."""
    theirs = timm.create_model('deit_tiny_patch16_224', pretrained=False).eval()
    path = DATA / 'deit_tiny_patch16_224' / 'deit_tiny_patch16_224_fp32.pth'
    if path.exists():
        theirs.load_state_dict(torch.load(path, weights_only=True)['model'])
    else:
        path = tmp_path_factory.mktemp('weights') / 'deit_tiny.pth'
        torch.save({'model': theirs.state_dict()}, path)
    return path, theirs


def test_a_classifier_is_loaded_and_computes_as_timms(weights):
    path, theirs = weights
    model, images = cait_mm.load('deit_tiny', path), torch.randn(2, 3, 224, 224)
    assert isinstance(model, Classifier) and type(model).__mro__[1] is torch.nn.Module
    with torch.no_grad():
        torch.testing.assert_close(model(images), theirs(images), atol=1e-4, rtol=1e-4)


def test_a_merged_one_is_saved_and_loaded_and_its_backbone_gives_dense_maps(weights, tmp_path):
    path, _ = weights
    model = cait_mm.load('deit_tiny', path, merge=MERGE)
    model.save(tmp_path / 'small.pth')
    again, images = cait_mm.load(tmp_path / 'small.pth'), torch.randn(1, 3, 224, 320)
    backbones = [cait_mm.backbone(source, out_indices=(3, 11)) for source in (tmp_path / 'small.pth', model)]
    backbones.append(cait_mm.backbone('deit_tiny', path, merge=MERGE, out_indices=(3, 11)))
    with torch.no_grad():
        assert torch.equal(model(images), again(images))
        maps = [backbone(images) for backbone in backbones]
    for backbone, (early, late) in zip(backbones, maps):
        assert isinstance(backbone, Backbone) and not backbone.training
        assert early.shape == late.shape == (1, 192, 14, 20)
        assert torch.equal(early, maps[0][0]) and torch.equal(late, maps[0][1])


def test_another_token_reducer_is_put_in_saved_and_carried_along(weights, tmp_path):
    path, _ = weights
    tokens, images = dict(type='EViT', keep=0.6, restore='unstructured'), torch.randn(1, 3, 224, 224)
    model = cait_mm.load('deit_tiny', path, tokens=tokens)
    assert model.spec.to_dict()['tokens'].items() >= tokens.items()
    model.save(tmp_path / 'small.pth')
    sources = [((tmp_path / 'small.pth',), {}), ((model,), {}), (('deit_tiny', path), dict(tokens=tokens))]
    backbones = [cait_mm.backbone(*source, out_indices=(3, 11), **more) for source, more in sources]
    with torch.no_grad():
        assert torch.equal(model(images), cait_mm.load(tmp_path / 'small.pth')(images))
        maps = [backbone(images)[1] for backbone in backbones]
    assert maps[0].shape == (1, 192, 14, 14) and all(torch.equal(item, maps[0]) for item in maps)
    with pytest.raises(UserError, match='is another model'):
        cait_mm.load(tmp_path / 'small.pth', tokens=dict(type='ToMe', r=3))
    with pytest.raises(UserError, match='leave merge out'):
        cait_mm.load('deit_tiny', path, merge=MERGE, tokens=tokens)


def test_a_summary_lists_the_changes(weights):
    path, _ = weights
    model, small = cait_mm.load('deit_tiny', path), cait_mm.load('deit_tiny', path, merge=MERGE)
    summary = cait_mm.summary(small, against=model)
    dense, cost = classifier_cost(Spec.dense('deit_tiny')), classifier_cost(small.spec)
    assert summary.reduction == 1 - cost.macs / dense.macs == cait_mm.summary(small).reduction
    assert summary.to_dict()['params'] == cost.params == sum(value.numel() for value in small.parameters())
    text = str(summary)
    assert f'MACs {dense.macs / 1e9:.3f} => {cost.macs / 1e9:.3f} G ({summary.reduction:.1%} saved)' in text
    assert '| 4     | horizontal   | 64' in text and text.count('\n') == 14
    assert cait_mm.summary(model).reduction == 0
    with pytest.raises(UserError, match='against is a custom, the model a deit_tiny'):
        cait_mm.summary(model, against=plain_classifier('deit'))


def test_a_summary_shows_widths_and_its_own_size_and_classes():
    wide = plain_classifier('deit', merge=(), img_size=(64, 128))
    narrow = plain_classifier('deit', merge=(), img_size=(64, 128), ffn_dim=[96, 40, 96])
    summary = cait_mm.summary(narrow, wide)
    assert '96 => 40' in str(summary) and str(summary).count('=>') == 3
    assert summary.cost_before == classifier_cost(wide.spec, (64, 128), 5)


@pytest.mark.parametrize('words,message', [
    (('deit_tiny', ), 'no weights are named for deit_tiny: give their file too'),
    ((FAMILIES['deit']['arch'], ), 'no weights are named for the architecture'),
    (('nowhere.pth', ), 'checkpoint nowhere.pth does not exist'),
    (('deit_tiny', 'nowhere.pth'), 'checkpoint nowhere.pth does not exist'),
])
def test_missing_files_are_errors(words, message):
    for ask in (cait_mm.load, cait_mm.backbone):
        with pytest.raises(UserError, match=message):
            ask(*words)


def test_an_unknown_architecture_and_option_are_named(weights):
    with pytest.raises(UserError, match='unknown architecture .*deit_huge.*use one of deit_tiny'):
        cait_mm.load('deit_huge', weights[0])
    with pytest.raises(TypeError, match='depth'):
        cait_mm.backbone('deit_tiny', weights[0], depth=3)


def test_the_surface_is_small():
    assert set(cait_mm.__all__) == {'CDCP', '__version__', 'backbone', 'compress', 'latency_table', 'load', 'summary',
                                    'tune'}


@pytest.fixture(params=['folder', 'tensor', 'list', 'loader with labels', 'loader of dicts'])
def images(request, tmp_path):
    """Six images in every form that compress takes."""
    if request.param == 'folder':
        for index in range(6):
            Image.effect_noise((70, 64), 60).convert('RGB').save(tmp_path / f'{index}.png')
        return tmp_path
    tensors = torch.randn(6, 3, 64, 64)
    return {'tensor': tensors, 'list': list(tensors), 'loader with labels': [(tensors[:4], None), (tensors[4:], None)],
            'loader of dicts': [dict(inputs=tensors, targets=None)]}[request.param]


def test_compression_takes_images_in_any_form(images):
    model = plain_classifier('deit', merge=())
    small = cait_mm.compress(model, images, target=0.4, num_images=6)
    summary = cait_mm.summary(small, against=model)
    assert small.spec.merges and small.provenance['calibration_images'] == 6
    selected = small.provenance['selected_reduction']
    assert selected >= 0.4 > summary.reduction > 0.3, 'padding costs'
    assert f'{selected:.1%} without padding' in str(summary) and summary.to_dict()['selected_reduction'] == selected


def test_a_speedup_is_a_budget_of_measured_time(monkeypatch, tmp_path):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    model, images = plain_classifier('deit', merge=()), torch.randn(6, 3, 64, 64)
    table = table_of(model.spec.arch, other=0.01)
    table.save(tmp_path / 'table.json')
    for latency in (table, tmp_path / 'table.json'):
        small = cait_mm.compress(model, images, speedup=1.8, latency=latency)
        assert table.dense / table.predict(small.spec) >= 1.8
    measured = cait_mm.latency_table(model, seconds=0, batch_size=2)
    assert measured.dense > 0 and measured.conditions['batch_size'] == 2
    inside = cait_mm.latency_table(torch.nn.Sequential(plain_backbone('deit', merge=(), out_indices=(0, 2))), seconds=0)
    assert inside.outputs == (0, 2) and inside.conditions['restore_mode'] == 'residual_linear'
    for budget in ({}, dict(target=0.4, speedup=2.)):
        with pytest.raises(UserError, match='give either `target`'):
            cait_mm.compress(model, images, **budget)
    with pytest.raises(UserError, match='a number above 1'):
        cait_mm.compress(model, images, speedup=0.5)


def test_a_loader_is_left_when_there_are_enough_images():
    def endless():
        while True:
            yield torch.randn(4, 3, 64, 64)

    small = cait_mm.compress(plain_classifier('deit', merge=()), endless(), 0.3, merge=(), num_images=6, pad_to=0)
    assert small.provenance['calibration_images'] == 8 and cait_mm.summary(small).reduction >= 0.3


@pytest.mark.parametrize('images,message', [
    (3, 'neither a folder nor tensors'), ('nowhere', 'no images below nowhere'), ([], 'no images to calibrate on'),
    (['a.png'], 'tensors .* are wanted'), (torch.zeros(2, 3, 64, 64, dtype=torch.uint8), 'normalised floats'),
    (torch.randn(2, 4, 64, 64), 'images have 4 channels'), ([()], 'tensors .* are wanted'),
])
def test_a_source_without_images_is_an_error(images, message):
    with pytest.raises(UserError, match=message):
        cait_mm.compress(plain_classifier('deit', merge=()), images, 0.3, merge=())


def test_a_model_is_compressed_and_tuned_in_one_call():
    model = plain_classifier('deit', merge=()).eval()
    for parameter in model.head.parameters():
        torch.nn.init.normal_(parameter)
    images = [torch.randn(8, 3, 64, 64) for _ in range(6)]
    options = dict(target=0.5, merge=FAMILIES['deit']['merge'])
    plain = cait_mm.compress(model, images, **options)
    tuned = cait_mm.compress(model, images, **options, tune=20, batch_size=8, lr=3e-4)
    record = tuned.provenance['tuned']
    assert record['after'] < record['before'] and record['images'] == 44 and record['held_out'] == 4
    assert plain.spec == tuned.spec and 'tuned' not in plain.provenance
    assert cait_mm.tune(plain, model, images, 20, batch_size=8, lr=3e-4).after == record['after'], 'the same in two'
    with pytest.raises(UserError, match='has 7 classes, the model to tune 5'):
        cait_mm.tune(plain, plain_classifier('deit', num_classes=7), images, 6)
    with pytest.raises(UserError, match='tensors of one size'):
        cait_mm.tune(plain, model, [torch.randn(32, 3, 64, 64), torch.randn(32, 3, 64, 48)], 6)


class Segmentor(torch.nn.Module):
    """Anybody's module with a backbone: images to logits (B, 5, H / 16, W / 16)."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.head = plain_backbone('deit', merge=(), out_indices=(1, 2)), torch.nn.Conv2d(24, 5, 1)
        for name, parameter in self.named_parameters():
            if 'norm' not in name:
                torch.nn.init.normal_(parameter, std=0.1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(sum(self.encoder(images)))


def test_any_module_that_gives_logits_is_compressed_and_tuned_in_one_call():
    model = Segmentor().eval()
    images = torch.rand(48, 3, 4, 4).repeat_interleave(16, 2).repeat_interleave(16, 3) * 4 - 2
    options = dict(target=0.35, merge=FAMILIES['deit']['merge'])
    plain = cait_mm.compress(model, images, **options)
    tuned = cait_mm.compress(model, images, **options, tune=40, lr=1e-4)

    @torch.no_grad()
    def apart(student: torch.nn.Module) -> float:
        return float(kl(student(images), model(images)))

    assert apart(tuned) < 0.9 * apart(plain) and not torch.equal(tuned.head.weight, model.head.weight)
    result = cait_mm.tune(plain, model, images, 40, lr=1e-4)
    assert torch.equal(plain.head.weight, tuned.head.weight) and result.after < result.before, 'the same in two'


def test_a_module_that_gives_no_logits_is_not_tuned():
    model = Segmentor()
    for outputs, message in ((lambda images: dict(loss=0.), 'Segmentor gives .* no logits'),
                             (lambda images, labels: 0., 'cannot be called with images alone')):
        model.forward = outputs
        with pytest.raises(UserError, match=message):
            cait_mm.compress(model, torch.randn(48, 3, 64, 64), 0.3, tune=2)

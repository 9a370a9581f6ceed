import copy

import pytest
import timm
import torch
import torch.nn.functional as F

from cait_mm.classification import Classifier, MixupPreprocessor, TimmTeacher, TopK
from cait_mm.errors import UserError

ARCH = dict(embed_dim=24, depth=2, num_heads=3, img_size=(32, 32))
STUDENT = dict(type='CAITDeiT', arch=ARCH)


def teacher(classes=5):
    return dict(type='Classifier', backbone=dict(type='CAITDeiT', arch=ARCH), num_classes=classes)


def test_the_loss_is_the_papers():
    model = Classifier(STUDENT, num_classes=5, distillation=dict(alpha=0.25, teacher=teacher()))
    image, target = torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 3])
    losses = model(image, target, mode='loss')
    logits, taught = model(image), model.distillation.labels(image)
    torch.testing.assert_close(losses['loss_label'], 0.75 * F.cross_entropy(logits, target))
    torch.testing.assert_close(losses['loss_teacher'], 0.25 * F.cross_entropy(logits, taught))
    assert torch.equal(taught, model.distillation.teacher()(image).argmax(1))


def test_label_smoothing_and_mixed_labels():
    smooth = Classifier(STUDENT, num_classes=5, label_smoothing=0.1)
    image, target = torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 3])
    torch.testing.assert_close(smooth(image, target, mode='loss')['loss'],
                               F.cross_entropy(smooth(image), target, label_smoothing=0.1))
    mixed = torch.rand(4, 5).softmax(1)
    torch.testing.assert_close(smooth(image, mixed, mode='loss')['loss'], F.cross_entropy(smooth(image), mixed))


def test_the_teacher_is_in_no_state_dict_and_is_not_copied():
    model = Classifier(STUDENT, num_classes=5, distillation=dict(alpha=0.5, teacher=teacher()))
    plain = Classifier(STUDENT, num_classes=5)
    model(torch.randn(2, 3, 32, 32), torch.tensor([0, 1]), mode='loss')
    assert model.state_dict().keys() == plain.state_dict().keys()
    assert copy.deepcopy(model).distillation is model.distillation
    assert not any(parameter.requires_grad for parameter in model.distillation.teacher().parameters())


def test_the_default_teacher_is_the_dense_model(tmp_path):
    dense = Classifier(STUDENT, num_classes=5)
    dense.init_weights()
    torch.save(dense.state_dict(), tmp_path / 'dense.pth')
    init = dict(type='Pretrained', checkpoint=str(tmp_path / 'dense.pth'))
    model = Classifier({**STUDENT, 'merge': ((1, 'horizontal'), ), 'init_cfg': init}, num_classes=3,
                       head_rows=[4, 0, 2], distillation=dict(alpha=0.5))
    model.init_weights()
    image = torch.randn(4, 3, 32, 32)
    torch.testing.assert_close(model.distillation.teacher()(image), dense.eval()(image)[:, [4, 0, 2]])
    narrow = Classifier({**STUDENT, 'qk_dim': 5}, num_classes=3, head_rows=[4, 0, 2],
                        distillation=dict(alpha=0.5, teacher=str(tmp_path / 'dense.pth')))
    torch.testing.assert_close(narrow.distillation.teacher()(image), dense(image)[:, [4, 0, 2]])
    assert model.backbone.spec.merges and not torch.allclose(model.eval()(image), dense(image)[:, [4, 0, 2]])


@pytest.mark.parametrize('arguments,message', [
    (dict(distillation=dict(alpha=0.5)), 'needs a teacher'),
    (dict(distillation=dict(alpha=1.5, teacher=teacher())), 'a share between 0 and 1'),
    (dict(distillation=dict(alpha=0.5, teacher=teacher(7))), 'the teacher has 7 classes, the student 5'),
    (dict(distillation=dict(alpha=0.5, teacher=dict(type='TimmTeacher', name='resnet10t'))), 'has no weights'),
    (dict(distillation=dict(alpha=0.5, teacher=dict(type='TimmTeacher', name='nonet', checkpoint='a'))),
     'timm cannot make teacher nonet'),
    (dict(head_rows=[1, 2]), 'names 2 rows for num_classes=5'),
    *((dict(distillation=dict(alpha=alpha, teacher=teacher())), 'a share between 0 and 1')
      for alpha in (-1, float('nan'), 'x', True)),
    *((dict(label_smoothing=smoothing), 'label_smoothing=') for smoothing in (-1, 1, 1.5, float('nan'), 'x', None)),
])
def test_models_that_cannot_be_tuned_are_errors(arguments, message):
    with pytest.raises(UserError, match=message):
        Classifier(STUDENT, num_classes=5, **arguments).init_weights()


def test_a_timm_model_as_teacher(tmp_path):
    theirs = timm.create_model('vit_tiny_patch16_224.augreg_in21k_ft_in1k', pretrained=False, num_classes=5).eval()
    torch.save(theirs.state_dict(), tmp_path / 'a.pth')
    ours = TimmTeacher('vit_tiny_patch16_224.augreg_in21k_ft_in1k', checkpoint=str(tmp_path / 'a.pth'), num_classes=5)
    ours.init_weights()
    ours.eval()
    pixels = torch.rand(2, 3, 224, 224)
    imagenet = (pixels - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor(
        [0.229, 0.224, 0.225]).view(3, 1, 1)
    with torch.no_grad():  # this model was trained on images normalised to -1..1
        torch.testing.assert_close(ours(imagenet), theirs(2 * pixels - 1), atol=1e-4, rtol=1e-4)
        assert ours(imagenet[..., :192, :192]).shape == (2, 5), 'images of another size are resized for it'
    with pytest.raises(UserError, match='does not fit teacher'):
        TimmTeacher('resnet10t', checkpoint=str(tmp_path / 'a.pth')).init_weights()


def test_mixup_mixes_in_training_only_and_needs_pairs():
    mix = MixupPreprocessor(dict(mixup_alpha=0.8, cutmix_alpha=1.0, label_smoothing=0.1, num_classes=5))
    data = dict(inputs=torch.randn(4, 3, 8, 8), targets=torch.tensor([0, 1, 2, 3]))
    mixed = mix(data, training=True)
    assert mixed['targets'].shape == (4, 5) and mixed['targets'].sum(1).allclose(torch.ones(4))
    assert torch.equal(mix(data)['targets'], data['targets'])
    with pytest.raises(UserError, match='even batch'):
        mix(dict(inputs=torch.randn(3, 3, 8, 8), targets=torch.tensor([0, 1, 2])), training=True)


@pytest.mark.parametrize('arguments', [
    dict(mixup_alpha=-1), dict(mixup_alpha=float('nan')), dict(cutmix_alpha=float('inf')), dict(prob=1.5),
    dict(switch_prob=-0.1), dict(label_smoothing=1), dict(num_classes=0), dict(num_classes=2.5), dict(speed=3),
    dict(mixup_alpha=0, cutmix_alpha=0), dict(mixup_alpha='x'), dict(cutmix_minmax=(0.1, ))])
def test_mixup_that_makes_no_sense_is_a_sentence(arguments):
    with pytest.raises(UserError, match='data_preprocessor.mixup'):
        MixupPreprocessor(arguments)


def test_top_k():
    metric = TopK(topk=(1, 2, 9))
    scores = torch.tensor([[.1, .7, .2], [.5, .3, .2], [.2, .3, .5]])
    samples = [dict(scores=row, target=torch.tensor(label)) for row, label in zip(scores, (1, 1, 0))]
    metric.process({}, samples[:2])
    metric.process({}, samples[2:])
    percent = metric.evaluate(3)
    assert percent == {'top1': pytest.approx(100 / 3), 'top2': pytest.approx(200 / 3), 'top9': pytest.approx(100)}


@pytest.mark.parametrize('name', ['regnety_002', 'convnext_atto', 'swin_tiny_patch4_window7_224', 'resnet10t',
                                  'mobilenetv3_small_050', 'deit_tiny_distilled_patch16_224', 'fastvit_t8',
                                  'xcit_nano_12_p16_224', 'efficientvit_b0'])
def test_timm_models_of_every_kind_of_head_teach(tmp_path, name):
    """``head.fc`` alone is the classifier of 471 of timm 1.0.31's 1371 models, DeiT's own teacher among them."""
    theirs = timm.create_model(name, pretrained=False, num_classes=5)
    torch.save({'model': theirs.state_dict()}, tmp_path / 'a.pth')
    ours = TimmTeacher(name, checkpoint=str(tmp_path / 'a.pth'), num_classes=5)
    ours.init_weights()
    for key, value in theirs.state_dict().items():
        assert torch.equal(ours.model.state_dict()[key], value), key


def test_a_teachers_official_names_are_read_where_timm_knows_them(tmp_path):
    theirs = timm.create_model('swin_tiny_patch4_window7_224', pretrained=False, num_classes=5)
    official = {key.replace('head.fc.', 'head.'): value for key, value in theirs.state_dict().items()}
    official = {key.replace('layers.1.downsample', 'layers.0.downsample')
                .replace('layers.2.downsample', 'layers.1.downsample')
                .replace('layers.3.downsample', 'layers.2.downsample'): value for key, value in official.items()}
    official['layers.0.blocks.0.attn.relative_position_index'] = torch.zeros(49, 49, dtype=torch.int64)
    torch.save({'model': official}, tmp_path / 'a.pth')
    ours = TimmTeacher('swin_tiny_patch4_window7_224', checkpoint=str(tmp_path / 'a.pth'), num_classes=5)
    ours.init_weights()
    assert torch.equal(ours.model.head.fc.weight, theirs.head.fc.weight)

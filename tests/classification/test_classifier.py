import pytest
import timm
import torch
from conftest import real_data
from PIL import Image
from timm.data import create_transform

from cait_mm.classification import Classifier
from cait_mm.errors import UserError
from cait_mm.pruning.fold import channel_scores
from cait_mm.pruning.start import calibrate_compactors

IMAGES = 48


@pytest.mark.parametrize('name,kind,arch', [('deit_tiny_patch16_224', 'CAITDeiT', 'deit_tiny'),
                                            ('swin_tiny_patch4_window7_224', 'CAITSwin', 'swin_tiny')])
def test_equals_timms_classifier(tmp_path, name, kind, arch):
    theirs = timm.create_model(name, pretrained=False, num_classes=7).eval()
    torch.nn.init.normal_(theirs.get_classifier().weight)
    torch.save({'model': theirs.state_dict()}, tmp_path / 'a.pth')
    ours = Classifier(dict(type=kind, arch=arch), num_classes=7).eval()
    ours.load_pretrained(str(tmp_path / 'a.pth'))
    image = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(ours(image), theirs(image), atol=1e-4, rtol=1e-4)


def test_a_head_of_another_size_is_named(tmp_path):
    theirs = timm.create_model('deit_tiny_patch16_224', pretrained=False, num_classes=7)
    torch.save({'model': theirs.state_dict()}, tmp_path / 'a.pth')
    with pytest.raises(UserError, match=r'has 7 classes, model.num_classes is 5'):
        Classifier(dict(type='CAITDeiT', arch='deit_tiny'), num_classes=5).load_pretrained(str(tmp_path / 'a.pth'))


def test_mmpretrains_head_is_refused_where_it_would_be_left_out():
    model = Classifier(dict(type='CAITDeiT', arch=dict(embed_dim=24, depth=2, num_heads=3)), num_classes=5)
    state = {key.replace('head.', 'head.layers.head.'): value for key, value in model.state_dict().items()}
    with pytest.raises(UserError, match='^head.layers.head.weight is the head of another project.* init_cfg'):
        model.load_state_dict(state, strict=False)


@pytest.mark.parametrize('merge,least', [((), 0.75), (((7, 'horizontal'), (9, 'vertical')), 0.62)])
def test_real_weights_classify_real_images_before_and_after_merging(deit_tiny, merge, least):
    # 85.6 % and 78.4 % on all 139 images.
    folder = real_data('imagenet1k_samples')
    pairs = [line.split() for line in (folder / 'labels.txt').read_text().splitlines()][:IMAGES]
    transform = create_transform(224, interpolation='bicubic', crop_pct=224 / 256)
    images = torch.stack([transform(Image.open(folder / path).convert('RGB')) for path, _ in pairs])
    labels = torch.tensor([int(label) for _, label in pairs])
    model = Classifier(dict(type='CAITDeiT', arch='deit_tiny', merge=merge)).eval()
    model.load_pretrained(str(deit_tiny))
    with torch.inference_mode():
        right = (model(images).argmax(1) == labels).float().mean().item()
    assert right >= least


def test_a_calibrated_start_changes_the_order_of_channels_and_not_the_function():
    torch.manual_seed(0)
    arch = dict(embed_dim=24, depth=2, num_heads=3, img_size=(64, 64))
    model = Classifier(dict(type='CAITDeiT', arch=arch), num_classes=5, cdcp=dict(target=0.3)).eval()
    images = [torch.randn(4, 3, 64, 64) for _ in range(3)]
    before = model(images[0])
    calibrate_compactors(model.backbone, images, num_images=12)
    torch.testing.assert_close(model(images[0]), before, atol=1e-4, rtol=1e-4)
    norms = channel_scores(model.backbone)[0]
    assert norms.ffn.min() >= 0.499 and norms.ffn.std() > 0.1 and (norms.q.diff(dim=1) < 1e-6).all()


def test_a_pruned_start_is_refused_by_cdcp():
    with pytest.raises(UserError, match='is pruned already.*model.cdcp=None'):
        Classifier(dict(type='CAITDeiT', arch='deit_tiny', qk_dim=60), cdcp=dict(target=0.3))

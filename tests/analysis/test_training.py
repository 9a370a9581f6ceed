import torch
from conftest import ROOT

from cait_mm.analysis.modes import Mode
from cait_mm.analysis.training import random_batch
from cait_mm.tasks import load_model, task_of

CONFIG = str(ROOT / 'configs/small/compress_cait_deit_scenes.py')


def test_a_classifiers_batch_has_its_channels_and_size():
    model = load_model(CONFIG, {'model.backbone.in_channels': 4})
    batch = random_batch(model, 2, (512, 512), Mode())
    assert batch['inputs'].shape == (2, 4, *model.backbone.img_size) and batch['targets'].shape == (2, )
    assert task_of(model).in_channels == 4 and torch.isfinite(model(**batch, mode='loss')['loss'])

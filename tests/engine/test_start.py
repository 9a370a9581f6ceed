import pytest
from mmengine.config import Config

from cait_mm.engine import start
from cait_mm.errors import UserError


def test_weights_that_a_run_starts_from_are_looked_for_wherever_the_model_names_them(tmp_path):
    (tmp_path / 'here.pth').touch()
    begin = dict(type='Pretrained', checkpoint=str(tmp_path / 'here.pth'))
    backbone = dict(type='CAITDeiT', init_cfg=begin)
    start.require_weights(Config(dict(model=dict(backbone=backbone))))
    start.require_weights(Config(dict(model=dict(backbone=dict(init_cfg=dict(
        type='Pretrained', checkpoint='https://host/a.pth'))))))
    with pytest.raises(UserError, match='none.pth does not exist.*--cfg-options model.backbone.init_cfg.checkpoint'):
        start.require_weights(Config(dict(model=dict(backbone=dict(init_cfg=dict(begin, checkpoint='none.pth'))))))
    taught = dict(backbone=backbone, distillation=dict(alpha=0.5, teacher='none.pth'))
    with pytest.raises(UserError, match='--cfg-options model.distillation.teacher=FILE'):
        start.require_weights(Config(dict(model=taught)))
    start.require_weights(Config(dict(model=dict(taught, distillation=dict(alpha=0, teacher='none.pth')))))

import pytest
from mmengine.config import Config

from cait_mm.engine.tta import SEG_RATIOS, augmented, use_tta
from cait_mm.errors import UserError

PIPELINE = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(2048, 512), keep_ratio=True),
            dict(type='LoadAnnotations'), dict(type='PackSegInputs', meta_keys=('img_path', ))]


def test_pipeline_gives_every_size_flipped_and_not():
    load, views = augmented(PIPELINE, (0.5, 1.0))
    sizes, flips, labels, pack = views['transforms']
    assert load == PIPELINE[0] and [step['scale'] for step in sizes] == [(1024, 256), (2048, 512)]
    assert [step['prob'] for step in flips] == [0., 1.] and labels == [PIPELINE[2]]
    assert pack[0]['meta_keys'] == ('img_path', 'flip', 'flip_direction') and PIPELINE[3]['meta_keys'] == ('img_path', )


def test_pipeline_without_resize_resizes_by_a_factor():
    load, views = augmented([PIPELINE[0], *PIPELINE[2:]], (1.5, ))
    assert views['transforms'][0] == [dict(type='Resize', scale_factor=1.5, keep_ratio=True)]
    assert len(views['transforms']) == 4 and load == PIPELINE[0]


def config(**changes):
    return Config(dict(default_scope='mmseg', model=dict(type='EncoderDecoder'),
                       test_dataloader=dict(dataset=dict(type='CamVidDataset', pipeline=PIPELINE)), **changes))


def test_segmentor_is_wrapped_and_tested_at_mmsegs_sizes():
    cfg = config()
    use_tta(cfg)
    assert cfg.model.type.endswith('SegmentorTTAModel') and cfg.model.module.type == 'EncoderDecoder'
    assert len(cfg.test_dataloader.dataset.pipeline[1].transforms[0]) == len(SEG_RATIOS)


def test_a_configs_own_augmentation_is_used():
    own = [dict(type='Own')]
    cfg = config(tta_model=dict(type='OwnModel'), tta_pipeline=own)
    use_tta(cfg, (1.0, ))
    assert cfg.model.type == 'OwnModel' and cfg.test_dataloader.dataset.pipeline == own


def test_wrong_use_is_a_sentence():
    with pytest.raises(UserError, match='for segmentors and detectors'):
        use_tta(Config(dict(default_scope='mmengine', model={})))
    with pytest.raises(UserError, match='sizes above 0'):
        augmented(PIPELINE, (0., ))
    with pytest.raises(UserError, match='tta_pipeline'):
        augmented(PIPELINE[:-1], (1., ))
    with pytest.raises(UserError, match='Resize with a scale'):
        augmented([PIPELINE[0], dict(type='Resize', scale_factor=2.), PIPELINE[-1]], (1., ))

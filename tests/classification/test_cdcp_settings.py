import pytest

from cait_mm.classification.cdcp_settings import CDCPSettings
from cait_mm.errors import UserError


@pytest.mark.parametrize('config,message', [
    (dict(), 'no target'), (dict(target=0.5, speed=3), 'unknown speed'),
    (dict(target=1.5), r'^model\.cdcp\.target=1\.5: it has to be a share between 0 and 1'),
    (dict(target=0.5, rule='l0'), r'model\.cdcp\.rule=.l0.: it has to be lasso or proximal'),
    (dict(target=0.5, interval=0), r'model\.cdcp\.interval=0: it has to be a positive whole'),
    (dict(target=0.5, start='zero'), r'model\.cdcp\.start=.zero.: it has to be identity or calibrated')])
def test_impossible_settings_are_sentences(config, message):
    with pytest.raises(UserError, match=message):
        CDCPSettings.from_config(config)


@pytest.mark.parametrize('name,values', {
    'start_epoch': [-1, float('nan'), float('inf'), 'x', None], 'calibration_images': [0, 2.5, float('nan')]}.items())
def test_numbers_that_make_no_sense_are_sentences(name, values):
    for value in values:
        with pytest.raises(UserError, match=rf'^model\.cdcp\.{name}=.*: it has to be'):
            CDCPSettings.from_config({'target': 0.5, name: value})


def test_the_method_gets_its_settings_with_the_papers_defaults():
    settings = CDCPSettings.from_config(dict(target=0.5, start='calibrated'))
    assert settings.of_the_method() == dict(
        target=0.5, rule='lasso', strength=1e-5, shrink=None, step=0.00025, interval=25, head_consistency=True,
        attention_consistency=True, align=1, allow_remnants=False)

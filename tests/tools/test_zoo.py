"""The model zoo lists every config once, counts it as it is, and keeps the paper's figures apart from ours."""
import json
import re
import runpy

import pytest
import yaml
from conftest import ROOT

ZOO = runpy.run_path(str(ROOT / 'tools/evidence/zoo.py'))
METAFILES = {path.stem: yaml.safe_load(path.read_text())['Models']
             for path in (ROOT / 'configs/metafiles').glob('*.yml')}
MODELS = [model for models in METAFILES.values() for model in models]


def test_every_config_is_in_the_metafile_of_its_family():
    listed = sorted((family, model['Name']) for family, models in METAFILES.items() for model in models)
    assert listed == sorted((ZOO['family_of'](path.stem), path.stem) for path in (ROOT / 'configs').glob('*.py'))
    assert all((ROOT / model['Config']).is_file() for model in MODELS)
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())['Import']
    assert index == ['configs/metafile.yml', *(f'configs/metafiles/{family}.yml' for family in ZOO['FAMILIES'])]


def test_the_page_is_what_the_metafiles_say(tool, tmp_path):
    status, _, err = tool('evidence/zoo.py', '--out', tmp_path, '--json', tmp_path / 'zoo.json')
    assert status == 0 and 'counting' not in err
    assert (tmp_path / 'README.md').read_text() == (ROOT / 'configs/README.md').read_text()
    assert set(json.loads((tmp_path / 'zoo.json').read_text())) == set(METAFILES)


@pytest.mark.parametrize('name', [
    'upernet_atme_deit_t_camvid', 'mask_rcnn_cait_deit_t_coco', 'compress_swin_imagefolder',
    'compress_cait_deit_s_imagenet', 'cascade_decoder_swin_polyp'])
def test_counts_are_those_of_the_config(name):
    model = next(model for model in MODELS if model['Name'] == name)
    found = ZOO['count'](name)
    assert {key: model['Metadata'][key] for key in found} == found


def test_papers_figures_belong_to_configs_and_stay_out_of_the_metafiles():
    assert set(ZOO['PAPER']) <= {model['Name'] for model in MODELS}
    for result in (result for model in MODELS for result in model.get('Results', ())):
        assert set(result) == {'Task', 'Dataset', 'Metrics'} and re.search(r'\d', result['Dataset']), result

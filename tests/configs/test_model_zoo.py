"""The model zoo lists every config once, counts it as it is, and keeps the paper's figures apart from measured ones."""
import json
import re
import runpy

import pytest
import yaml
from conftest import CONFIGS, ROOT

ZOO = runpy.run_path(str(ROOT / '.dev_scripts/model_zoo.py'))
METAFILES = {path.stem: yaml.safe_load(path.read_text())['Models']
             for path in (ROOT / 'configs/metafiles').glob('*.yml')}
MODELS = {model['Name']: model for models in METAFILES.values() for model in models}
KINDS = '|'.join(['atme', 'cait', *ZOO['RIVALS']])
TWINS = [name for name in CONFIGS if re.match(f'({"|".join(ZOO["HEADS"])})_({KINDS})_', name)]


def test_every_config_is_in_the_metafile_of_its_head():
    listed = sorted((head, model['Name']) for head, models in METAFILES.items() for model in models)
    assert listed == sorted((ZOO['parts_of_name'](name).head, name) for name in CONFIGS)
    assert all(ROOT / model['Config'] == CONFIGS[name] for name, model in MODELS.items())
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())['Import']
    assert index == ['configs/metafile.yml', *(f'configs/metafiles/{head}.yml' for head in ZOO['HEADS'])]


def test_no_two_configs_have_the_same_name():
    """``mim train cait_mm NAME.py`` looks for it in all folders and refuses two."""
    names = sorted(path.name for path in (ROOT / 'configs').rglob('*.py') if '_base_' not in path.parts)
    assert names == sorted(path.name for path in CONFIGS.values())


def test_the_page_agrees_with_the_metafiles(tool, tmp_path):
    status, _, err = tool('../.dev_scripts/model_zoo.py', '--out', tmp_path, '--json', tmp_path / 'zoo.json')
    assert status == 0 and 'counting' not in err
    page = (tmp_path / 'README.md').read_text()
    assert page == (ROOT / 'configs/README.md').read_text()
    assert set(json.loads((tmp_path / 'zoo.json').read_text())) == set(METAFILES)
    linked = re.findall(r'\]\(([\w/]+\.py)\)', page)
    assert sorted(linked) == sorted(str(path.relative_to(ROOT / 'configs')) for path in CONFIGS.values())


@pytest.mark.parametrize('name', [
    'upernet_atme_deit_t_camvid', 'mask_rcnn_cait_deit_t_coco', 'swin_imagefolder',
    'compress_cait_deit_s_imagenet', 'cascade_decoder_swin_polyp', 'linear_atme_dinov3_camvid',
    'upernet_cait_dinov2_camvid', 'vitdet_cait_vit_t_coco'])
def test_counts_are_those_of_the_config(name):
    counted = ZOO['count'](name)
    assert {key: MODELS[name]['Metadata'][key] for key in counted} == counted


@pytest.mark.parametrize('name', TWINS)
def test_the_comment_of_a_twin_has_its_counts(name):
    comment = CONFIGS[name].read_text().splitlines()[0]
    twin, dense = (MODELS[key]['Metadata'] for key in (name, re.sub(f'_({KINDS})_(?=[dslv])', '_', name, count=1)))
    if twin.get('Encoder FLOPs') is None:
        assert comment.endswith('; the compressed checkpoint decides the widths.')
    else:
        numbers = f'{twin["Encoder FLOPs"] / 1e9:.2f} of {dense["Encoder FLOPs"] / 1e9:.2f} GMACs at {dense["Input"]}'
        assert comment.endswith(f'; the encoder takes {numbers}.')


def test_papers_figures_belong_to_configs_and_stay_out_of_the_metafiles():
    assert set(ZOO['PAPER']) <= set(MODELS)
    for result in (result for model in MODELS.values() for result in model.get('Results', ())):
        assert set(result) == {'Task', 'Dataset', 'Metrics'} and re.search(r'\d', result['Dataset']), result


def test_the_page_of_speeds_has_the_counts_of_plain_vits():
    rows = re.findall(r'^\| `(\w+)` \| ([\dx]+) \| (.*?) \| (.*?) \| (.*?) \| (.*?) \|$',
                      (ROOT / 'docs/performance.md').read_text(), re.MULTILINE)
    large = {name for name in MODELS if re.search(r'(dinov\d_[sb]|vit_b)_', name)}
    assert {f'{head}_{kind}{rest}' for head, rest in (row[0].split('_', 1) for row in rows)
            for kind in ('', 'atme_', 'cait_')} == large
    for name, size, *cells in rows:
        head, rest = name.split('_', 1)
        dense, *twins = (MODELS[f'{head}_{kind}{rest}']['Metadata'] for kind in ('', 'atme_', 'cait_'))
        assert size == dense['Input'] and cells[:3] == [
            f'{model["Encoder FLOPs"] / 1e9:.1f} / {model["FLOPs"] / 1e9:.1f}' for model in (dense, *twins)]
        saved = [f'{1 - twin["Encoder FLOPs"] / dense["Encoder FLOPs"]:.0%}'.replace('%', ' %') for twin in twins]
        assert cells[3] == ', '.join(saved)

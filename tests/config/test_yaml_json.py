"""YAML and JSON configs hold values: nothing in them is run, whatever way they are read."""
import json

import mmengine
import pytest
from mmengine.config import Config

from cait_mm.config.load import load_config
from cait_mm.errors import UserError

TAGS = ['!!python/object/apply:os.system ["touch {}"]', '!!python/object/new:os.system ["touch {}"]',
        '!!python/object/apply:subprocess.check_output [["touch", "{}"]]',
        '!!python/object/apply:builtins.eval ["__import__(\'os\').system(\'touch {}\')"]']


def evil(tmp_path, tag):
    return tag.replace('{}', str(tmp_path / 'made'))


@pytest.mark.parametrize('tag', TAGS)
@pytest.mark.parametrize('suffix', ['yaml', 'yml'])
def test_a_tag_of_python_is_a_sentence_and_is_not_run(tmp_path, tag, suffix):
    path = tmp_path / f'evil.{suffix}'
    path.write_text(f'model:\n  type: {evil(tmp_path, tag)}\n')
    with pytest.raises(UserError, match=r'cannot be read: its YAML asks for more than values .*: remove the tag'):
        load_config(str(path))
    assert not (tmp_path / 'made').exists()


@pytest.mark.parametrize('base', ["_base_ = './evil.yml'\n", "_base_ = ['./evil.yml']\n"])
def test_nor_in_a_base(tmp_path, base):
    (tmp_path / 'evil.yml').write_text(f'a: {evil(tmp_path, TAGS[0])}\n')
    (tmp_path / 'config.py').write_text(base)
    (tmp_path / 'config.yaml').write_text('_base_: ./evil.yml\n')
    for name in ('config.py', 'config.yaml'):
        with pytest.raises(UserError, match='more than values'):
            load_config(str(tmp_path / name))
    assert not (tmp_path / 'made').exists()


def test_nor_by_mmengine_itself(tmp_path):
    path = tmp_path / 'evil.yaml'
    path.write_text(f'a: {evil(tmp_path, TAGS[0])}\n')
    for read in (Config.fromfile, mmengine.load):
        with pytest.raises(UserError):
            read(str(path))
    assert not (tmp_path / 'made').exists()


def test_a_config_that_mmengine_dumped_is_read_as_it_was(tmp_path):
    config = Config(dict(a=(1, (2., 'x')), b=dict(c=[None, True, {'d': 'e'}]), default_scope='mmengine'))
    for suffix in ('yaml', 'json'):
        config.dump(str(tmp_path / f'c.{suffix}'))
    assert load_config(str(tmp_path / 'c.yaml')).to_dict() == config.to_dict()
    assert load_config(str(tmp_path / 'c.json')).b == config.b


@pytest.mark.parametrize('name', ['os.system', 'subprocess.Popen', 'builtins.exec', 'mmengine.fileio.load',
                                  'torch.load', 'torch.hub.load', 'mmseg.apis.MMSegInferencer',
                                  'mmengine.runner.Runner'])
@pytest.mark.parametrize('suffix', ['json', 'yaml'])
def test_a_type_of_another_kind_is_a_sentence(tmp_path, name, suffix):
    path = tmp_path / f'config.{suffix}'
    content = {'custom_hooks': [{'type': name, 'command': f'touch {tmp_path}/made'}]}
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=f"custom_hooks.0.type='{name}': a config of YAML or JSON may name only"):
        load_config(str(path))
    assert not (tmp_path / 'made').exists()


def test_parts_of_the_libraries_may_be_named_by_their_path(tmp_path):
    path = tmp_path / 'config.json'
    types = ['cait_mm.datasets.camvid.CamVidDataset', 'mmdet.MSDeformAttnPixelDecoder', 'torch.optim.AdamW', 'AdamW',
             'mmcv.transforms.Resize', 'mmengine.hooks.IterTimerHook']
    path.write_text(json.dumps({'parts': [{'type': name} for name in types]}))
    assert [part.type for part in load_config(str(path)).parts] == types


@pytest.mark.parametrize('text,message', [
    ('a: [1, 2', 'it is no YAML .*line'), ('- 1\n- 2\n', 'it holds no keys'), ('', 'it holds no keys'),
    ('3', 'it holds no keys'), ('a: &a\n  b: *a\n', 'aliases expand'),
    ('\n'.join(['a0: &a0 [x, x, x, x, x, x, x, x, x]'] + [
        f'a{i}: &a{i} [{", ".join([f"*a{i - 1}"] * 9)}]' for i in range(1, 9)]), 'aliases expand')])
def test_other_yaml_is_a_sentence(tmp_path, text, message):
    path = tmp_path / 'config.yaml'
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        load_config(str(path))


@pytest.mark.parametrize('text', ['raise SystemExit(0)', 'import sys; sys.exit(3)', '1 / 0', 'a = ('])
def test_a_python_config_that_stops_is_a_sentence(tmp_path, text):
    path = tmp_path / 'config.py'
    path.write_text(text)
    with pytest.raises(UserError, match='cannot be read'):
        load_config(str(path))

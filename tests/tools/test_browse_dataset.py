"""tools/browse_dataset.py draws every kind of dataset with its labels."""
import json

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

from cait_mm.datasets.scenes import make_scenes


@pytest.fixture(scope='module')
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp('browse') / 'scenes'
    make_scenes(folder, train=8, val=8, size=(64, 64))
    return folder


DET = "_base_ = '{root}/configs/_base_/datasets/scenes_det.py'\ndefault_scope = 'mmdet'\n" \
      "visualizer = dict(type='DetLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')])\n"


@pytest.mark.parametrize('split', ['train', 'val'])
@pytest.mark.parametrize('name', ['upernet_deit_scenes.py', 'deit_scenes.py', 'det'])
def test_pictures_are_drawn_with_their_labels(tool, repo, scenes, tmp_path, name, split):
    config = f'configs/small/{name}'
    if name == 'det':
        config = tmp_path / 'det.py'
        config.write_text(DET.format(root=repo))
    root = scenes / 'classification' if name == 'deit_scenes.py' else scenes
    status, out, err = tool('browse_dataset.py', config, '--split', split, '--number', 3, '--out', tmp_path / 'out',
                            '--json', tmp_path / 'b.json', '--cfg-options',
                            f'{split}_dataloader.dataset.data_root={root}')
    assert status == 0, err
    result = json.loads((tmp_path / 'b.json').read_text())
    assert f'3 of {result["items"]} items of the {split} split' in out
    pictures = [np.array(Image.open(path)) for path in result['pictures']]
    assert len(pictures) == 3 and all(picture.std() > 5 for picture in pictures)


def test_labels_of_a_test_pipeline_lie_on_the_picture_they_belong_to(tool, scenes, tmp_path):
    """The picture is shrunk before its labels are read, and has to grow again."""
    pipeline = ('[dict(type="LoadImageFromFile"),dict(type="Resize",scale=(32,32)),dict(type="LoadAnnotations"),'
                'dict(type="PackSegInputs")]')
    config = tmp_path / 'small.py'
    config.write_text(f"_base_ = '{ROOT}/configs/small/upernet_deit_scenes.py'\n"
                      f"val_dataloader = dict(dataset=dict(data_root='{scenes}', pipeline={pipeline}))\n")
    status, _, err = tool('browse_dataset.py', config, '--split', 'val', '--number', 1, '--out', tmp_path / 'out')
    assert status == 0, err
    assert Image.open(next((tmp_path / 'out').iterdir())).size == (64, 64)




def test_wrong_use_is_a_sentence(tool, scenes, tmp_path):
    status, _, err = tool('browse_dataset.py', 'configs/small/upernet_deit_scenes.py', '--number', 0)
    assert status == 2 and '--number: \'0\' is not a positive whole number' in err
    status, _, err = tool('browse_dataset.py', 'configs/small/upernet_deit_scenes.py', '--cfg-options',
                          'train_dataloader.dataset.data_root=nowhere')
    assert status == 2 and 'nowhere' in err and 'Traceback' not in err
    config = tmp_path / 'none.py'
    config.write_text("default_scope = 'mmseg'\n")
    status, _, err = tool('browse_dataset.py', config, '--split', 'test')
    assert status == 2 and 'has no test_dataloader' in err

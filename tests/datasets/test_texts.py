"""No file that a dataset names is run."""
import os
import pickle

import mmengine
import pytest
from mmengine.config import Config
from mmengine.dataset import BaseDataset

import cait_mm  # noqa: F401
from cait_mm.datasets.check_files import describe_data, missing_data
from cait_mm.errors import UserError


class Payload:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark), )


@pytest.fixture
def trap(tmp_path):
    (tmp_path / 'ann.pkl').write_bytes(pickle.dumps(Payload(tmp_path / 'executed')))
    return tmp_path


def test_the_trap_works(trap):
    pickle.loads((trap / 'ann.pkl').read_bytes())
    assert (trap / 'executed').exists()


@pytest.mark.parametrize('load', [
    lambda path: mmengine.load(path),
    lambda path: mmengine.load(path.rename(path.with_suffix('.p')), file_format='pkl'),
    lambda path: mmengine.load(path, backend_args=dict(backend='local')),
    lambda path: BaseDataset(ann_file=str(path)), lambda path: mmengine.load(path.open('rb'), file_format='pickle')])
def test_an_annotation_file_that_is_a_pickle_is_not_run(trap, load):
    with pytest.raises(UserError, match='is a pickle, a program that this project does not run: write it as JSON'):
        load(trap / 'ann.pkl')
    assert not (trap / 'executed').exists()


def test_a_run_and_the_check_name_it(trap):
    dataset = dict(type='BaseDataset', data_root=str(trap), ann_file='ann.pkl')
    config = Config(dict(train_dataloader=dict(dataset=dataset)))
    assert missing_data(config) == [f'The annotation file {trap}/ann.pkl (train_dataloader) is a pickle, a program '
                                    'that this project does not run: write it as JSON.']
    described = describe_data(config)['train_dataloader']
    assert not described['missing'] and 'ann.pkl (it is a pickle' in described['unreadable'][0]
    assert not (trap / 'executed').exists()


def test_results_are_still_written(tmp_path):
    mmengine.dump([1, 2], tmp_path / 'results.pkl')
    assert pickle.loads((tmp_path / 'results.pkl').read_bytes()) == [1, 2]


def test_annotations_in_json_may_begin_with_a_byte_order_mark(tmp_path):
    (tmp_path / 'a.json').write_text('{"metainfo": {}, "data_list": [{"x": 1}]}', encoding='utf-8-sig')
    assert BaseDataset(ann_file=str(tmp_path / 'a.json'), data_prefix={})[0]['x'] == 1

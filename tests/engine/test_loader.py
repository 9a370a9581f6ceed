"""Every way to name a checkpoint, with a file that would run code if it were unpickled."""
import types

import mmengine
import pytest
import torch
from mmengine.config import Config
from mmengine.infer import BaseInferencer
from mmengine.model import BaseModel, BaseModule
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import CheckpointLoader, Runner, load_checkpoint
from mmengine.runner import checkpoint as mmengine_checkpoint
from served import serve

import cait_mm
from cait_mm.backbones import CAITDeiT
from cait_mm.classification import Classifier, TimmTeacher
from cait_mm.engine.loader import load_from_checked
from cait_mm.engine.start import resume_from
from cait_mm.errors import UserError
from cait_mm.models.checkpoint import read_checkpoint
from cait_mm.pruning.training_checkpoint import load_training

MODEL = dict(type='LoaderTestModel', backbone=dict(init_cfg=None))
ARCH = dict(embed_dim=24, depth=2, num_heads=3, img_size=(32, 32))


class Payload:

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return exec, (f'open({str(self.marker)!r}, "w").close()',)


@MODELS.register_module()
class LoaderTestModel(BaseModel):

    def __init__(self, backbone=None, pretrained=None, train_cfg=None):
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)

    def forward(self, inputs, mode='tensor', **kwargs):
        return self.layer(inputs)


@pytest.fixture
def served(tmp_path, monkeypatch):
    """The address of a folder with ``evil-12345678.pth`` and ``good.pth``, and the file that a payload would make."""
    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path / 'hub'))
    # MMDetection's init_detector leaves its scope to all that is built later in this process.
    monkeypatch.setattr(DefaultScope, '_instance_dict', DefaultScope._instance_dict.copy())
    folder, marker = tmp_path / 'web', tmp_path / 'ran'
    folder.mkdir()
    weights = {'layer.weight': torch.ones(2, 2), 'layer.bias': torch.zeros(2)}
    torch.save({'state_dict': weights, 'meta': Payload(marker)}, folder / 'evil-12345678.pth')
    torch.save({'state_dict': weights, 'meta': {}}, folder / 'good.pth')
    with serve(folder) as address:
        yield address, marker


def runner(tmp_path, **kwargs):
    return Runner(LoaderTestModel(), work_dir=str(tmp_path / 'work'), experiment_name=tmp_path.name,
                  default_scope='mmengine', **kwargs)


def auto_resume(path, tmp_path):
    (tmp_path / 'work').mkdir()
    (tmp_path / 'work' / 'last_checkpoint').write_text(path)
    runner(tmp_path, resume=True).load_or_resume()


def segmentor(path, tmp_path):
    from mmseg.apis import init_model
    init_model(Config(dict(model=MODEL)), path, device='cpu')


def detector(path, tmp_path):
    from mmdet.apis import init_detector
    init_detector(Config(dict(model=MODEL)), path, device='cpu', palette='coco')


def inferencer(path, tmp_path):
    BaseInferencer._init_model(types.SimpleNamespace(), Config(dict(model=MODEL)), path)


DEIT = dict(type='CAITDeiT', arch=ARCH)
ENTRIES = {
    'read_checkpoint': lambda path, _: read_checkpoint(path),
    'backbone': lambda path, _: CAITDeiT(ARCH, out_indices=(1,), init_cfg=dict(type='Pretrained', checkpoint=path)
                                         ).init_weights(),
    'classifier': lambda path, _: Classifier({**DEIT, 'init_cfg': dict(type='Pretrained', checkpoint=path)}
                                             ).init_weights(),
    'teacher': lambda path, _: TimmTeacher('resnet10t', checkpoint=path).init_weights(),
    'fold': lambda path, _: load_training(path),
    'load': lambda path, _: cait_mm.load(ARCH, path),
    'init_cfg': lambda path, _: BaseModule(init_cfg=dict(type='Pretrained', checkpoint=path)).init_weights(),
    'init_cfg with a prefix': lambda path, _: BaseModule(
        init_cfg=dict(type='Pretrained', checkpoint=path, prefix='layer')).init_weights(),
    'load_checkpoint': lambda path, _: load_checkpoint(LoaderTestModel(), path),
    'load_from': lambda path, tmp_path: runner(tmp_path, load_from=path).load_or_resume(),
    'resume': lambda path, tmp_path: runner(tmp_path, load_from=path, resume=True).load_or_resume(),
    'last_checkpoint': auto_resume,
    'inferencer': inferencer,
    'init_model': segmentor,
    'init_detector': detector,
}


@pytest.mark.parametrize('entry', ENTRIES)
@pytest.mark.parametrize('place', ['address', 'file'])
def test_no_entry_point_runs_a_checkpoint(served, tmp_path, entry, place):
    address, marker = served
    path = {'address': f'{address}/evil-12345678.pth', 'file': str(tmp_path / 'web' / 'evil-12345678.pth')}[place]
    with pytest.raises(UserError, match='holds an object of the type exec, which could run code'):
        ENTRIES[entry](path, tmp_path)
    assert not marker.exists()


@pytest.mark.parametrize('scheme,table', [
    ('torchvision', 'get_torchvision_models'), ('modelzoo', 'get_torchvision_models'),
    ('open-mmlab', 'get_external_models'), ('openmmlab', 'get_external_models'), ('mmcls', 'get_mmcls_models')])
def test_no_scheme_runs_a_checkpoint(served, monkeypatch, scheme, table):
    address, marker = served
    names = {'evil': f'{address}/evil-12345678.pth', 'good': f'{address}/good.pth'}
    monkeypatch.setattr(mmengine_checkpoint, table, lambda: names)
    with pytest.raises(UserError, match='holds an object of the type exec'):
        CheckpointLoader.load_checkpoint(f'{scheme}://evil')
    assert not marker.exists()
    content = CheckpointLoader.load_checkpoint(f'{scheme}://good')
    assert 'state_dict' in content


def test_every_scheme_of_mmengine_has_the_checked_loader():
    assert set(CheckpointLoader._schemes.values()) == {load_from_checked}
    assert {'', 'http://', 'https://', 'torchvision://'} <= set(CheckpointLoader._schemes)


def test_a_good_file_behind_an_address_is_loaded(served):
    address, _ = served
    model = LoaderTestModel()
    load_checkpoint(model, f'{address}/good.pth')
    assert torch.equal(model.layer.weight, torch.ones(2, 2))


def test_a_work_directory_that_names_an_address_is_refused(served, tmp_path):
    address, marker = served
    (tmp_path / 'work').mkdir()
    (tmp_path / 'work' / 'last_checkpoint').write_text(f'{address}/good.pth')
    with pytest.raises(UserError, match='last_checkpoint names no file that is there'):
        resume_from(mmengine.Config(dict(work_dir=str(tmp_path / 'work'))), 'auto')
    assert not (tmp_path / 'hub').exists() and not marker.exists()

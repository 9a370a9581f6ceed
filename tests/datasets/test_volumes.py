"""Datasets of slices and volumes: their items, their patients, and that no patient is in two splits."""
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from conftest import real_data
from mmengine.config import Config

pytest.importorskip('mmseg')
from mmengine.registry import DATASETS  # noqa: E402
from mmseg.datasets import BaseSegDataset  # noqa: E402

from cait_mm.datasets.subjects import SubjectSplitHook, subjects_of  # noqa: E402
from cait_mm.datasets.volumes import ACDCVolumes, SynapseVolumes  # noqa: E402
from cait_mm.errors import UserError  # noqa: E402

CONFIGS = 'configs/_base_/datasets'


@pytest.fixture
def data(tmp_path):
    """Two patients' slices and a third one's volume, in ACDC's and in Synapse's format."""
    generator = np.random.default_rng(0)
    image, label = generator.random((3, 40, 30), np.float32), generator.integers(0, 4, (3, 40, 30)).astype(np.uint8)
    folders = [tmp_path / name for name in ('train_slices', 'test_volumes', 'train_npz', 'test_vol_h5')]
    for folder in folders:
        folder.mkdir()
    for patient in (1, 2):
        for index in range(3):
            with h5py.File(folders[0] / f'patient{patient:03}_frame01_slice_{index}.h5', 'w') as file:
                file['image'], file['label'] = image[index], label[index]
            np.savez(folders[2] / f'case{patient:04}_slice{index:03}.npz', image=image[index], label=label[index] * 1.)
    for path in (folders[1] / 'patient003_frame01.h5', folders[3] / 'case0003.npy.h5'):
        with h5py.File(path, 'w') as file:
            file['image'], file['label'] = image, label
    return tmp_path, label


def build(repo, root, name, loader):
    from mmseg.utils import register_all_modules
    register_all_modules(init_default_scope=False)
    dataset = Config.fromfile(repo / CONFIGS / f'{name}.py')[loader].dataset
    dataset.data_root = str(root)
    with DATASETS.switch_scope_and_registry('mmseg') as registry:
        return registry.build(dataset)


@pytest.mark.parametrize('name, scans', [
    ('acdc', [('patient001', 'patient001_frame01'), ('patient003', 'patient003_frame01')]),
    ('synapse', [('case0001', 'case0001'), ('case0003', 'case0003')])])
def test_slices_train_and_volumes_are_evaluated(repo, data, name, scans):
    root, label = data
    train, test = build(repo, root, name, 'train_dataloader'), build(repo, root, name, 'test_dataloader')
    assert (len(train), len(test)) == (6, 3)
    for dataset, (subject, volume) in zip((train, test), scans):
        infos = [dataset.get_data_info(index) for index in range(3)]
        assert [(info['subject'], info['volume'], info['slice']) for info in infos] == [
            (subject, volume, index) for index in range(3)]
    item = train[0]
    assert item['inputs'].shape == (3, 224, 224) and item['inputs'].dtype.is_floating_point is False
    assert item['data_samples'].gt_sem_seg.data.shape == (1, 224, 224)
    item = test[1]
    sample = item['data_samples']
    # the picture is resized, the labels are scored at their own size
    assert item['inputs'].shape == (3, 224, 224) and sample.ori_shape == (40, 30)
    np.testing.assert_array_equal(sample.gt_sem_seg.data[0].numpy(), label[1])
    assert (sample.volume, sample.slice) == (scans[1][1], 1)


def test_augmentation_invents_no_labels(repo, data):
    root, _ = data
    label = np.zeros((40, 30), np.uint8)
    label[10:30, 8:22] = 3
    with h5py.File(root / 'train_slices' / 'patient001_frame01_slice_0.h5', 'w') as file:
        file['image'], file['label'] = label / 3, label
    train = build(repo, root, 'acdc', 'train_dataloader')
    seen = [train[0]['data_samples'].gt_sem_seg.data for _ in range(40)]
    assert {int(value) for item in seen for value in item.unique()} == {0, 3}
    assert len({item.numpy().tobytes() for item in seen}) > 5  # and does turn


def test_a_list_chooses_files_with_or_without_suffix(data):
    root, _ = data
    (root / 'train.txt').write_bytes(b'\xef\xbb\xbfcase0002_slice001\r\ncase0001_slice000.npz \r\n\r\n')
    chosen = SynapseVolumes(data_root=str(root), data_prefix=dict(img_path='train_npz'), ann_file='train.txt')
    assert [(info['subject'], info['slice']) for info in map(chosen.get_data_info, range(2))] == [
        ('case0002', 1), ('case0001', 0)]
    (root / 'train.txt').write_text('case0002_slice001\ncase0009_slice001\n')
    with pytest.raises(UserError, match='lists 1 files that are not in .*train_npz: case0009_slice001'):
        SynapseVolumes(data_root=str(root), data_prefix=dict(img_path='train_npz'), ann_file='train.txt')


def test_other_labels_are_a_sentence(repo, data):
    root, label = data
    np.savez(root / 'train_npz' / 'case0001_slice000.npz', image=np.zeros((40, 30)), label=np.full((40, 30), 13.))
    with pytest.raises(UserError, match='case0001_slice000.npz#:label has label 13 and the data have 9 classes'):
        build(repo, root, 'synapse', 'train_dataloader')[0]


def test_cascades_archives_of_acdc_keep_the_phase_in_the_volume(tmp_path):
    np.savez(tmp_path / 'case_001_sliceED_4.npz', img=np.zeros((4, 4)), label=np.zeros((4, 4)))
    info = ACDCVolumes(data_prefix=dict(img_path=str(tmp_path))).get_data_info(0)
    assert (info['subject'], info['volume'], info['slice']) == ('case_001', 'case_001_sliceED', 4)


@pytest.mark.parametrize('keywords, name, words', [
    (dict(), '0001_slice_0.h5', 'does not say in its name whose scan'),
    (dict(), 'patient001_frame.h5', 'does not end in the number of its slice'),
    (dict(volumes=True), 'patient001_slice_0.h5', r'holds one slice \(4, 4\) and a volume'),
    (dict(), 'patient001_frame01.txt', 'there are no .npy.h5, .h5, .npz files')])
def test_names_and_shapes_that_do_not_fit_are_sentences(tmp_path, keywords, name, words):
    with h5py.File(tmp_path / name, 'w') as file:
        file['image'] = file['label'] = np.zeros((4, 4))
    with pytest.raises(UserError, match=words):
        ACDCVolumes(data_prefix=dict(img_path=str(tmp_path)), **keywords)


def runner(train, val, **config):
    loops = [SimpleNamespace(dataloader=SimpleNamespace(dataset=dataset)) for dataset in (train, val)]
    return SimpleNamespace(train_loop=loops[0], val_loop=loops[1], cfg=Config(config))


def test_a_patient_in_both_splits_stops_the_run(repo, data):
    root, _ = data
    train, test = build(repo, root, 'acdc', 'train_dataloader'), build(repo, root, 'acdc', 'test_dataloader')
    SubjectSplitHook().before_train(runner(train, test))
    SubjectSplitHook().before_train(SimpleNamespace(train_loop=None, val_loop=None))
    tested = dict(test_dataloader=dict(dataset=dict(type=ACDCVolumes, data_prefix=dict(
        img_path=str(root / 'train_slices')))))
    with pytest.raises(UserError, match=r'test: 2 of 2 patients'):
        SubjectSplitHook().before_train(runner(train, test, **tested))
    # the other phase of a training patient's heart
    (root / 'test_volumes' / 'patient003_frame01.h5').rename(root / 'test_volumes' / 'patient002_frame09.h5')
    test = build(repo, root, 'acdc', 'test_dataloader')
    wrapped = SimpleNamespace(datasets=[SimpleNamespace(dataset=train)])
    assert subjects_of(wrapped) == {'patient001', 'patient002'}
    with pytest.raises(UserError, match=r'1 of 1 patients .* \(patient002\): split by patient'):
        SubjectSplitHook().before_train(runner(wrapped, test))


def test_other_datasets_pass(data):
    root, _ = data
    plain = BaseSegDataset(data_prefix=dict(img_path=str(root), seg_map_path=str(root)), lazy_init=True)
    SubjectSplitHook().before_train(runner(plain, plain))


def test_real_acdc_has_no_patient_twice(repo):
    root = real_data('acdc_subset')
    train, test = build(repo, root, 'acdc', 'train_dataloader'), build(repo, root, 'acdc', 'test_dataloader')
    assert (len(train), len(train.subjects()), len(test.subjects())) == (99, 10, 5)
    SubjectSplitHook().before_train(runner(train, test))
    volumes = {test.get_data_info(index)['volume'] for index in range(len(test))}
    assert len(volumes) == 10 and len(test) == 92
    assert test[5]['inputs'].shape == (3, 224, 224)

"""Pictures reach a model as its own pipeline and preprocessor would bring them."""
import h5py
import numpy as np
import pytest
import torch
from conftest import CONFIGS
from mmcv.transforms import LoadImageFromFile
from mmengine.registry import MODELS
from PIL import Image

from cait_mm.compression.images import image_paths, input_size, load_crops
from cait_mm.config.load import load_config
from cait_mm.datasets.unlabelled import image_list
from cait_mm.errors import UserError


@pytest.fixture
def pictures(tmp_path):
    """Seven pictures, the first of 40 x 64 pixels, and a label map next to them."""
    rng = np.random.default_rng(0)
    (tmp_path / 'images').mkdir()
    for index in range(7):
        Image.fromarray(rng.integers(0, 255, (40 + index, 64, 3), np.uint8)).save(tmp_path / f'images/{index}.png')
    (tmp_path / 'labels').mkdir()
    Image.fromarray(rng.integers(0, 5, (40, 64), np.uint8)).save(tmp_path / 'labels/0.png')
    return tmp_path


@pytest.mark.parametrize('changes', [
    {}, dict(bgr_to_rgb=False), dict(bgr_to_rgb=False, rgb_to_bgr=True), dict(mean=[1., 2., 3.], std=[4., 5., 6.]),
])
def test_they_are_normalised_as_the_model_does_it(pictures, changes):
    config = load_config(str(CONFIGS['upernet_deit_t_camvid']))
    config.model.data_preprocessor.update(size=(40, 64), **changes)
    preprocessor = MODELS.build(config.model.data_preprocessor)
    path = str(pictures / 'images' / '0.png')
    loaded = torch.from_numpy(LoadImageFromFile()(dict(img_path=path))['img']).permute(2, 0, 1)
    wanted = preprocessor(dict(inputs=[loaded]))['inputs']
    batch, = load_crops(config, [path], (40, 64))
    torch.testing.assert_close(batch, wanted)


def test_other_sizes_are_covered_and_come_in_batches(pictures):
    config = load_config(str(CONFIGS['upernet_deit_t_camvid']))
    batches = list(load_crops(config, image_paths(config, pictures / 'images'), (96, 32), batch_size=3))
    assert [tuple(batch.shape) for batch in batches] == [(3, 3, 96, 32), (3, 3, 96, 32), (1, 3, 96, 32)]
    assert all(float(batch.std()) > 0.1 for batch in batches)


def test_the_training_split_is_found_without_its_labels(pictures):
    dataset = dict(data_root=str(pictures), data_prefix=dict(img_path='images', seg_map_path='labels'))
    config = dict(train_dataloader=dict(dataset=dict(type='RepeatDataset', times=2, dataset=dataset)))
    assert image_paths(config, None) == [str(pictures / f'images/{index}.png') for index in range(7)]
    assert image_paths(config, None, 3) == [str(pictures / f'images/{index}.png') for index in (0, 2, 4)]
    assert image_paths(config, ['a.png', 'b.png'], 1) == ['a.png']
    with pytest.raises(UserError, match='there are no images below its training split'):
        image_paths({}, None)


@pytest.mark.parametrize('name,size', [
    ('upernet_deit_s_ade20k', (512, 512)), ('mask_rcnn_deit_s_coco', (800, 1333)), ('upernet_deit_s_isaid', (896, 896)),
    ('cascade_decoder_deit_s_polyp', (352, 352)),
])
def test_the_size_is_that_of_the_configs_training(name, size):
    assert input_size(load_config(str(CONFIGS[name])), torch.nn.Module()) == size


def test_slices_of_volumes_are_listed_by_their_dataset(tmp_path, monkeypatch):
    (tmp_path / 'data' / 'train').mkdir(parents=True)
    grey = np.random.default_rng(0).random((2, 40, 50)).astype(np.float32)
    for number, image in enumerate(grey):
        with h5py.File(tmp_path / f'data/train/patient00{number}_slice_1.h5', 'w') as file:
            file.update(image=image, label=np.zeros(image.shape, np.uint8))
    (tmp_path / 'list.txt').write_text('patient001_slice_1')
    config = load_config(str(CONFIGS['cascade_decoder_deit_t_acdc']))
    dataset = config.train_dataloader.dataset
    dataset.update(data_root='data', data_prefix=dict(img_path='train'))
    monkeypatch.chdir(tmp_path)
    addresses = image_paths(config, None)
    assert addresses == [f'slice://{tmp_path}/data/train/patient00{number}_slice_1.h5#' for number in range(2)]
    preprocessor = MODELS.build(config.model.data_preprocessor)
    loaded = [torch.from_numpy(LoadImageFromFile()(dict(img_path=path))['img']).permute(2, 0, 1) for path in addresses]
    batch, = load_crops(config, addresses, (40, 50))
    torch.testing.assert_close(batch, preprocessor(dict(inputs=loaded))['inputs'])
    (tmp_path / 'listed.txt').write_text('\n'.join(addresses))
    assert image_list('listed.txt') == addresses  # as a tuning run keeps them
    dataset.ann_file = str(tmp_path / 'list.txt')
    assert image_paths(config, None) == addresses[1:]


def test_a_broken_picture_and_a_grey_model_are_a_sentence(pictures):
    (pictures / 'images' / '3.png').write_bytes(b'nothing')
    config = load_config(str(CONFIGS['upernet_deit_t_camvid']))
    with pytest.raises(UserError, match='3.png cannot be read'):
        list(load_crops(config, image_paths(config, str(pictures / 'images')), (40, 40)))
    config.model.data_preprocessor.update(mean=[1.], std=[1.])
    with pytest.raises(UserError, match='1 channels'):
        next(load_crops(config, ['a.png'], (40, 40)))

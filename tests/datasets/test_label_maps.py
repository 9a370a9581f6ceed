"""Label maps that teach nothing, or that are no class ids, are problems; a rare class is a note."""
import numpy as np
import pytest
from PIL import Image

from cait_mm.config.load import load_config
from cait_mm.datasets.check_contents import check_contents, mismatches
from cait_mm.datasets.label_maps import ENOUGH, LabelCount

pytest.importorskip('mmseg')
LABELS = np.zeros((8, 12), np.uint8)
LABELS[2:5, 3:9] = 1
CONFIG = """
default_scope = 'mmseg'
train_dataloader = dict(dataset=dict(
    type='BaseSegDataset', data_root='{root}', data_prefix=dict(img_path='images', seg_map_path='labels'),
    metainfo=dict(classes={classes!r}), reduce_zero_label={shift}, img_suffix='.png', pipeline=[]))
model = dict(type='EncoderDecoder', decode_head=dict(num_classes=2))
"""


def inspected(tmp_path, labels, classes=('ground', 'house'), shift=False, count=3, samples=None):
    for folder in ('images', 'labels'):
        (tmp_path / folder).mkdir(exist_ok=True)
    for index in range(count):
        Image.new('RGB', (12, 8)).save(tmp_path / 'images' / f'{index}.png')
        (labels if isinstance(labels, Image.Image) else Image.fromarray(labels)).save(
            tmp_path / 'labels' / f'{index}.png')
    (tmp_path / 'config.py').write_text(CONFIG.format(root=tmp_path, classes=classes, shift=shift))
    config = load_config(str(tmp_path / 'config.py'))
    inspection = check_contents(config, ['train_dataloader'], samples)
    return inspection['train_dataloader'], mismatches(config, ['train_dataloader'], inspection)


def test_good_labels(tmp_path):
    states, of_config = inspected(tmp_path, LABELS)
    assert states['problems'] == states['remarks'] == of_config == []
    assert states['items'] == states['decoded'] == 3 and states['classes'] == ['ground', 'house']


@pytest.mark.parametrize('labels,shift,said', [
    (LABELS * 255, False, '1 of 2 classes occurs nowhere: house. Their values are 0 (ground), 255 (ignored)'),
    (LABELS, True, '1 of 2 classes occurs nowhere: house. Their values are 0 (ignored), 1 (ground)'),
    (LABELS * 0, True, 'no class occurs. Their values are 0 (ignored)'),
    (LABELS * 0 + 255, False, 'no class occurs. Their values are 255 (ignored)'),
    (LABELS * 0, False, 'house. Their values are 0 (ground)')])
def test_labels_that_teach_nothing(tmp_path, labels, shift, said):
    for samples in (None, 2):
        states, _ = inspected(tmp_path, labels, shift=shift, samples=samples)
        problem, = states['problems']
        assert said in problem and problem.startswith(f'over {samples or 3} decoded label maps')


def test_a_class_that_occurs_nowhere_is_a_note_in_few_files(tmp_path):
    states, of_config = inspected(tmp_path, LABELS, classes=('ground', 'house', 'tree'))
    assert states['problems'] == []
    assert '1 of 3 classes occurs nowhere: tree. Their values are 0 (ground), 1 (house)' in states['remarks'][0]
    assert 'model.decode_head.num_classes is 2 and the data have 3 classes' in of_config[0]


@pytest.mark.parametrize('maps,training,complete,problem', [
    (3 * ENOUGH, True, True, True), (3 * ENOUGH - 1, True, True, False), (3 * ENOUGH, False, True, False),
    (3 * ENOUGH, True, False, False)])
def test_a_class_that_is_in_none_of_all_training_files_is_a_problem(maps, training, complete, problem):
    count = LabelCount()
    for _ in range(maps):
        count.add(LABELS, LABELS)
    said = count.judged(['a', 'b', 'c'], training, complete)
    assert [len(part) for part in said] == [int(problem), int(not problem)]
    assert LabelCount().judged(['a', 'b'], True, True) == ([], []), 'nothing was read, which is said elsewhere'


@pytest.mark.parametrize('labels,said', [
    (np.stack([LABELS * 128, LABELS * 0, LABELS], -1), 'is a colour picture (3 channels, 2 colours)'),
    (np.stack([LABELS, LABELS, LABELS], -1), 'has 3 channels, and the first three are equal'),
    (np.stack([LABELS, LABELS * 0, LABELS, LABELS], -1), 'is a colour picture (4 channels, 2 colours)'),
    (LABELS.astype(np.uint16) * 257, 'keeps the last 8 bits'),
    (LABELS + 7, 'holds 7, 8, and there are classes 0 to 1')])
def test_files_that_are_no_maps_of_these_classes(tmp_path, labels, said):
    states, _ = inspected(tmp_path, labels)
    assert sum(said in problem for problem in states['problems']) == 3, states['problems']


@pytest.mark.parametrize('mode', ['P', '1', 'L'])
def test_palettes_and_bits_are_class_ids(tmp_path, mode):
    picture = Image.fromarray(LABELS)
    if mode == 'P':
        picture = picture.convert('P')
        picture.putdata(LABELS.reshape(-1).tolist())
        picture.putpalette([0, 0, 0, 255, 0, 0])
    elif mode == '1':
        picture = Image.fromarray(LABELS * 255).convert('1')
    states, _ = inspected(tmp_path, picture)
    assert states['problems'] == states['remarks'] == []


def test_a_set_without_pictures(tmp_path):
    states, of_config = inspected(tmp_path, LABELS)
    for path in (tmp_path / 'images').iterdir():
        path.rename(path.with_suffix('.bmp'))
    config = load_config(str(tmp_path / 'config.py'))
    inspection = check_contents(config, ['train_dataloader'])
    assert 'has no items' in inspection['train_dataloader']['problems'][0]
    assert '(3 in ".bmp")' in mismatches(config, ['train_dataloader'], inspection)[0]

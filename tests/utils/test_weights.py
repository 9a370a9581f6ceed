import argparse
import collections
import datetime
import pathlib
import pickle
import random
import sys
import types
import zipfile

import numpy as np
import pytest
import safetensors.torch
import torch

import cait_mm  # noqa: F401  (allows MMEngine's types)
from cait_mm.errors import UserError
from cait_mm.utils.weights import load_file

WEIGHTS = {'blocks.0.weight': torch.arange(12.).view(3, 4), 'blocks.0.bias': torch.ones(3), 'steps': torch.tensor(7)}


def saved(path, content, **kwargs):
    torch.save(content, path, **kwargs)
    return str(path)


def same(given, wanted=WEIGHTS):
    return given.keys() == wanted.keys() and all(torch.equal(given[key], wanted[key]) for key in wanted)


@pytest.mark.parametrize('name', ['a.safetensors', 'a.bin'])
def test_safetensors_are_known_by_their_content(tmp_path, name):
    safetensors.torch.save_file(WEIGHTS, tmp_path / name)
    assert same(load_file(tmp_path / name))


@pytest.mark.parametrize('zipped', [True, False])
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_both_forms_of_pytorch_and_every_float_are_read(tmp_path, zipped, dtype):
    wanted = {'a.weight': torch.rand(5, 2).to(dtype), 'index': torch.arange(3),
              'attn_mask': torch.tensor([0., -torch.inf])}
    assert same(load_file(saved(tmp_path / 'a.pth', wanted, _use_new_zipfile_serialization=zipped)), wanted)


@pytest.mark.parametrize('value,message', [
    (torch.tensor([1., float('nan')]), 'is not finite'),
    (torch.tensor([[float('inf')]]), 'is not finite'),
    (torch.ones(2, dtype=torch.int8), r'is torch.int8, and weights are one of torch.float16'),
    (torch.ones(2, dtype=torch.int64), 'is torch.int64'),
    (torch.ones(2, dtype=torch.bool), 'is torch.bool'),
    (torch.ones(2, dtype=torch.uint8), 'is torch.uint8'),
    (torch.ones(2, dtype=torch.complex64), 'is torch.complex64'),
    (torch.ones(2).to(torch.float8_e4m3fn), 'is torch.float8_e4m3fn'),
    (torch.quantize_per_tensor(torch.ones(2), 1., 0, torch.qint8), 'is torch.qint8'),
    (torch.eye(2).to_sparse(), 'is torch.sparse_coo'),
    (torch.ones(1).expand(2**20, 2**20), 'more than the file holds'),
])
@pytest.mark.parametrize('wrap', [lambda w: w, lambda w: {'state_dict': w, 'meta': {}}, lambda w: {'model_ema': w}])
def test_weights_that_no_training_left_are_refused_by_name(tmp_path, value, message, wrap):
    path = saved(tmp_path / 'a.pth', wrap({**WEIGHTS, 'head.weight': value}))
    with pytest.raises(UserError, match=f'a.pth: head.weight .*{message}'):
        load_file(path)


def test_a_flipped_bit_of_a_weight_is_found(tmp_path):
    path = tmp_path / 'a.pth'
    saved(path, {'a': torch.full((1000,), 0.5)})
    content = bytearray(path.read_bytes())
    content[content.index(torch.full((9,), 0.5).numpy().tobytes()) + 2] ^= 1
    path.write_bytes(content)
    assert not torch.equal(torch.load(path, weights_only=True)['a'], torch.full((1000,), 0.5)), 'torch does not look'
    with pytest.raises(UserError, match='the checksum of a/data/0 in it does not match'):
        load_file(path)


def test_files_without_checksums_are_read(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        path = saved(tmp_path / 'a.pth', WEIGHTS)
    finally:
        torch.serialization.set_crc32_options(True)
    assert same(load_file(path))


@pytest.mark.parametrize('content,message', [
    (b'', 'is empty'),
    (b'version https://git-lfs.github.com/spec/v1\noid sha256:00\n', 'is a Git LFS pointer'),
    (b'\n<!DOCTYPE html><html>sign in</html>', 'is a web page'),
    (b'{"metadata": {}, "weight_map": {}}', 'is JSON'),
    (b'\x89HDF\r\n\x1a\n' + bytes(80), 'is an HDF5 file'),
    (b'\x1f\x8b\x08' + bytes(80), 'packed with gzip'),
    (b'PK\x03\x04 and nothing', 'damaged or no weights file'),
    (b'\x80\x02}q\x00.', 'damaged or no weights file'),
    (b'hello', 'damaged or no weights file'),
])
def test_files_of_other_kinds_are_called_by_their_kind(tmp_path, content, message):
    path = tmp_path / 'a.pth'
    path.write_bytes(content)
    with pytest.raises(UserError, match=f'checkpoint {path} .*{message}'):
        load_file(path)


def test_archives_of_others_are_named(tmp_path):
    np.savez(tmp_path / 'a.npz', a=np.ones(3))
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / 'a.pt')
    with zipfile.ZipFile(tmp_path / 'a.zip', 'w') as archive:
        archive.writestr('model.pth', b'1')
    for name, message in (('a.npz', 'is a NumPy archive'), ('a.pt', 'is a TorchScript program'), ('a.zip', 'is a zip')):
        with pytest.raises(UserError, match=message):
            load_file(tmp_path / name)


def test_paths_that_are_no_file(tmp_path):
    (tmp_path / 'folder').mkdir()
    for name, message in (('none.pth', 'does not exist'), ('folder', 'is a folder'), ('a\0b', 'does not exist'),
                          ('x' * 5000, 'does not exist')):
        with pytest.raises(UserError, match=message):
            load_file(tmp_path / name)


def fake_class(monkeypatch, module, name, base=dict):
    """A class of a package that the reader does not have."""
    kind = type(name, (base,), {'__module__': module, '__qualname__': name})
    fake = types.ModuleType(module)
    setattr(fake, name, kind)
    monkeypatch.setitem(sys.modules, module.partition('.')[0], types.ModuleType(module.partition('.')[0]))
    monkeypatch.setitem(sys.modules, module, fake)
    return kind


def test_weights_are_read_from_files_with_settings(tmp_path, monkeypatch):
    node = fake_class(monkeypatch, 'yacs.config', 'CfgNode')
    inner = node(depth=12)
    inner.__dict__['__immutable__'] = True
    omega = fake_class(monkeypatch, 'omegaconf.dictconfig', 'DictConfig', object)()
    omega._content = {'lr': 0.1}
    counts = collections.defaultdict(list)
    counts['a'].append(1)
    settings = {
        'args': argparse.Namespace(lr=0.1, out=pathlib.Path('runs/a'), when=datetime.datetime(2024, 5, 1)),
        'config': node(model=inner), 'omega': omega, 'counts': counts, 'queue': collections.deque([1, 2], maxlen=5),
        'names': {'a'}, 'order': collections.OrderedDict(a=1), 'best': np.float32(0.5),
        'history': np.arange(3, dtype='i2'), 'text': np.array(['ab']), 'took': datetime.timedelta(seconds=3),
        'more': types.SimpleNamespace(a=frozenset([1]), b=range(3)),
    }
    path = saved(tmp_path / 'a.pth', {'model': WEIGHTS, **settings})
    monkeypatch.undo()  # the packages are not installed where it is read
    content = load_file(path)
    assert same(content['model'])
    assert content['args'].lr == 0.1 and str(content['args'].out) == 'runs/a' and content['args'].when.year == 2024
    assert content['config'] == {'model': {'depth': 12}} and type(content['config']) is collections.OrderedDict
    assert content['omega']._content == {'lr': 0.1} and content['counts'] == {'a': [1]} and content['queue'] == [1, 2]
    assert content['history'].tolist() == [0, 1, 2] and content['best'] == 0.5 and content['took'].seconds == 3


def test_the_types_are_allowed_for_the_reader_alone(tmp_path):
    path = saved(tmp_path / 'a.pth', argparse.Namespace(a=1))
    load_file(path)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)


class Payload:
    """Writes a file where it is unpickled with Python's own means."""

    def __init__(self, call, *args):
        self.call, self.args = call, args

    def __reduce__(self):
        return self.call, self.args


@pytest.mark.parametrize('call,name', [(exec, 'exec'), (eval, 'eval'), (open, '_?io.open'), (print, 'print'),
                                       (__import__('os').system, '(posix|nt).system'),
                                       (pathlib.Path.touch, 'getattr'), (torch.load, 'torch.serialization.load')])
@pytest.mark.parametrize('zipped', [True, False])
def test_no_pickle_runs_and_its_type_is_named(tmp_path, call, name, zipped):
    marker = tmp_path / 'ran'
    argument = {exec: f'open({str(marker)!r}, "w")', eval: f'open({str(marker)!r}, "w")',
                pathlib.Path.touch: marker}.get(call, str(marker))
    args = (argument, 'w') if call is open else (argument,)
    content = {'model': WEIGHTS, 'x': Payload(call, *args)}
    path = saved(tmp_path / 'a.pth', content, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match=f'holds an object of the type {name}|may not refer to'):
        load_file(path)
    assert not marker.exists()


def test_a_whole_module_is_refused_with_a_remedy(tmp_path):
    path = saved(tmp_path / 'a.pth', {'model': torch.nn.Linear(2, 2)})
    with pytest.raises(UserError, match=r'torch.nn.modules.linear.Linear, .* torch.save\(model.state_dict\(\), FILE\)'):
        load_file(path)


def broken(content, rng):
    """``content`` cut, with bits flipped, or with a piece overwritten."""
    content, way = bytearray(content), rng.randrange(4)
    if way == 0:
        return bytes(content[:rng.randrange(len(content))])
    if way == 1:
        for _ in range(rng.choice([1, 1, 1, 8, 64])):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        return bytes(content)
    start, size = rng.randrange(len(content)), rng.randrange(1, 200)
    if way == 2:
        content[start:start + size] = rng.randbytes(size)
    else:
        del content[start:start + size]
    return bytes(content)


@pytest.mark.parametrize('kind', ['zip', 'legacy', 'safetensors'])
def test_a_broken_file_reads_as_it_was_or_is_one_sentence(tmp_path, kind):
    """Seeded fuzz. Only the zip has checksums: elsewhere a flipped bit may give another number."""
    whole, path, rng = tmp_path / 'whole', tmp_path / 'broken.pth', random.Random(13)
    if kind == 'safetensors':
        safetensors.torch.save_file(WEIGHTS, whole)
    else:
        saved(whole, {'model': WEIGHTS, 'args': argparse.Namespace(a=1)}, _use_new_zipfile_serialization=kind == 'zip')
    content, outcomes = whole.read_bytes(), collections.Counter()
    for _ in range(80):
        path.write_bytes(broken(content, rng))
        try:
            loaded = load_file(path)
        except UserError as error:
            assert '\n' not in str(error) and len(str(error)) < 1000, error
            outcomes['refused'] += 1
        else:
            outcomes['read'] += 1
            if kind == 'zip':
                assert same(loaded['model'])
    assert outcomes['refused'] > 40, outcomes


@pytest.mark.parametrize('content', [{7: torch.ones(2)}, {'state_dict': {7: torch.ones(2)}}])
def test_a_weight_that_no_word_names_is_refused(tmp_path, content):
    torch.save(content, tmp_path / 'a.pth')
    with pytest.raises(UserError, match='a.pth: 7 is no name of a weight'):
        load_file(tmp_path / 'a.pth')

import socket

import pytest
import torch
from served import serve

from cait_mm.errors import UserError
from cait_mm.utils.addresses import download_path
from cait_mm.utils.weights import load_file


@pytest.fixture(autouse=True)
def downloads(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path / 'hub'))


def test_an_address_is_fetched_once_and_two_servers_do_not_share_a_name(tmp_path):
    for name, value in (('one', 1.), ('two', 2.)):
        (tmp_path / name).mkdir()
        torch.save({'a': torch.tensor(value)}, tmp_path / name / 'best.pth')
    with serve(tmp_path) as address:
        assert load_file(f'{address}/one/best.pth')['a'] == 1 and load_file(f'{address}/two/best.pth')['a'] == 2
    assert load_file(f'{address}/one/best.pth')['a'] == 1, 'the server is gone'


def test_names_with_a_digest_are_kept_where_pytorch_keeps_them():
    assert download_path('https://host/a/deit_tiny-a1311bcf.pth?x=1').name == 'deit_tiny-a1311bcf.pth'
    assert download_path('https://host/a/best.pth').name != download_path('https://other/a/best.pth').name


def test_a_failed_download_is_not_called_damaged(tmp_path):
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    with pytest.raises(UserError, match=r'cannot be fetched \(Connection refused\): check the address and the network'):
        load_file(f'http://127.0.0.1:{port}/a.pth')
    with serve(tmp_path) as address, pytest.raises(UserError, match='the server answers 404'):
        load_file(f'{address}/none.pth')
    with pytest.raises(UserError, match='cannot be fetched'):
        load_file('http://')


def test_a_download_that_is_no_weights_file_says_where_it_lies(tmp_path):
    (tmp_path / 'a.pth').write_text('<html>sign in first</html>')
    again = 'is a web page.*delete that file to fetch it again'
    with serve(tmp_path) as address, pytest.raises(UserError, match=again):
        load_file(f'{address}/a.pth')


@pytest.mark.parametrize('path,message', [
    ('torchvision://resnet9000', 'torchvision:// has no weights of the name resnet9000'),
    ('open-mmlab://none', 'has no weights of the name none'),
    ('mmcls://none', 'has no weights of the name none'),
    ('s3://bucket/a.pth', 'files are not fetched from s3://; download it'),
    ('pavi://a', 'files are not fetched from pavi://'),
    ('file:///a.pth', 'files are not fetched from file://'),
])
def test_other_schemes_are_looked_up_or_refused(path, message):
    with pytest.raises(UserError, match=message):
        load_file(path)

"""A mistake gives one line and status 2, in whichever process it is noticed."""
import pytest
from torch.utils.data import DataLoader

from cait_mm.config.cli import run
from cait_mm.errors import UserError


class Broken:
    def __len__(self):
        return 1

    def __getitem__(self, index):
        raise UserError('a.h5 is no readable HDF5 file: get it again.')


@pytest.mark.parametrize('workers', [0, 1])
def test_a_sentence_of_a_loaders_process_comes_without_its_traceback(capsys, workers):
    with pytest.raises(SystemExit) as stop:
        run(lambda: next(iter(DataLoader(Broken(), num_workers=workers))))
    assert stop.value.code == 2
    assert capsys.readouterr().err == 'error: a.h5 is no readable HDF5 file: get it again.\n'

import pytest

from cait_mm.errors import reason_of


@pytest.mark.parametrize('error,reason', [
    (TypeError('f() got an unexpected keyword argument \'foo\''), 'f() got an unexpected keyword argument \'foo\''),
    (KeyError('X is not in the mmseg::model registry. Please check whether'), 'X is not in the mmseg::model registry'),
    (KeyError('arch'), '\'arch\' is missing'),
    (RuntimeError('cannot read a.pth: bad magic number.\nSee also'), 'cannot read a.pth: bad magic number'),
    (ValueError(), 'ValueError'),
])
def test_the_first_sentence_is_the_reason(error, reason):
    assert reason_of(error) == reason

import pytest

from cait_mm.errors import UserError, parameters_called, reason_of


@pytest.mark.parametrize('error,reason', [
    (TypeError('f() got an unexpected keyword argument \'foo\''), 'f() got an unexpected keyword argument \'foo\''),
    (KeyError('X is not in the mmseg::model registry. Please check whether'), 'X is not in the mmseg::model registry'),
    (KeyError('arch'), '\'arch\' is missing'),
    (RuntimeError('cannot read a.pth: bad magic number.\nSee also'), 'cannot read a.pth: bad magic number'),
    (ValueError(), 'ValueError'),
])
def test_the_first_sentence_is_the_reason(error, reason):
    assert reason_of(error) == reason


def test_a_library_s_parameters_become_a_config_s_keys():
    wanted = r'^model\.cdcp\.target=2: start earlier \(model\.cdcp\.start_epoch\)$'
    with pytest.raises(UserError, match=wanted), parameters_called('model.cdcp.', ramp_start='start_epoch'):
        raise UserError('`target=2`: start earlier (`ramp_start`)')

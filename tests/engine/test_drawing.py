import pytest
from mmengine.config import Config

from cait_mm.engine import drawing
from cait_mm.errors import UserError


def test_drawing_without_a_hook_is_a_sentence():
    with pytest.raises(UserError, match='no visualization hook'):
        drawing.draw_predictions(Config())

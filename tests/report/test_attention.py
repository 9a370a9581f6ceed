import base64

import numpy as np
import pytest
import torch
from conftest import plain_backbone

from cait_mm.analysis.attention import last_attention
from cait_mm.errors import UserError
from cait_mm.report import attention as module
from cait_mm.report.attention import attention_of, fewer_askers


def decoded(data):
    rows = np.frombuffer(base64.b64decode(data['rows']), np.uint8).reshape(-1, data['tokens'])
    owners, askers = (np.frombuffer(base64.b64decode(data[key]), '<u2') for key in ('owners', 'askers'))
    return rows, owners, askers


def test_a_page_holds_the_weights_of_every_asker_as_shares_of_its_largest():
    backbone, image = plain_backbone('deit', out_indices=(2, )).eval(), torch.randn(1, 3, 64, 64)
    rows, owners, askers = decoded(attention_of(backbone, image))
    weights = last_attention(backbone, image)[:, 1:].numpy()
    np.testing.assert_allclose(rows / 255, weights / weights.max(1, keepdims=True), atol=1 / 255)
    assert rows.shape == (1 + 4, 4) and sorted(set(owners)) == [0, 1, 2, 3] and (owners == askers).all()


def test_of_many_tokens_the_means_of_squares_ask(monkeypatch):
    weights, owners = torch.rand(15, 15), torch.arange(15).view(3, 5)
    monkeypatch.setattr(module, 'MOST_WEIGHTS', 6 * 15)
    rows, asks = fewer_askers(weights, owners, (3, 5))
    assert rows.shape == (6, 15)
    for square in range(6):
        patches = owners[asks == square]
        torch.testing.assert_close(rows[square], weights[patches].mean(0))
    assert asks.tolist() == [[0, 0, 1, 1, 2], [0, 0, 1, 1, 2], [3, 3, 4, 4, 5]]


def test_attention_inside_windows_is_not_shown():
    with pytest.raises(UserError, match='inside windows'):
        attention_of(plain_backbone('swin').eval(), torch.randn(1, 3, 64, 64))

"""Seeded fuzz: a classifier's weights with one thing wrong load as they are, or are one sentence."""
import random

import pytest
import torch
from conftest import FAMILIES, plain_classifier
from damage import SHAPES, spoilt_weights

from cait_mm.errors import UserError
from cait_mm.models.checkpoint import read_checkpoint


@pytest.mark.parametrize('family', FAMILIES)
def test_spoilt_weights_are_one_sentence(tmp_path, family):
    model, rng, path = plain_classifier(family, merge=()), random.Random(13), tmp_path / 'a.pth'
    weights = dict(model.state_dict())
    own = {name.removeprefix('backbone.'): value for name, value in weights.items()}
    for step in range(60):
        spoiled = spoilt_weights(weights if step % 2 else own, rng)
        torch.save({'state_dict': spoiled}, path)
        try:
            model.load_checkpoint(read_checkpoint(str(path)))
        except UserError as error:
            assert '\n' not in str(error) and 'a.pth' in str(error), error
        else:
            loaded = model.state_dict()
            for name, value in spoiled.items():
                name = name if name in loaded else f'backbone.{name}'
                assert name not in loaded or torch.equal(loaded[name], value)


@pytest.mark.parametrize('family', FAMILIES)
def test_no_shape_of_any_tensor_is_a_traceback(tmp_path, family):
    model, path = plain_classifier(family, merge=()), tmp_path / 'a.pth'
    weights = {name.removeprefix('backbone.'): value for name, value in model.state_dict().items()}
    for name in weights:
        if not any(f'.{number}.' in name for number in '123'):
            for shape in random.Random(name).sample(SHAPES, 1) if 'blocks' in name else SHAPES:
                fits = name == 'pos_embed' and shape[1:] == (5, weights[name].shape[2])  # 2x2 patches, resampled
                if shape != weights[name].shape and not fits:
                    torch.save({**weights, name: torch.ones(shape)}, path)
                    with pytest.raises(UserError, match='a.pth'):
                        model.load_checkpoint(read_checkpoint(str(path)))

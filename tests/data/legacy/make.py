"""Write this folder's files with the code of commit 0a52757, the last one before the redesign.

    git worktree add OLD 0a52757 && cp -r tests/data OLD/tests/
    cd OLD && PYTHONPATH=. python tests/data/legacy/make.py && xz -9e tests/data/legacy/*.pth

compress.pth   the third of six epochs of compress.py: compactors, masks, optimizer, schedulers
export.pth     tools/fold.py of the sixth
segmentor.pth  four iterations of segmentor.py; no optimizer
expected.pth   a picture, and the outputs of that code: logits, and the spec and logits of compress.pth cut by force
"""
# ruff: noqa: I001  (cait_mm.utils.configs is no longer there)
import subprocess
import sys
from pathlib import Path
from shutil import copy
from tempfile import TemporaryDirectory

import torch
from mmengine.registry import MODELS

from cait_mm.engine.run import use_export
from cait_mm.pruning.export import export_training
from cait_mm.utils.configs import load_config
from cait_mm.utils.weights import load_file

HERE = Path(__file__).resolve().parent
SIDE = 32


def tool(name: str, *words: str) -> None:
    subprocess.run([sys.executable, f'tools/{name}', *words], check=True)


def model_of(config: str, checkpoint: str) -> torch.nn.Module:
    model = MODELS.build(load_config(str(HERE / f'{config}.py')).model)
    model.load_state_dict(load_file(str(HERE / checkpoint))['state_dict'])
    return model.eval()


@torch.no_grad()
def expected() -> dict:
    torch.manual_seed(0)
    picture = torch.rand(1, 3, SIDE, SIDE)
    cut, _, _ = export_training(str(HERE / 'compress.pth'), None, 0)
    torch.save(cut, HERE / 'cut.pth')
    values = dict(
        picture=picture,
        compress=model_of('compress', 'compress.pth')(picture, mode='tensor'),
        export=small('export.pth')(picture, mode='tensor'),
        cut=small('cut.pth')(picture, mode='tensor'),
        cut_spec=cut['meta']['cait_spec'],
        segmentor=model_of('segmentor', 'segmentor.pth')(picture, mode='tensor'))
    (HERE / 'cut.pth').unlink()
    return values


def small(export: str) -> torch.nn.Module:
    config = load_config(str(HERE / 'compress.py'))
    use_export(config, str(HERE / export))
    model = MODELS.build(config.model)
    model.init_weights()
    return model.eval()


def train(config: str, data: str, folder: str) -> None:
    tool('train.py', str(HERE / f'{config}.py'), '--data-root', data, '--work-dir', folder)


def compression_run(folder: str) -> None:
    train('compress', f'{folder}/scenes/classification', f'{folder}/compress')
    copy(f'{folder}/compress/epoch_3.pth', HERE / 'compress.pth')
    tool('fold.py', f'{folder}/compress/epoch_6.pth', str(HERE / 'export.pth'))


def segmentor_run(folder: str) -> None:
    train('segmentor', f'{folder}/scenes', f'{folder}/segmentor')
    copy(f'{folder}/segmentor/iter_4.pth', HERE / 'segmentor.pth')


if __name__ == '__main__':
    with TemporaryDirectory() as folder:
        tool('make_scenes.py', f'{folder}/scenes', '--train', '24', '--val', '8', '--size', '64', '64')
        compression_run(folder)
        segmentor_run(folder)
    torch.save(expected(), HERE / 'expected.pth')

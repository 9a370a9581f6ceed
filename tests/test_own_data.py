"""docs/own_data.md, run as it is written: its folders, its configs and its commands, on small pictures and DeiT-Tiny."""
import json
import re
import shlex

import numpy as np
import pytest
import torch
from conftest import ROOT
from PIL import Image

from cait_mm.models import classifier_backbone
from cait_mm.spec import Spec

PAGE = (ROOT / 'docs' / 'own_data.md').read_text()
WEIGHTS = 'checkpoints/deit_small_patch16_224-cd65a155.pth'
SMALLER = {
    'train.py': {
        'upernet': 'train_cfg.max_iters=2 train_cfg.val_interval=2 default_hooks.checkpoint.interval=1 '
                   'train_dataloader.batch_size=2 train_dataloader.num_workers=0 '
                   'train_dataloader.persistent_workers=False',
        'mask_rcnn': 'train_cfg.max_epochs=1 train_dataloader.num_workers=0 train_dataloader.persistent_workers=False'},
    'test.py': {'upernet': '', 'mask_rcnn': ''},
}


def blocks(section: str, language: str) -> list[str]:
    text = re.split(r'^## ', PAGE, flags=re.MULTILINE)
    found = next(part for part in text if part.startswith(section))
    return re.findall(rf'```{language}\n(.*?)```', found, re.DOTALL)

"""A small DeiT and a plain PyTorch loop that trains it."""
import torch
import torch.nn.functional as F
from torch import Tensor

from cait_mm.models import Backbone, Classifier, classifier_backbone
from cait_mm.pruning.cdcp import CDCP
from cait_mm.spec import make_spec

SIDE, CLASSES, STEPS = 32, 4, 40


def plain_backbone(merge=()) -> Backbone:
    return classifier_backbone(make_spec(dict(embed_dim=24, depth=2, num_heads=3, img_size=(SIDE, SIDE), patch_size=8),
                                         merge))


def plain_classifier(merge=()) -> Classifier:
    return Classifier(plain_backbone(merge), CLASSES)


def random_batches(count: int, size: int = 4) -> list[tuple[Tensor, Tensor]]:
    """Noise with a label that can be learnt: its brightness."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(CLASSES, (count, size), generator=generator)
    images = torch.randn(count, size, 3, SIDE, SIDE, generator=generator) + labels[..., None, None, None] - 1.5
    return list(zip(images, labels))


def make(**options):
    """A classifier and its pruner, alike at every call."""
    torch.manual_seed(0)
    model = plain_classifier()
    return model, CDCP(model, **{**dict(target=0.4, total_steps=STEPS, interval=4, rule='proximal'), **options})


def adamw(model, **options):
    return torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05, **options)


def train(model, optimizer, batches, scaler=None, clip=None, accumulation=1):
    model.train()
    for index, (images, labels) in enumerate(batches):
        loss = F.cross_entropy(model(images), labels) / accumulation
        (scaler.scale(loss) if scaler else loss).backward()
        if (index + 1) % accumulation:
            continue
        if clip:
            clip()
        if scaler:
            scaler.step(optimizer)
            scaler.update()
        else:
            optimizer.step()
        optimizer.zero_grad()

"""Vision transformers that drop tokens as a predictor says, written out token by token: DynamicViT and dTPS."""
import torch
from slow_blocks import attended, embedded, fed, lively

from cait_mm.models.base import last
from cait_mm.models.deit import DeiT

ARCH = dict(embed_dim=24, depth=4, num_heads=3, img_size=(64, 80))
"""4 x 5 patches, of which a share of 0.7 is 14, and 0.49 is 9."""


def model_of(settings, kind='DynamicViT'):
    """With attention and predictors that differ from token to token."""
    model = lively(DeiT(ARCH, tokens=dict(type=kind, **settings), out_indices=(3,)))
    for parameter in model.tokens.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    for part in model.tokens.values():
        if hasattr(part, 'out_conv'):  # so that draws leave some
            part.out_conv[-1].bias.detach().copy_(torch.tensor([1., 0.]))
    return model


def odds_to_stay(predictor, patches):
    """The logarithm of each token's odds to stay, from its own half of channels and the mean of the others."""
    embedded = [predictor.in_conv(patch) for patch in patches]
    half = len(embedded[0]) // 2
    mean = sum(item[half:] for item in embedded) / len(embedded)
    scores = [predictor.out_conv(torch.cat([item[:half], mean])) for item in embedded]
    return [score[0] - score[1] for score in scores]


def by_hand(model, image, at, keep, restore, stays=None, absorb=None):
    """The last token of CLS, and the map behind the last block, of one image: tokens that do not stay are taken away.

    ``stays`` says, for each of ``at``, whether each patch stays; None lets the most probable ones stay. ``absorb``
    changes the tokens that stay by those that go, and says which of them each one went into.
    """
    cls, *patches = embedded(model, image)
    left, gone, into, count = dict(enumerate(patches)), {}, {}, len(patches)
    for index, block in enumerate(model.blocks):
        if index in at:
            stage = at.index(index)
            odds = dict(zip(left, odds_to_stay(model.tokens[str(index)], list(left.values()))))
            if stays is None:
                kept = sorted(left, key=lambda patch: -odds[patch])[:max(1, int(count * keep ** (stage + 1)))]
            else:
                kept = [patch for patch in left if stays[stage][patch]]
            dropped = {patch: token for patch, token in left.items() if patch not in kept}
            gone.update(dropped)
            left = {patch: left[patch] for patch in kept}
            if absorb is not None:
                into.update(absorb(left, dropped))
        cls, *tokens = fed(block, attended(block, torch.stack([cls, *left.values()]))[0])
        left = dict(zip(left, tokens))
    if restore == 'unstructured':
        gone = dict.fromkeys(gone, model.tokens['mask'].token[0, 0])
    if restore == 'unmerge':
        gone = {patch: left[end(into, patch)] for patch in gone}
    return cls, torch.stack([left.get(patch, gone.get(patch)) for patch in range(count)])


def end(into, patch):
    return end(into, into[patch]) if patch in into else patch


def check(model, images, settings, stays=(None, None), absorb=None):
    torch.manual_seed(3)
    tokens = last(model._stream(images))
    for item, image in enumerate(images):
        cls, full = by_hand(model, image[None], **settings, stays=stays[item], absorb=absorb)
        torch.testing.assert_close(tokens.x[item, 0], cls, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(tokens.spread()[item].flatten(1).T, full, atol=1e-4, rtol=1e-4)


def drawn(model, images):
    """For each image, which of its patches are drawn to stay in front of each block, in training."""
    decisions = []
    handles = [part.register_forward_hook(lambda part, inputs, scores: decisions.append(scores))
               for part in model.tokens.values() if hasattr(part, 'out_conv')]
    torch.manual_seed(3)
    last(model._stream(images))
    [handle.remove() for handle in handles]
    torch.manual_seed(3)
    stays, before = [], True
    for scores in decisions:
        noise = -torch.empty_like(scores).exponential_().log()
        before = before & ((scores + noise).argmax(-1) == 0)
        stays.append(before)
    return [[stage[item].tolist() for stage in stays] for item in range(len(images))]

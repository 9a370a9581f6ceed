"""Where to merge by the damage: the planner's placement first, its neighbours after it, none worse in the end."""
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from cait_mm.arch import get_arch
from cait_mm.errors import UserError
from cait_mm.macs import reduction
from cait_mm.models import Classifier, DeiT, classifier_backbone
from cait_mm.pruning.compress import Compression, compress, compress_inside
from cait_mm.pruning.imitate import kl
from cait_mm.pruning.plan import TOLERANCE, merges_for
from cait_mm.pruning.search import MEASURES, SURE, Candidate, chosen, damages, hold_out, neighbours, search
from cait_mm.spec import Spec, make_spec

ARCH = dict(embed_dim=24, depth=8, num_heads=3, img_size=(64, 64))
TARGET, COUNT = 0.3, 5


def dense_classifier():
    model = Classifier(classifier_backbone(Spec.dense(get_arch(ARCH))), num_classes=5).eval()
    for name, parameter in model.named_parameters():
        if 'norm' not in name:
            nn.init.normal_(parameter, std=0.3)
    return model


def same_weights(one, other):
    return all(map(torch.equal, one.state_dict().values(), other.state_dict().values()))


@pytest.fixture(scope='module')
def searched():
    """A dense classifier, images, and what a search made of them."""
    torch.manual_seed(0)
    model, images, looks = dense_classifier(), torch.randn(24, 3, 64, 64), []
    small = compress(model, [images[:15], images[15:]], TARGET, search=COUNT, pad_to=0, progress=looks.append)
    return SimpleNamespace(model=model, images=images, looks=looks, small=small, record=small.provenance['search'],
                           found=small.provenance['search']['candidates'])


def test_the_best_placement_is_taken_and_is_never_worse_than_the_planners(searched):
    damages = [one['damage'] for one in searched.found]
    assert damages == sorted(damages) and len(damages) == COUNT
    assert sorted(one['number'] for one in searched.found) == [*range(1, COUNT + 1)]
    rule = next(one for one in searched.found if one['number'] == 1)
    assert rule['merges'] == [list(merge) for merge in merges_for(searched.model.spec.arch, TARGET).merges]
    best = searched.found[0]
    assert best['number'] == searched.record['chosen'] > 1, 'else this test shows nothing'
    assert best['damage'] == pytest.approx(rule['damage'] - best['gain']) and best['gain'] > SURE * best['gain_error']
    assert searched.small.spec.merges == make_spec(searched.model.spec.arch, best['merges']).weighted().merges
    assert len({str(one['merges']) for one in searched.found}) == COUNT


def test_the_damage_is_the_kl_on_images_that_did_not_calibrate(searched):
    assert searched.record['images'] == 12 and searched.record['held_out'] and searched.record['measure'] == 'KL'
    alone = [one for one in searched.found if one['reduction'] == one['merging']]
    assert 0 < len(alone) < COUNT, 'some only merge, others cut the rest'
    judged = searched.images[1::2]
    for one in (*alone, next(one for one in searched.found if one['number'] == 1)):
        small = compress(searched.model, [searched.images[::2]], TARGET, one['merges'], pad_to=0)
        with torch.no_grad():
            distance = kl(small(judged), searched.model(judged))
        assert one['damage'] == pytest.approx(float(distance), rel=1e-3)


def test_all_candidates_save_what_is_wanted_and_little_more(searched):
    assert all(TARGET <= one['reduction'] < TARGET + TOLERANCE for one in searched.found)
    assert searched.found[0]['merging'] <= reduction(searched.small.spec) < TARGET + TOLERANCE


def test_with_padded_widths_all_save_what_the_planners_model_does(searched):
    rule, best = (compress(searched.model, [searched.images], TARGET, search=count, pad_to=8) for count in (0, 3))
    assert reduction(rule.spec) < TARGET, 'else this test shows nothing'
    found = best.provenance['search']['candidates']
    assert len(found) == 3 and all(one['reduction'] >= reduction(rule.spec) for one in found)


def test_a_search_is_repeated_exactly_and_says_how_it_goes(searched):
    again = compress(searched.model, [searched.images[:15], searched.images[15:]], TARGET, search=COUNT, pad_to=0)
    assert again.provenance == searched.small.provenance
    assert same_weights(again, searched.small)
    assert len(searched.looks) == COUNT and searched.looks[-1].seconds_left == 0
    assert all(look.count == COUNT for look in searched.looks) and searched.looks[0].seconds_left > 0


def test_one_candidate_is_the_rule():
    model, images = dense_classifier(), [torch.randn(8, 3, 64, 64) for _ in range(2)]
    rule, one = compress(model, images, 0.4), compress(model, images, 0.4, search=1)
    assert rule.spec == one.spec and len(one.provenance['search']['candidates']) == 1
    assert same_weights(one, rule)


@pytest.mark.parametrize('change,message', [
    (dict(merge=((1, 'horizontal'), )), 'give one of them'), (dict(search=-1), 'search=-1'),
    (dict(target=0.999), 'out of reach'),
])
def test_bad_wishes_are_a_sentence(change, message):
    with pytest.raises(UserError, match=message):
        compress(dense_classifier(), [torch.randn(4, 3, 64, 64)], **{'target': 0.4, 'search': 3, **change})


def test_a_model_that_merges_already_has_nothing_to_search():
    model, images = dense_classifier(), [torch.randn(4, 3, 64, 64)]
    merged = compress(model, images, reduction(make_spec(model.spec.arch, ((1, 'horizontal'), ))),
                      ((1, 'horizontal'), ), pad_to=0)
    with pytest.raises(UserError, match='has merges, and they stay'):
        compress(merged, images, 0.5, search=3)


def test_neighbours_differ_by_one_change_and_are_possible():
    spec = make_spec('deit_tiny', ((4, 'horizontal'), (8, 'vertical')))
    found = [tuple((merge.block, merge.kind[0]) for merge in one.merges) for one in neighbours(spec, 12)]
    assert len(set(found)) == len(found) and ((4, 'h'), (8, 'v')) not in found
    moved = [((5, 'h'), (8, 'v')), ((3, 'h'), (8, 'v')), ((4, 'h'), (9, 'v')), ((4, 'h'), (7, 'v'))]
    assert found[:4] == moved and found[4] == ((4, 'v'), (8, 'h'))
    assert ((4, 'h'), (8, 'v'), (11, 'h')) in found and ((2, 'h'), (4, 'v'), (8, 'h')) in found
    assert ((4, 'h'), ) in found and ((8, 'v'), ) in found and ((8, 's'), ) in found
    assert max(block for one in neighbours(spec, 9) for block in one.placed) == 8, 'blocks that are built'


@pytest.mark.parametrize('arch', ['swin_tiny', 'lvvit_s'])
def test_other_families_have_neighbours_where_they_may_merge(arch):
    spec = merges_for(arch, 0.3)
    found = list(neighbours(spec, spec.arch.depth))
    assert found and all(set(one.placed) <= set(spec.arch.merge_blocks) for one in found)


def test_a_search_climbs_to_the_best_neighbour_and_skips_what_is_refused():
    rule, tried = make_spec('deit_tiny', ((4, 'horizontal'), (8, 'vertical'))), []

    def judge(spec):
        tried.append(spec)
        if len(tried) == 3:
            raise UserError('out of reach')
        places = list(spec.placed)
        far = sum(abs(place - best) for place, best in zip(places, (6, 7))) + 5 * abs(len(places) - 2)
        return 0.45, torch.tensor([far + 1., far - 1.])

    found = search(rule, judge, 10, 0.45, reduction, 12)
    assert list(dict(found[0].merges)) == [6, 7] and found[0].damage == 0 and len(found) == 10 == len(tried) - 1
    assert all(0.5 * 0.45 <= one.merging <= 0.45 + TOLERANCE for one in found)


def test_the_planners_placement_stays_unless_another_is_surely_better():
    def found(*gains):
        return [Candidate((), 0.3, 0.3, 1. - gain, gain, error, number) for gain, error, number in gains]

    lucky, sure, rule = (0.4, 0.3, 2), (0.3, 0.1, 3), (0., 0., 1)
    assert chosen(found(lucky, sure, rule)).number == 3
    assert chosen(found(lucky, rule, (-0.1, 0., 4))).number == 1


def test_half_of_the_images_are_held_out_in_turn_and_few_are_not():
    images = torch.arange(17.)[:, None, None, None]
    calibrate, judged = hold_out([images[:3], images[3:4], images[4:]])
    assert torch.cat(calibrate).flatten().tolist() == [*range(0, 17, 2)]
    assert torch.cat(judged).flatten().tolist() == [*range(1, 17, 2)]
    few = [images[:15]]
    assert hold_out(few) == (few, few)


class Module(nn.Module):
    """Anybody's module: its call gives the logits of one or two heads of pixels, or no tensors."""

    def __init__(self, channels=()):
        super().__init__()
        self.backbone = DeiT(dict(ARCH, depth=4), out_indices=(1, 2))
        self.heads = nn.ModuleList(nn.Conv2d(24, count, 1) for count in channels)

    def forward(self, images):
        maps = self.backbone(images)
        return [head(x) for head, x in zip(self.heads, maps)] if len(self.heads) else dict(maps=maps)


@pytest.mark.parametrize('channels', [(), (1,), (3, 2)])
def test_a_whole_model_is_judged_by_the_logits_of_its_call_or_by_its_maps(channels):
    model, images = Module(channels).eval(), torch.randn(16, 3, 64, 64)
    small, folded, provenance = compress_inside(model, [images], Compression(0.3, search=4, pad_to=0), (64, 64))
    record = provenance['search']
    assert record['measure'] == ('KL' if channels else 'error of maps') and len(record['candidates']) == 4
    assert all(block < 3 for one in record['candidates'] for block, _ in one['merges']), 'blocks that are built'
    taken = next(one for one in record['candidates'] if one['number'] == record['chosen'])
    assert folded.spec.merges == make_spec(folded.spec.arch, taken['merges']).weighted().merges
    measure, (answer, distance) = record['measure'], MEASURES[record['measure']]
    wanted = answer(model, images)
    assert damages(model, [images], [wanted], measure).max() < 1e-6
    assert damages(small, [images], [wanted], measure).mean() == pytest.approx(
        torch.stack([distance(answer(small, image[None]), [part[place:place + 1] for part in wanted])
                     for place, image in enumerate(images)]).mean().item(), rel=1e-2)  # some 1e-7 nats


def test_what_is_judged_restores_its_maps_as_the_result_does():
    model, images = Module().eval(), torch.randn(6, 3, 64, 64)
    small, _, provenance = compress_inside(model, [images], Compression(0.3, search=2, pad_to=0), (64, 64))
    assert small.backbone.restore_mode == 'residual_linear' and not provenance['search']['held_out']
    taken = next(one for one in provenance['search']['candidates'] if one['number'] == provenance['search']['chosen'])
    own = damages(small, [images], [MEASURES['error of maps'][0](model, images)], 'error of maps')
    assert own.shape == (6, ) and float(own.mean()) == pytest.approx(taken['damage'], rel=1e-3)

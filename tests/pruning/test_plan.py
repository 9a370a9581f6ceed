import json

import pytest
from timed import table_of

from cait_mm.errors import UserError
from cait_mm.macs import reduction
from cait_mm.pruning.plan import MERGING_SHARE, merges_for, plan
from cait_mm.spec import make_spec
from cait_mm.tokens.atme import even_placement


def test_even_placement_is_the_papers_first_choice():
    assert even_placement(12, 2) == [4, 8], 'the 5th and 9th layers'
    assert even_placement(12, 3) == [3, 6, 9]


@pytest.mark.parametrize('arch,target,blocks', [
    ('deit_small', 0.411, [4, 8]), ('deit_small', 0.433, [4, 7]), ('deit_tiny', 0.502, [3, 7, 9]),
    ('deit_small', 0.544, [3, 5, 8]),
])
def test_plans_are_the_papers_placements(arch, target, blocks):
    spec = plan(arch, target)
    assert [merge.block for merge in spec.merges] == blocks
    assert [merge.kind for merge in spec.merges] == ['horizontal', 'vertical', 'horizontal'][:len(blocks)]
    assert reduction(spec) == pytest.approx(target, abs=0.003)


def test_swins_plan_is_the_papers():
    spec = plan('swin_small', 0.337)
    assert [merge.block for merge in spec.merges] == ['2.7', '2.12']
    assert reduction(spec) == pytest.approx(0.337, abs=5e-4)


def test_a_plan_for_another_size_counts_at_that_size():
    assert reduction(plan('deit_small', 0.5, (512, 512)), (512, 512)) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize('target', [0, 1, -0.5, 43.3])
def test_no_reduction_is_refused(target):
    with pytest.raises(UserError, match='not a reduction'):
        plan('deit_small', target)


def test_an_unreachable_target_names_the_reachable_one():
    with pytest.raises(UserError, match=r'reaches a reduction of 95.0%: merging alone was seen to reach .* to 86'):
        plan('deit_small', 0.95)


def test_the_command(tool, tmp_path):
    out = tmp_path / 'plan.json'
    status, text, _ = tool('plan.py', '--arch', 'deit_small', '--target', '0.433', '--json', out)
    assert status == 0 and '43.1%' in text
    result = json.loads(out.read_text())
    assert result['merge'] == [[4, 'horizontal'], [7, 'vertical']] and result['macs'] == 2620409088
    status, text, error = tool('plan.py', '--arch', 'deit_small', '--target', '0.99')
    assert status == 2 and error.startswith('error: ') and not text


def test_a_plan_for_a_speedup(tool, tmp_path):
    table = table_of('deit_small', ffn=lambda tokens, width: tokens)  # widths of FFNs are free: merges alone count
    table.save(tmp_path / 'table.json')
    words = ('--arch', 'deit_small', '--latency-table', tmp_path / 'table.json')
    status, text, err = tool('plan.py', *words, '--speedup', 1.8, '--json', tmp_path / 'plan.json')
    assert status == 0, err
    result = json.loads((tmp_path / 'plan.json').read_text())
    spec = make_spec('deit_small', [tuple(merge) for merge in result['merge']])
    assert table.saved(spec) == pytest.approx(1 - 1 / 1.8, abs=0.02)
    assert result['latency']['ms'] == pytest.approx(table.predict(spec), rel=1e-3) and 'made-up' in text
    status, _, err = tool('plan.py', *words, '--speedup', 40)
    assert status == 2 and 'reaches a speed-up of 40.00x: merging alone was seen to reach ' in err
    status, _, err = tool('plan.py', *words, '--speedup', 1.8, '--shape', 384, 384)
    assert status == 2 and 'deit_small, at 384x384' in err
    status, _, err = tool('plan.py', *words, '--target', 0.4)
    assert status == 2 and '--latency-table goes with --speedup' in err


@pytest.mark.parametrize('arch,target,merge', [
    ('deit_small', 0.544, ((4, 'horizontal'), (7, 'vertical'))),
    ('deit_small_patch16_224', 0.544, ((4, 'horizontal'), (7, 'vertical'))),
    ('swin_tiny', 0.3, (('2.4', 'horizontal'), ('2.5', 'vertical'))),
    ('deit_small', 0.05, ()),
])
def test_merges_to_compress_with_are_the_papers_where_channels_can_do_the_rest(arch, target, merge):
    assert merges_for(arch, target) == make_spec(arch, merge)


@pytest.mark.parametrize('arch', ['deit_tiny', 'lvvit_s', 'swin_tiny', 'swin_small'])
@pytest.mark.parametrize('target', [0.1, 0.25, 0.4, 0.5, 0.6])
def test_merges_to_compress_with_never_save_more_than_is_asked_for(arch, target):
    spec = merges_for(arch, target)
    assert reduction(spec) <= target and not spec.is_pruned


def test_a_target_beyond_merging_leaves_the_rest_to_channels():
    with pytest.raises(UserError, match='no placement of merges in swin_tiny'):
        plan('swin_tiny', MERGING_SHARE * 0.8)
    assert 0.1 < reduction(merges_for('swin_tiny', 0.8)) < MERGING_SHARE * 0.8 - 0.02

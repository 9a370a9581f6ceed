"""Heads and data have the same number of classes, or a sentence says which do not."""
import copy

import pytest
from mmengine.config import Config

from cait_mm.datasets.heads import head_problems


def names(count):
    return [f'class {index}' for index in range(count)]


def segmentor(count=11, **head):
    return dict(type='EncoderDecoder', backbone=dict(type='CAITDeiT', num_classes=1000),
                decode_head=dict(type='UPerHead', num_classes=count, **head),
                auxiliary_head=[dict(type='FCNHead', num_classes=count), dict(type='FCNHead', num_classes=count)])


def cascade(count=80):
    return dict(type='CascadeRCNN', rpn_head=dict(type='RPNHead', num_classes=1), roi_head=dict(
        type='CascadeRoIHead', bbox_head=[dict(type='Shared2FCBBoxHead', num_classes=count) for _ in range(3)],
        mask_head=dict(type='FCNMaskHead', num_classes=count)))


def mask2former(things, stuff):
    heads = dict(num_things_classes=things, num_stuff_classes=stuff)
    return dict(type='Mask2Former', panoptic_head=dict(
        type='Mask2FormerHead', loss_cls=dict(class_weight=[1.0] * (things + stuff) + [0.1]), **heads),
        panoptic_fusion_head=dict(type='MaskFormerFusionHead', **heads))


def classifier(count):
    return dict(type='Classifier', num_classes=count, data_preprocessor=dict(mixup=dict(num_classes=count)),
                distillation=dict(teacher=dict(num_classes=3)))


MODELS = {
    'segmentor': (segmentor, 3),
    'one-stage detector': (lambda count: dict(type='RetinaNet', bbox_head=dict(num_classes=count)), 1),
    'cascade': (cascade, 4),
    'queries': (lambda count: dict(type='DINO', bbox_head=dict(type='DINOHead', num_classes=count)), 1),
    'Mask2Former': (lambda count: mask2former(count - 2, 2), 2),
    'classifier': (classifier, 2),
    'a model in a wrapper': (lambda count: dict(type='SegTTAModel', module=segmentor(count)), 3),
}


@pytest.mark.parametrize('kind', MODELS)
@pytest.mark.parametrize('wrap', [dict, lambda model: Config(dict(model=model)).model])
def test_every_head_is_compared(kind, wrap):
    make, heads = MODELS[kind]
    model = wrap(make(5))
    before = copy.deepcopy(dict(model))
    assert head_problems(model, names(5)) == []
    narrow, = head_problems(model, names(11))
    assert 'are 5' in narrow or 'is 5' in narrow
    assert 'the data have 11 classes, so labels from 5 up would stop the run' in narrow
    assert narrow.count('model.') == heads, 'every head is named once'
    wide, = head_problems(model, names(4))
    assert 'outputs from 4 up would never be taught' in wide
    assert dict(model) == before


def test_heads_that_differ_among_themselves_are_told_apart():
    model = segmentor(11)
    model['auxiliary_head'][1]['num_classes'] = 19
    problem, = head_problems(model, names(11))
    assert problem.startswith('model.auxiliary_head.1.num_classes is 19 and the data have 11 classes')


@pytest.mark.parametrize('head', [
    dict(count=2, out_channels=1, threshold=0.5, loss_decode=[dict(type='cait_mm.heads.losses.StructureLoss')]),
    dict(count=2, out_channels=1, loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=True)),
    dict(count=1, loss_decode=dict(type='mmseg.CrossEntropyLoss', use_sigmoid=True)), dict(count=2)])
def test_one_output_says_two_classes(head):
    model = dict(segmentor(**head), auxiliary_head=None)
    assert head_problems(model, names(2)) == []
    assert len(head_problems(model, names(3))) == 1


def test_one_output_with_a_softmax_teaches_nothing():
    model = dict(segmentor(2, out_channels=1, loss_decode=dict(type='CrossEntropyLoss')), auxiliary_head=None)
    problem, = head_problems(model, names(2))
    assert problem.startswith('model.decode_head has one output and a softmax as its loss')


def test_outputs_that_are_no_classes_are_passed_over():
    stdc = dict(segmentor(19), auxiliary_head=[dict(type='STDCHead', num_classes=2), dict(num_classes=19)])
    assert head_problems(stdc, names(19)) == []
    htc = cascade(80)
    htc['roi_head']['semantic_head'] = dict(type='FusedSemanticHead', num_classes=183)
    htc['roi_head']['mask_head'] = dict(type='FCNMaskHead', num_classes=1, class_agnostic=True)
    assert head_problems(htc, names(80)) == []
    assert head_problems(dict(bbox_head=dict(type='GroundingDINOHead', num_classes=256)), names(80)) == []


def test_a_panoptic_models_boxes_are_of_things():
    model = dict(mask2former(80, 53), roi_head=cascade(80)['roi_head'])
    assert head_problems(model, names(133)) == []
    assert 'bbox_head.0.num_classes' in head_problems(dict(model, roi_head=cascade(79)['roi_head']), names(133))[0]


def test_a_list_file_need_not_hold_every_class():
    unnamed = [str(index) for index in range(971)]
    assert head_problems(classifier(1000), unnamed) == []
    assert 'model.num_classes' in head_problems(classifier(900), unnamed)[0]
    assert 'is 1000' in head_problems(dict(type='Classifier'), names(20))[0], "the classifier's default counts"


def test_class_weights_are_as_many_as_classes():
    model = segmentor(11, loss_decode=[dict(type='CrossEntropyLoss', class_weight=[1.0] * 19)])
    assert '19 class weights and the head 11 classes' in head_problems(model, names(11))[0]
    for fits in (11, 12):
        model['decode_head']['loss_decode'][0]['class_weight'] = [1.0] * fits
        assert head_problems(model, names(11)) == []


@pytest.mark.parametrize('model', [{}, dict(decode_head=None), dict(decode_head=dict(num_classes='11')),
                                   dict(decode_head=[None, 3]), dict(decode_head=dict(num_classes=True))])
def test_heads_without_a_number_are_left_to_the_library(model):
    assert head_problems(model, names(11)) == []


def test_data_without_classes():
    assert 'name no classes' in head_problems(segmentor(11), [])[0]

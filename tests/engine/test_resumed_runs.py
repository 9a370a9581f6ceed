"""Runs of every kind that are stopped and resumed end with the bits of one that was not."""
import json
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from tiny_runs import KINDS, Stopped, differing, load, make_data, run

from cait_mm.engine.runner import CheckedRunner
from cait_mm.engine.start import resume_from
from cait_mm.errors import UserError

pytest.importorskip('mmseg')
pytest.importorskip('mmdet')
TENSORS = ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers')
STOPS = dict(segmentor=5, detector=6, medical=4, classifier=4)


@pytest.fixture(scope='module')
def data(tmp_path_factory) -> Path:
    return make_data(tmp_path_factory.mktemp('data'))


def files(folder: Path) -> list:
    return sorted(path.name for path in folder.glob('*.pth'))


def assert_same_end(whole: Path, resumed: Path) -> None:
    """The same files, and in the last one the same bits and the same best score."""
    assert files(whole) == files(resumed)
    last = Path((whole / 'last_checkpoint').read_text()).name
    wanted, got = load(whole / last), load(resumed / last)
    assert not differing({key: wanted.get(key) for key in TENSORS}, {key: got.get(key) for key in TENSORS})
    scores = [content['message_hub']['runtime_info'].get('best_score') for content in (wanted, got)]
    assert scores[0] == scores[1]


@pytest.fixture(scope='module')
def whole(data, tmp_path_factory):
    """Work directories of runs that were not stopped, made once."""
    made = {}

    def make(kind: str, **options) -> Path:
        key = kind, json.dumps(options, sort_keys=True)
        if key not in made:
            made[key] = tmp_path_factory.mktemp(kind)
            run(data, kind, made[key], **options)
        return made[key]

    return make


@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize('kind', KINDS)
def test_a_stopped_run_resumes_to_the_same_bits(data, whole, tmp_path, kind, workers):
    run(data, kind, tmp_path, workers, stop=dict(iteration=STOPS[kind]))
    run(data, kind, tmp_path, workers, resume='auto')
    assert_same_end(whole(kind), tmp_path)  # one without workers: their number plays no part


def test_chance_plays_a_part_in_these_runs(whole, tmp_path, data):
    run(data, 'segmentor', tmp_path, **{'randomness.seed': 1, 'train_cfg.max_iters': 2})
    other = load(tmp_path / 'iter_2.pth')['state_dict']
    assert differing(other, load(whole('segmentor') / 'iter_6.pth')['state_dict'])


def test_accumulated_gradients_that_wait_are_kept(data, tmp_path):
    options = {'optim_wrapper.accumulative_counts': 3}
    run(data, 'segmentor', tmp_path / 'whole', **options)
    run(data, 'segmentor', tmp_path / 'found', stop=dict(iteration=5), **options)
    run(data, 'segmentor', tmp_path / 'found', resume='auto', **options)
    assert_same_end(tmp_path / 'whole', tmp_path / 'found')
    assert not load(tmp_path / 'whole' / 'iter_6.pth')['resume'].get('gradients')


def test_a_checkpoint_in_the_middle_of_an_epoch_is_one_to_resume_from(data, whole, tmp_path):
    run(data, 'medical', tmp_path, stop=dict(iteration=5, save=True))
    assert files(tmp_path)[-1] == 'iter_5.pth' and load(tmp_path / 'iter_5.pth')['resume']['batches_done'] == 2
    run(data, 'medical', tmp_path, resume='auto')
    assert_same_end(whole('medical'), tmp_path)


@pytest.mark.parametrize('kind, at', [('segmentor', 4), ('segmentor', 7), ('classifier', 9)])
def test_a_validation_that_was_cut_off_is_run_again(data, whole, tmp_path, kind, at):
    run(data, kind, tmp_path, stop=dict(validation=at))
    runner = run(data, kind, tmp_path, resume='auto')
    assert_same_end(whole(kind), tmp_path)
    assert runner.message_hub.get_info('last_validated_iter') == runner.iter


def test_a_validation_that_was_complete_is_not_run_again(data, whole, tmp_path, monkeypatch):
    import mmengine.runner.loops as loops
    begun = []
    real = loops.ValLoop.run
    monkeypatch.setattr(loops.ValLoop, 'run', lambda self: (begun.append(self.runner.iter), real(self)))
    run(data, 'segmentor', tmp_path, stop=dict(iteration=5))
    run(data, 'segmentor', tmp_path, resume='auto')
    assert begun == [2, 4, 6, 7]


def test_past_batches_are_not_loaded(data, tmp_path, monkeypatch):
    from mmseg.datasets import BaseSegDataset
    run(data, 'segmentor', tmp_path, stop=dict(iteration=5))
    asked, real = [], BaseSegDataset.__getitem__
    monkeypatch.setattr(BaseSegDataset, '__getitem__', lambda self, index: (
        None if self.test_mode else asked.append(int(index)), real(self, index))[1])
    run(data, 'segmentor', tmp_path, resume='auto', **{'val_dataloader.dataset.test_mode': True})
    assert len(asked) == 3 * 3, 'three batches of three pictures are left'


def test_the_seed_of_a_run_without_one_is_kept(data, tmp_path):
    options = {'randomness.seed': None}
    run(data, 'segmentor', tmp_path / 'found', **options, stop=dict(iteration=5))
    seed = load(tmp_path / 'found' / 'iter_4.pth')['meta']['seed']
    run(data, 'segmentor', tmp_path / 'found', resume='auto', **options)
    run(data, 'segmentor', tmp_path / 'whole', **{'randomness.seed': seed})
    assert_same_end(tmp_path / 'whole', tmp_path / 'found')


class TestCheckpoints:
    """Files are deleted after the ones that replace them were written."""

    def test_there_is_a_best_file_at_every_moment(self, data, tmp_path, monkeypatch):
        from mmengine.fileio import LocalBackend

        from cait_mm.engine.storage import AtomicBackend
        seen, real = [], AtomicBackend.put
        monkeypatch.setattr(AtomicBackend, 'put', lambda self, obj, path: (
            real(self, obj, path), seen.append((Path(path).name, files(tmp_path))))[0])
        gone, remove = [], LocalBackend.remove
        monkeypatch.setattr(LocalBackend, 'remove', lambda self, path: (
            gone.append((Path(path).name, files(tmp_path))), remove(self, path))[1])
        scores = iter([1., 2., 3., 2.5])
        monkeypatch.setattr('mmengine.evaluator.Evaluator.evaluate', lambda self, size: {'mIoU': next(scores)})
        run(data, 'segmentor', tmp_path, **{'default_hooks.checkpoint.save_best': 'mIoU',
                                            'default_hooks.checkpoint.max_keep_ckpts': 1})
        assert files(tmp_path) == ['best_mIoU_iter_6.pth', 'iter_7.pth']
        deleted = [name for name, _ in gone]
        assert deleted == ['iter_2.pth', 'best_mIoU_iter_2.pth', 'iter_4.pth', 'best_mIoU_iter_4.pth', 'iter_6.pth']
        for name, there in gone:
            kind, _, number = name.rpartition('_iter_') if 'best' in name else name.rpartition('iter_')
            newer = [other for other in there if other.startswith(kind or 'iter') and other > name]
            assert newer, f'{name} was deleted while {there} were there'

    @pytest.mark.parametrize('after', ['best_mIoU_iter_4.pth', 'iter_4.pth'])
    def test_a_kill_after_any_write_leaves_the_same_end(self, data, tmp_path, monkeypatch, after):
        """Also between the writes of one validation, where the former best file is still there."""
        from cait_mm.engine.storage import AtomicBackend
        scores = {2: 1., 4: 2., 6: 1.5, 7: 1.}
        monkeypatch.setattr('mmengine.evaluator.Evaluator.evaluate',
                            lambda self, size: {'mIoU': scores[current[0].iter]})
        current, real, counted = [], AtomicBackend.put, []
        from tiny_runs import StopAt
        monkeypatch.setattr(StopAt, 'before_val', lambda self, runner: current.insert(0, runner))
        options = {'default_hooks.checkpoint.save_best': 'mIoU'}

        def put(self, obj, path):
            real(self, obj, path)
            counted.append(Path(path).name)
            if stopping and counted.count(after) == (2 if after == 'iter_4.pth' else 1):
                raise Stopped

        monkeypatch.setattr(AtomicBackend, 'put', put)
        stopping = False
        run(data, 'segmentor', tmp_path / 'whole', stop=dict(iteration=-1), **options)
        counted.clear()
        stopping = True
        run(data, 'segmentor', tmp_path / 'found', stop=dict(iteration=-1), **options)
        assert 'best_mIoU_iter_2.pth' in files(tmp_path / 'found'), 'stopped before it was deleted'
        stopping = False
        run(data, 'segmentor', tmp_path / 'found', stop=dict(iteration=-1), resume='auto', **options)
        assert files(tmp_path / 'whole') == ['best_mIoU_iter_4.pth', 'iter_6.pth', 'iter_7.pth']
        assert_same_end(tmp_path / 'whole', tmp_path / 'found')

    def test_a_best_file_that_is_gone_does_not_keep_its_score(self, data, whole, tmp_path):
        run(data, 'classifier', tmp_path, stop=dict(iteration=5))
        for path in tmp_path.glob('best_*'):
            path.unlink()
        run(data, 'classifier', tmp_path, resume='auto')
        assert list(tmp_path.glob('best_*'))


class TestRefusals:
    """A checkpoint without the state of this run is refused, and nothing in the work directory changes."""

    @pytest.fixture(scope='class')
    def stopped(self, data, tmp_path_factory) -> CheckedRunner:
        """A run that was stopped in its third iteration."""
        return run(data, 'segmentor', tmp_path_factory.mktemp('stopped'), stop=dict(iteration=3))

    @pytest.mark.parametrize('change, words', [
        (lambda c: c.update(state_dict={f'x.{k}': value for k, value in c['state_dict'].items()}), 'it lacks .*x\\.'),
        (lambda c: c['state_dict'].pop(next(iter(c['state_dict']))), 'it lacks '),
        (lambda c: c['state_dict'].update(more=torch.ones(2)), 'it has besides more'),
        (lambda c: c['state_dict'].update({k: v.to(torch.int8) for k, v in c['state_dict'].items()}), 'int8|floating'),
        (lambda c: c['state_dict'].update({k: v[:1] for k, v in c['state_dict'].items() if v.dim()}), 'config has'),
        (lambda c: c.pop('optimizer'), 'it has no optimizer'),
        (lambda c: c.pop('message_hub'), 'it has no message_hub'),
        (lambda c: c.pop('param_schedulers'), 'it has no parameter schedulers, the config 1'),
        (lambda c: c['param_schedulers'].append({}), 'it has 2 parameter schedulers'),
        (lambda c: c['param_schedulers'][0].pop('last_step'), 'parameter scheduler 0 is no PolyLR'),
        (lambda c: c['param_schedulers'][0].update(last_step='x'), "last_step of its parameter scheduler 0 is 'x'"),
        (lambda c: c['optimizer']['param_groups'].pop(), 'other groups'),
        (lambda c: c['optimizer']['param_groups'][0].update(lr='x'), "lr of group 0 is 'x'"),
        (lambda c: c['optimizer']['param_groups'][0].update(lr=float('nan')), 'lr of group 0 is nan'),
        (lambda c: c['optimizer']['param_groups'][0]['params'].__setitem__(0, [1]), 'other groups'),
        (lambda c: c['optimizer']['state'][0].update(step='9'), 'step of parameter 0 is a str'),
        (lambda c: c['optimizer'].update(state={}), 'state of its parameters is missing'),
        (lambda c: c['optimizer']['state'][0].pop('exp_avg'), 'lacks exp_avg'),
        (lambda c: c['optimizer']['state'][0].update(exp_avg=torch.ones(3)), 'exp_avg of parameter 0'),
        (lambda c: c['meta'].pop('iter'), 'iter=None'),
        (lambda c: c['meta'].update(iter=-1), 'iter=-1'),
        (lambda c: c['meta'].update(iter=1.5), 'iter=1.5'),
        (lambda c: c['meta'].update(iter=100), 'has iter=100 and the config ends at train_cfg.max_iters=7'),
        (lambda c: c['meta'].update(epoch=2), 'its run counted epochs'),
        (lambda c: c['meta'].update(seed='x'), "seed='x'"),
        (lambda c: c['meta']['dataset_meta'].update(classes=['a', 'b']), r'trained on 2 classes \(a, b\)'),
        (lambda c: c['message_hub'].pop('runtime_info'), 'message_hub lacks'),
        (lambda c: c['message_hub']['log_scalars'].update(x=3), 'history of x'),
        (lambda c: c['message_hub']['runtime_info'].update(keep_ckpt_ids=['../x']), 'keep_ckpt_ids'),
        (lambda c: c.update(ema_state_dict=dict(c['state_dict'])), 'its run kept averaged weights'),
        (lambda c: c.clear(), 'no training checkpoint|it has no|holds no|no weights'),
    ])
    def test_a_checkpoint_without_all_of_a_run(self, stopped, tmp_path, change, words):
        content = load(Path(stopped.work_dir, 'iter_2.pth'))
        change(content)
        torch.save(content, tmp_path / 'iter_2.pth')
        with pytest.raises(UserError, match=words) as error:
            stopped.resume(str(tmp_path / 'iter_2.pth'))
        assert '\n' not in str(error.value) and str(tmp_path) in str(error.value)

    def test_it_is_said_before_anything_is_written(self, data, stopped, tmp_path):
        content = load(Path(stopped.work_dir, 'iter_2.pth'))
        content['state_dict'].popitem()
        torch.save(content, tmp_path / 'iter_2.pth')
        (tmp_path / 'segmentor.py').write_text('what was there')
        with pytest.raises(UserError, match=r'cannot resume .*it lacks .*use --cfg-options load_from=.*iter_2\.pth'):
            run(data, 'segmentor', tmp_path, resume='auto')
        assert (tmp_path / 'segmentor.py').read_text() == 'what was there' and files(tmp_path) == ['iter_2.pth']

    def test_a_config_in_a_checkpoint_is_not_run(self, data, stopped, tmp_path):
        content = load(Path(stopped.work_dir, 'iter_2.pth'))
        content['meta']['config'] = f'import os\nos.mkdir({str(tmp_path / "executed")!r})\ngpu_ids = [0]\n'
        torch.save(content, tmp_path / 'iter_2.pth')
        run(data, 'segmentor', tmp_path, resume='auto', stop=dict(iteration=3))
        assert not (tmp_path / 'executed').exists()

    def test_a_checkpoint_is_read_once(self, data, stopped, tmp_path, monkeypatch):
        read, real = [], torch.load
        monkeypatch.setattr(torch, 'load', lambda path, *args, **kwargs: (
            read.append(path), real(path, *args, **kwargs))[1])
        run(data, 'segmentor', tmp_path, resume=str(Path(stopped.work_dir, 'iter_2.pth')), stop=dict(iteration=3))
        assert [Path(path).name for path in read] == ['iter_2.pth']

    def test_a_run_of_another_kind_is_refused(self, data, stopped, tmp_path):
        with pytest.raises(UserError, match='counted iterations'):
            run(data, 'classifier', tmp_path, resume=str(Path(stopped.work_dir, 'iter_2.pth')))

    def test_the_message_names_the_remaining_checkpoints(self, stopped, tmp_path):
        whole = Path(stopped.work_dir, 'iter_2.pth').read_bytes()
        for name, content in (('iter_2', whole), ('best_mIoU_iter_2', whole), ('.iter_3.pth.abc', whole),
                              ('iter_3', whole[:5000]), ('iter_4', whole[:5000])):
            (tmp_path / f'{name}.pth').write_bytes(content)
        (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'iter_4.pth'))
        config = Config(dict(work_dir=str(tmp_path)))
        with pytest.raises(UserError, match='cannot resume: .*is damaged') as error:
            resume_from(config, 'auto')
        assert str(error.value).endswith(f'Others are there: --resume {tmp_path / "iter_2.pth"}.')
        with pytest.raises(UserError, match='no local file: download it'):
            resume_from(config, 'http://127.0.0.1:9/iter_2.pth')
        (tmp_path / 'last_checkpoint').write_text('http://127.0.0.1:9/iter_2.pth')
        resume_from(config, 'auto')
        assert config.resume and config.load_from == str(tmp_path / 'iter_2.pth'), 'the note is not followed'
        (tmp_path / 'iter_2.pth').unlink()
        with pytest.raises(UserError, match='names no file that is there'):
            resume_from(config, 'auto')
        resume_from(config := Config(dict(work_dir=str(tmp_path / 'new'))), 'auto')
        assert not config.resume

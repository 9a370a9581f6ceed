"""A tuning run of whole segmentors and detectors: its config and its result."""
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from torch import Tensor

from cait_mm.config.screen import At
from cait_mm.datasets.check_files import datasets_of
from cait_mm.datasets.unlabelled import without_labels
from cait_mm.engine.progress import ProgressHook
from cait_mm.engine.run import build_runner
from cait_mm.engine.start import resume_from
from cait_mm.engine.tuning import TUNED, read_outcome
from cait_mm.errors import UserError
from cait_mm.pruning.tune import LOOKS, MODULE_LR, Tuned
from cait_mm.utils.files import newest_checkpoint

_KEPT = ('custom_imports', 'default_scope', 'env_cfg', 'log_level', 'vis_backends', 'visualizer')


def tuning_config(small: Config, small_checkpoint: str, dense: Config, dense_checkpoint: str,
                  images: str | Sequence[str], steps: int, work_dir: str, lr: float = MODULE_LR, seed: int = 0,
                  batch_size: int | None = None) -> Config:
    """The config of the run in which a dense model teaches its compressed self on images alone.

    AdamW with a cosine to zero, batches and augmentation as in ``small``'s training without what needs labels. A tenth
    of the images is held out, goes through the test pipeline and chooses the best checkpoint. ``tools/train.py`` and
    ``tools/dist_train.sh`` train it, with ``--resume`` and ``--amp``.

    Args:
        small, dense: Configs of the models; data and pipelines are those of ``small``.
        small_checkpoint, dense_checkpoint: Files with all of their weights.
        images: A folder, a text file with a path on every line, or paths.
        steps: How many.
        work_dir: Where checkpoints go.
        lr: Of the first step.
        seed: Of the run, and of the images that are held out.
        batch_size: Images in a step of one process; None is the config's.

    Raises:
        UserError: The config has no pipelines to take, or its training pipeline joins labelled pictures.
    """
    interval, node = max(1, steps // LOOKS), small.get('train_dataloader') or {}
    workers = dict(num_workers=node.get('num_workers', 0), persistent_workers=node.get('num_workers', 0) > 0)
    data = {held_out: dict(type='UnlabelledImages', images=images if isinstance(images, str) else list(images),
                           pipeline=without_labels(pipeline_of(small, loader)), held_out=held_out, seed=seed)
            for held_out, loader in ((False, 'train_dataloader'), (True, 'val_dataloader'))}
    hooks = {name: deepcopy(hook) for name, hook in small.get('default_hooks', {}).items() if name != 'visualization'}
    hooks['checkpoint'] = dict(type='CheckpointHook', by_epoch=False, interval=interval, max_keep_ckpts=1,
                               save_best='kl', rule='less', backend_args=dict(backend='atomic'))
    hooks['logger'] = dict(type='LoggerHook', interval=interval, log_metric_by_epoch=False)
    return Config(dict(
        {key: deepcopy(small[key]) for key in _KEPT if key in small},
        model=dict(type='LabelFreeTuning', student=model_of(small), teacher=model_of(dense),
                   student_checkpoint=str(small_checkpoint), teacher_checkpoint=str(dense_checkpoint)),
        train_dataloader=dict(batch_size=batch_size or node.get('batch_size', 1), dataset=data[False],
                              sampler=dict(type='InfiniteSampler', shuffle=True), **workers),
        val_dataloader=dict(batch_size=1, sampler=dict(type='DefaultSampler', shuffle=False), dataset=data[True],
                            **workers),
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=steps, val_interval=interval),
        val_cfg=dict(type='ValLoop'), val_evaluator=dict(type='HeldOutKL'),
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=lr), clip_grad=dict(max_norm=1.)),
        param_scheduler=[dict(type='CosineAnnealingLR', T_max=steps, eta_min=0., by_epoch=False, begin=0, end=steps)],
        default_hooks=hooks, custom_hooks=[dict(type='TuningHook')], log_processor=dict(by_epoch=False),
        find_unused_parameters=True, load_from=None, resume=False, randomness=dict(seed=seed), work_dir=str(work_dir)),
        format_python_code=False)  # MMEngine would format it for every checkpoint, which takes a second


def pipeline_of(config: Config, loader: str) -> Sequence[Mapping[str, Any]]:
    """The pipeline of a loader's first dataset.

    Raises:
        UserError: It has none.
    """
    datasets = datasets_of((config.get(loader) or {}).get('dataset'))
    pipelines = [node['pipeline'] for node in datasets if 'pipeline' in node]
    if not pipelines:
        raise UserError(f'config {config.filename} has no pipeline in its {loader}, which tuning needs.')
    return pipelines[0]


def model_of(config: Config) -> ConfigDict:
    """A model's config without the files that its parts start from: all of its weights come from one checkpoint."""
    model = deepcopy(config.model.to_dict())
    model.pop('pretrained', None)
    for part in (model, *(part for part in model.values() if isinstance(part, dict))):
        if (part.get('init_cfg') or {}).get('type') == 'Pretrained':
            part.pop('init_cfg')
    return ConfigDict(model)


def run_tuning(config: Config, progress: At | None = None) -> tuple[dict[str, Tensor], Tuned]:
    """Train a config of :func:`tuning_config`, from its newest checkpoint where there is one; the best weights of the
    tuned model, and how it went. ``progress`` shows the iterations.
    """
    if not Path(config.work_dir, TUNED).is_file():
        if newest_checkpoint(config.work_dir):
            resume_from(config, 'auto')
        runner = build_runner(config)
        if progress is not None:
            runner.register_hook(ProgressHook(progress))
        runner.train()
    return read_outcome(config.work_dir)

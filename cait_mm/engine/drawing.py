"""Drawings of a run: predictions, and curves for TensorBoard."""
from mmengine.config import Config

from cait_mm.errors import UserError, reason_of


def draw_predictions(config: Config, folder: str | None = None, interval: int = 1) -> None:
    """Make the library's visualization hook draw every ``interval``-th prediction, into ``folder`` if one is given.

    Raises:
        UserError: The config has no such hook.
    """
    hook = config.get('default_hooks', {}).get('visualization')
    if not hook or 'visualizer' not in config:
        raise UserError('this config has no visualization hook and visualizer, so nothing can be drawn.')
    hook.draw, hook.interval = True, interval
    if folder:
        config.visualizer['save_dir'] = folder
        config.visualizer.setdefault('vis_backends', [dict(type='LocalVisBackend')])


def add_tensorboard(config: Config) -> None:
    """Make the run write TensorBoard scalars too.

    Raises:
        UserError: TensorBoard is not installed, or the config has no visualizer.
    """
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError as error:
        raise UserError(f'--tensorboard needs TensorBoard, which cannot be imported ({reason_of(error)}): pip install '
                        'tensorboard.') from error
    if not config.get('visualizer'):
        raise UserError('this config has no visualizer, so --tensorboard has nowhere to write.')
    config.visualizer['vis_backends'] = [*(config.visualizer.get('vis_backends') or []),
                                         dict(type='TensorboardVisBackend')]

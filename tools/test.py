"""Evaluate a checkpoint with a config of the project, and draw its predictions."""
import _early  # noqa: F401  # isort: skip
import argparse

from mmengine.runner import Runner

from cait_mm.config.cli import logs_aside, output_folder, positive, report, run
from cait_mm.engine.drawing import draw_predictions
from cait_mm.engine.preflight import config_problems, refuse
from cait_mm.engine.processes import start_processes, stop_processes
from cait_mm.engine.progress import tell_progress
from cait_mm.engine.run import build_runner, unwrapped
from cait_mm.engine.run_config import add_run_options, forget_training, read_run_config
from cait_mm.engine.start import use_compressed
from cait_mm.engine.tta import use_tta
from cait_mm.models.checkpoint import read_checkpoint
from cait_mm.utils.tables import table
from cait_mm.utils.weights import fitting


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_run_options(parser)
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--show-dir', type=output_folder, metavar='DIR', help='draw every prediction into this folder')
    parser.add_argument('--tta', nargs='*', type=positive, metavar='RATIO',
                        help='merge predictions on flipped pictures at these sizes (default: 0.5 to 1.75 for '
                             'segmentation, 1 for detection)')
    return parser.parse_args()


def load_whole(runner: Runner, checkpoint: str) -> None:
    """Load a training checkpoint, which has to hold all weights."""
    with fitting(checkpoint):
        runner.load_checkpoint(checkpoint, strict=True)


def main() -> None:
    args = parse_args()
    config = read_run_config(args, training=False)
    refuse(config_problems(config, training=False))
    forget_training(config)
    compressed = read_checkpoint(args.checkpoint).is_compressed
    if compressed:
        use_compressed(config, args.checkpoint)
    config.load_from, config.resume = None, False
    # Checkpoints already hold the averaged weights.
    config.custom_hooks = [hook for hook in config.get('custom_hooks', []) if hook.type != 'EMAHook']
    if args.show_dir:
        draw_predictions(config, str(args.show_dir))
    if args.tta is not None:
        use_tta(config, args.tta)
    start_processes(config, args.launcher)
    with logs_aside(args.json):
        runner = build_runner(config)
        tell_progress(runner)
        if compressed:
            unwrapped(runner).init_weights()
        else:
            load_whole(runner, args.checkpoint)
        metrics = {name: float(value) for name, value in runner.test().items()}
    if runner.rank == 0:
        rows = [[name, f'{value:.4g}'] for name, value in metrics.items()]
        report(table(['metric', 'value'], rows), metrics, args.json)
    stop_processes()


if __name__ == '__main__':
    run(main)

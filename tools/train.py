"""Train a config of the project, of MMSegmentation or MMDetection."""
import _early  # noqa: F401  # isort: skip
import argparse
from functools import partial
from pathlib import Path
from typing import Any

from cait_mm.config.cli import logs_aside, positive_int, report, run
from cait_mm.config.load import is_classifier
from cait_mm.engine.drawing import add_tensorboard, draw_predictions
from cait_mm.engine.preflight import config_problems, refuse, rehearse, run_problems
from cait_mm.engine.processes import alone, process_count, require_free, start_processes, stop_processes
from cait_mm.engine.recipe import set_epochs, set_total_batch, use_amp
from cait_mm.engine.run import build_runner, final_metrics
from cait_mm.engine.run_config import add_run_options, read_run_config
from cait_mm.engine.start import resume_from
from cait_mm.report.attempt import attempt, place_of


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_run_options(parser)
    parser.add_argument('--resume', nargs='?', const='auto', metavar='CHECKPOINT',
                        help='continue from the newest checkpoint in the work directory, or from CHECKPOINT')
    parser.add_argument('--amp', nargs='?', const='float16', choices=['float16', 'bfloat16'],
                        help='mixed precision (default: float16)')
    parser.add_argument('--epochs', type=positive_int, metavar='N',
                        help='make a recipe of epochs longer or shorter, with its schedulers and the start of CDCP')
    parser.add_argument('--total-batch-size', type=positive_int, metavar='N',
                        help='images per optimizer step, divided among the processes')
    parser.add_argument('--tensorboard', action='store_true', help='also write TensorBoard scalars')
    parser.add_argument('--draw', nargs='?', const=10, type=positive_int, metavar='N',
                        help='draw every N-th prediction of a validation (default: 10)')
    parser.add_argument('--check-only', action='store_true',
                        help='check the config, its data and weights and these options; train nothing')
    return parser.parse_args()


def run_pair(work_dir: str) -> Any:
    from cait_mm.report import sources
    return sources.open_run(Path(work_dir))


def main() -> None:
    args = parse_args()
    config = read_run_config(args, training=True)
    refuse(config_problems(config, training=True))
    if args.amp:
        use_amp(config, args.amp)
    if args.epochs is not None:
        set_epochs(config, args.epochs)
    if args.tensorboard:
        add_tensorboard(config)
    if args.draw:
        draw_predictions(config, interval=args.draw)
    if args.resume or config.get('resume'):
        resume_from(config, args.resume or config.get('load_from') or 'auto')
    if not args.check_only:
        start_processes(config, args.launcher)
    set_total_batch(config, args.total_batch_size, process_count(args.launcher))
    if args.check_only:
        require_free(config)
        rehearse(config, process_count(args.launcher))
        result = {'config': args.config, 'work_dir': config.work_dir}
        report(f'{args.config} is ready to be trained.', result, args.json)
        return
    with logs_aside(args.json), alone(config):
        runner = build_runner(config)
        refuse(run_problems(runner))
        runner.train()
        if runner.rank == 0 and (config.model.get('cdcp') if is_classifier(config) else None):
            print(attempt(place_of(runner.work_dir), partial(run_pair, runner.work_dir)), flush=True)
    if runner.rank == 0 and args.json:
        result = {'config': args.config, 'work_dir': runner.work_dir, 'iter': runner.iter, 'epoch': runner.epoch,
                  'checkpoint': runner.message_hub.get_info('last_ckpt', None), 'metrics': final_metrics(runner)}
        report(f'trained to iteration {runner.iter}: {result["checkpoint"]}', result, args.json)
    stop_processes()


if __name__ == '__main__':
    run(main)

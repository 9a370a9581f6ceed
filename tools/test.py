"""Evaluate a checkpoint with any config of the project, and draw its predictions."""
import argparse

from cait_mm.backbones.checkpoint import read_checkpoint
from cait_mm.engine.run import add_run_options, build_runner, draw_predictions, read_run_config, start_processes
from cait_mm.errors import UserError
from cait_mm.utils.cli import logs_aside, report, run, table


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_run_options(parser)
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--show-dir', metavar='DIR', help='draw every prediction into this folder')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    config = read_run_config(args, loaders=('test_dataloader',))
    read_checkpoint(args.checkpoint)
    config.load_from, config.resume = None, False
    if args.show_dir:
        draw_predictions(config, args.show_dir)
    start_processes(config, args.launcher)
    with logs_aside(args.json):
        runner = build_runner(config)
        try:
            runner.load_checkpoint(args.checkpoint, strict=True)
        except RuntimeError as error:
            raise UserError(f'checkpoint {args.checkpoint} does not fit {args.config}: {error}') from error
        metrics = {name: float(value) for name, value in runner.test().items()}
    if runner.rank == 0:
        rows = [[name, f'{value:.4g}'] for name, value in metrics.items()]
        report(table(['metric', 'value'], rows), metrics, args.json)


if __name__ == '__main__':
    run(main)

"""Check the data of a config and print a line for each split; the exit status is 2 if there are problems.

First the folders and files are checked to exist and to be readable. Then pictures and labels are checked: labels
without pictures and the reverse, broken files, ids out of range, labels that teach nothing, differing sizes, patients
in two splits, and whether loaders, evaluators and heads fit each other. Notes are about things that may be intended.
"""
import _early  # noqa: F401  # isort: skip
import argparse

from cait_mm.config.cli import add_json_option, report, run, whole_number
from cait_mm.config.load import load_config
from cait_mm.config.options import add_cfg_options, add_data_root_option
from cait_mm.config.screen import add_verbose_option, screen
from cait_mm.datasets.check_contents import check_contents, mismatches
from cait_mm.datasets.check_files import describe_data
from cait_mm.datasets.root import move_data

MOST = 10
"""The number of problems that are printed for each split."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file')
    parser.add_argument('--samples', type=whole_number, default=50, metavar='N',
                        help='number of pictures and label maps to decode in each split, 0 for all (default: 50)')
    add_cfg_options(parser)
    add_data_root_option(parser)
    add_verbose_option(parser)
    add_json_option(parser)
    args = parser.parse_args()
    config = load_config(args.config, args.cfg_options)
    if args.data_root is not None:
        move_data(config, args.data_root)
    described, lines = describe_data(config), []
    intact = [loader for loader, states in described.items() if not states['missing'] and not states['unreadable']]
    with screen(1, args.verbose, json_path=args.json) as shown, shown.step('check pictures and labels') as step:
        inspected = check_contents(config, intact, args.samples or None, lambda pairs: step.over(pairs, 'items'))
        disagreements = mismatches(config, intact, inspected)
    for loader, states in described.items():
        listed = [f'{state} {", ".join(paths)}' for state, paths in states.items() if paths and state != 'remedies']
        lines.append(f'{loader.removesuffix("_dataloader")}: ' + '; '.join([*listed, *states['remedies']]))
        if loader in inspected:
            states.update(inspected[loader])
            lines[-1] += f'; {states["items"]} items, {states["decoded"]} decoded, {len(states["problems"])} problems'
            lines += _shown(states['problems']) + _shown([f'note: {remark}' for remark in states['remarks']])
    described['config'] = {'problems': disagreements}
    if disagreements:
        lines += [f'config: {len(disagreements)} problems', *_shown(disagreements)]
    report('\n'.join(lines) or f'{args.config} has no data.', described, args.json)
    return 2 if any(states.get(key) for states in described.values()
                    for key in ('missing', 'unreadable', 'problems')) else 0


def _shown(sentences: list[str]) -> list[str]:
    more = [f'and {len(sentences) - MOST} more (--json lists all)'] if len(sentences) > MOST else []
    return [f'  {sentence}' for sentence in [*sentences[:MOST], *more]]


if __name__ == '__main__':
    run(main)

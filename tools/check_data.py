"""Say what of a config's data is there, missing or unreadable, one line per split; status 2 where something is not."""
import argparse

from cait_mm.datasets.check import describe_data
from cait_mm.utils.cli import add_cfg_options, add_json_option, report, run
from cait_mm.utils.configs import load_config


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    add_cfg_options(parser)
    add_json_option(parser)
    args = parser.parse_args()
    described = describe_data(load_config(args.config, args.cfg_options))
    lines = []
    for loader, states in described.items():
        listed = [f'{state} {", ".join(paths)}' for state, paths in states.items() if paths and state != 'remedies']
        lines.append(f'{loader.removesuffix("_dataloader")}: ' + '; '.join([*listed, *states['remedies']]))
    report('\n'.join(lines) or f'{args.config} has no data.', described, args.json)
    return 2 if any(states['missing'] or states['unreadable'] for states in described.values()) else 0


if __name__ == '__main__':
    run(main)

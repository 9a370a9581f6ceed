"""Time configs against a dense one, interleaved, and count MACs: backbone, encoder (backbone and neck), overall.

Classifiers (compress_* configs, and compressed checkpoints of tools/fold.py and tools/compress.py) have no neck and are
only timed overall, like ONNX files of tools/export.py, which ONNX Runtime runs with the same number of threads.
"Ideal" is the ratio of MACs, "realised" the saved share of the time that the ideal saves, "cap" the speed-up that
Amdahl's law allows at the ideal of the encoder if the head takes as long as before.
"""
import _early  # noqa: F401  # isort: skip
import argparse
import sys
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch

from cait_mm.analysis.flops import count_macs, count_params
from cait_mm.analysis.modes import DTYPES, Mode, attention_kernels
from cait_mm.analysis.training import training_step
from cait_mm.config.cli import add_json_option, positive_int, report, run
from cait_mm.config.options import add_cfg_options
from cait_mm.config.screen import Screen, add_verbose_option, screen
from cait_mm.deploy import OnnxModel, deployed
from cait_mm.errors import UserError, reason_of
from cait_mm.tasks import PARTS, load_model, parts_of, task_of
from cait_mm.utils.memory import keep_freed_memory
from cait_mm.utils.speed import Timing, amdahl, conditions, peak_memory, time_interleaved
from cait_mm.utils.tables import table


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('configs', nargs='+', metavar='CONFIG', help='compressed: configs, checkpoints, ONNX files')
    parser.add_argument('--against', required=True, metavar='CONFIG', help='the dense model')
    parser.add_argument('--train-step', action='store_true',
                        help='time a training step instead: forward, backward and optimizer')
    parser.add_argument('--parts', nargs='+', choices=PARTS, default=('encoder', 'overall'),
                        help='the parts to time (default: encoder overall)')
    parser.add_argument('--batch-size', type=positive_int, default=1)
    parser.add_argument('--shape', nargs=2, type=positive_int, default=(512, 512), metavar=('H', 'W'), help='pixels')
    parser.add_argument('--rounds', type=positive_int, default=10, help='timed rounds, of which the median is reported')
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cuda' if torch.cuda.is_available() else 'cpu',
                        help='default: a GPU if there is one')
    parser.add_argument('--dtype', choices=list(DTYPES), default='float32',
                        help='16 bits by autocast, as in mixed precision (default: float32, on a GPU TF32)')
    parser.add_argument('--weights', choices=('float32', 'same'), default='float32',
                        help='same: weights in the 16 bits of --dtype, without autocast')
    parser.add_argument('--no-tf32', action='store_true', help='full float32 products on a GPU')
    parser.add_argument('--compile', choices=('off', 'backbone', 'all'), default='off', help='torch.compile')
    parser.add_argument('--cuda-graph', action='store_true',
                        help='record each call and replay it, which leaves out the time of Python')
    parser.add_argument('--deploy', action='store_true',
                        help='as exported: batch norms folded into convolutions, auxiliary heads dropped')
    parser.add_argument('--channels-last', action='store_true', help='memory format of images and convolutions')
    parser.add_argument('--attention', choices=('fused', 'eager'), default='fused',
                        help='eager is unfused, as in the paper (default: fused)')
    parser.add_argument('--threads', type=positive_int, help='CPU threads (default: all cores)')
    parser.add_argument('--keep-memory', action='store_true',
                        help='keep freed memory in the process (glibc), as jemalloc and tcmalloc do')
    add_cfg_options(parser, 'change every config')
    add_verbose_option(parser)
    add_json_option(parser)
    args = parser.parse_args()
    if args.train_step and (args.compile == 'all' or args.weights == 'same' or args.cuda_graph or args.deploy):
        parser.error('--train-step goes with neither --compile all, --weights same, --cuda-graph nor --deploy')
    if args.train_step and args.dtype != 'float32' and args.device == 'cpu':
        parser.error('--train-step in 16 bits is MMEngine\'s mixed precision, which needs a GPU')
    return args


def mode_of(args: argparse.Namespace) -> Mode:
    return Mode(args.device, args.dtype, args.compile, args.channels_last, args.attention, not args.no_tf32,
                args.weights, args.cuda_graph)


def paths_of(args: argparse.Namespace) -> list[str]:
    """The paths of the models, the dense one first."""
    return [args.against, *(path for path in args.configs if path != args.against)]


def measure(args: argparse.Namespace, mode: Mode, shown: Screen) -> dict[str, Any]:
    """Build all models, count their MACs, and time their parts in one interleaved run."""
    with shown.step('build the models and count their MACs') as step:
        models, calls = built(args, mode, step.over(paths_of(args), 'models'))
        shared = shared_parts(models)
    shown.steps = 1 + len(shared)
    for name in shared:
        with shown.step(f'time {name}') as step:
            time_part(args, mode, name, models, calls[name], partial(step.at, unit='rounds'))
    dense = models[args.against]
    for model in models.values():
        if 'encoder' in model and 'overall' in model:
            model['overall']['cap'] = amdahl(dense['overall']['seconds'], dense['encoder']['seconds'],
                                             model['encoder']['ideal'])
    return models


def built(args: argparse.Namespace, mode: Mode,
          paths: Iterable[str]) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Callable[[], Any]]]]:
    """The counts of every model, and the calls of its parts, by part and path."""
    models: dict[str, dict[str, Any]] = {}
    calls: dict[str, dict[str, Callable[[], Any]]] = {name: {} for name in PARTS}
    for path in paths:
        if path.endswith('.onnx'):
            saved = saved_model(path, mode)
            models[path] = {'params': saved.about['params'], 'overall': {'macs': saved.about['macs']}}
            calls['overall'][path] = partial(saved, mode.batch(args.batch_size, *args.shape, saved.in_channels))
            continue
        model = load_model(path, args.cfg_options)
        if args.deploy:
            deployed(model)
        parts, models[path] = parts_of(model, args.parts), {'params': count_params(model)}
        channels = task_of(model).in_channels
        image, batch = torch.rand(1, channels, *args.shape), mode.batch(args.batch_size, *args.shape, channels)
        for name, part in parts.items():
            models[path][name] = {'macs': count_macs(part, (image,))['']}
        mode.prepare(model)
        for name, part in parts.items():
            calls[name][path] = partial(mode.prepare_part(part), batch)
    return models, calls


def time_part(args: argparse.Namespace, mode: Mode, name: str, models: dict[str, dict[str, Any]],
              calls: dict[str, Callable[[], Any]], progress: Callable[[int, int], None]) -> None:
    """Time the part ``name`` of all models in turn, and add the results to ``models``."""
    with mode.running():
        tried(calls, name)
        recorded = {path: mode.recorded(call) for path, call in calls.items()}
        timings = time_interleaved(recorded, args.rounds, device=mode.device, progress=progress)
    for path, timing in timings.items():
        entry, dense = models[path][name], models[args.against][name]
        entry.update(described(timing, timings[args.against]), ideal=dense['macs'] / entry['macs'])
        with mode.running(), torch.inference_mode():
            # PyTorch cannot see the memory and kernels of ONNX Runtime
            entry['peak_memory'] = None if path.endswith('.onnx') else peak_memory(calls[path], mode.device)
            models[path]['attention'] = attention_kernels(calls[path])


def shared_parts(models: dict[str, dict[str, Any]]) -> list[str]:
    """The parts that all models have; other parts are dropped.

    Raises:
        UserError: There are none.
    """
    shared = [name for name in PARTS if all(name in model for model in models.values())]
    if not shared:
        listed = ', '.join(f'{path} has {" and ".join(name for name in PARTS if name in model) or "none of these"}'
                           for path, model in models.items())
        raise UserError(f'nothing can be compared: {listed}; classifiers and ONNX files have overall alone.')
    for model in models.values():
        for name in set(PARTS) - set(shared):
            model.pop(name, None)
    return shared


def tried(calls: dict[str, Callable[[], Any]], name: str) -> None:
    """Call each model once.

    Raises:
        UserError: A model cannot run in this mode.
    """
    for path, call in calls.items():
        try:
            with torch.inference_mode():
                call()
        except RuntimeError as error:
            raise UserError(f'{path}, {name}: this cannot run in the mode asked for ({reason_of(error)}): give '
                            'another --dtype, or time --parts backbone encoder.') from error


def saved_model(path: str, mode: Mode) -> OnnxModel:
    """An ONNX file of a whole model.

    Raises:
        UserError: It holds a backbone, or ONNX Runtime cannot run in this mode.
    """
    model = OnnxModel(path)
    if model.about.get('part') == 'backbone':
        raise UserError(f'{path} holds a backbone: whole models are timed, tools/export.py --part overall makes one.')
    if (mode.device, mode.dtype) != ('cpu', 'float32'):
        raise UserError(f'{path} runs in ONNX Runtime on the CPU in float32: give --device cpu --dtype float32.')
    return model


def measure_training(args: argparse.Namespace, mode: Mode, shown: Screen) -> dict[str, Any]:
    """Time one training step of all configs in one interleaved run."""
    with shown.step('build the models') as step:
        steps = {path: training_step(path, args.cfg_options, args.batch_size, tuple(args.shape), mode)
                 for path in step.over(paths_of(args), 'models')}
    # the optimizer wrapper enters autocast for the forward pass
    with shown.step('time a training step') as step, mode.running(autocast=False):
        timings = time_interleaved(steps, args.rounds, training=True, device=mode.device,
                                   progress=partial(step.at, unit='rounds'))
        return {path: {'attention': attention_kernels(steps[path]), 'step': {
            **described(timing, timings[args.against]), 'cost': timing.median / timings[args.against].median,
            'peak_memory': peak_memory(steps[path], mode.device)}} for path, timing in timings.items()}


def described(timing: Timing, dense: Timing) -> dict[str, Any]:
    return {'seconds': timing.median, 'quartiles': list(timing.quartiles), 'spread': timing.spread,
            'noisy': timing.noisy, 'launch_bound': timing.launch_bound, 'speedup': dense.median / timing.median}


def rows_of(models: dict[str, Any]) -> list[list[str]]:
    rows = []
    for path, model in models.items():
        parts = [name for name in (*PARTS, 'step') if name in model]
        for name in parts:
            part = model[name]
            low, high = part['quartiles']
            ideal = part.get('ideal')
            rows.append([
                path if name == parts[0] else '', name, f'{part["macs"] / 1e9:.2f}' if 'macs' in part else '',
                f'{1000 * part["seconds"]:.1f} ms ({1000 * low:.1f} to {1000 * high:.1f})', f'{part["speedup"]:.2f}x',
                f'{ideal:.2f}x' if ideal else '', realised(part), f'{part["cap"]:.2f}x' if 'cap' in part else '',
                '' if part['peak_memory'] is None else f'{part["peak_memory"] / 2**20:.0f} MiB'])
    return rows


def realised(part: dict[str, Any]) -> str:
    """The saved share of the time that the ratio of MACs would save."""
    promised = 1 - 1 / part.get('ideal', 1)
    return f'{(1 - 1 / part["speedup"]) / promised:.0%}' if promised > 0 else ''


def warnings_of(models: dict[str, Any]) -> list[str]:
    """Reasons not to quote a number."""
    warnings = []
    for path, model in models.items():
        for name in (*PARTS, 'step'):
            part = model.get(name, {})
            if part.get('noisy'):
                warnings.append(f'{path}, {name}: quartiles {part["spread"]:.0%} of the median apart, too noisy to '
                                'quote: stop other work or take more --rounds.')
            if part.get('launch_bound'):
                warnings.append(f'{path}, {name}: the GPU waits for Python: take a larger --batch-size or --compile.')
    return warnings


def main() -> None:
    args = parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.keep_memory:
        keep_freed_memory()
    mode = mode_of(args)
    with screen(2 if args.train_step else 1 + len(args.parts), args.verbose, json_path=args.json) as shown:
        models = (measure_training if args.train_step else measure)(args, mode, shown)
    machine = {**conditions(mode.device), **{f'mode {key}': value for key, value in mode.to_dict().items()
                                             if key != 'device'},
               **{key: getattr(args, key) for key in ('deploy', 'keep_memory', 'batch_size', 'rounds')},
               'shape': list(args.shape)}
    header = ['config', 'part', 'GMACs per image', 'median per batch (quartiles)', 'speed-up', 'ideal', 'realised',
              'cap', 'memory at most']
    lines = [table(header, rows_of(models))]
    lines += [f'attention: {path} {model["attention"] or "none"}' for path, model in models.items()]
    lines.append(', '.join(f'{key} {value}' for key, value in machine.items()))
    for warning in warnings_of(models):
        print(f'warning: {warning}', file=sys.stderr)
    report('\n'.join(lines), {'conditions': machine, 'against': args.against, 'models': models}, args.json)


if __name__ == '__main__':
    run(main, ('device', 'cuda_graph', 'parts', 'shape'))

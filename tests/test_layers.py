"""One direction of imports: a part of the package imports only from rows above its own, as the syntax tree shows."""
import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

PACKAGE = ROOT / 'cait_mm'
ROWS = (
    ('errors', 'version'),
    ('utils', ),
    ('ops', ),
    ('arch', ),
    ('tokens', ),
    ('spec', ),
    ('macs', ),
    ('models', ),
    ('latency', ),
    ('pruning', ),
    ('api', ),
    # the rows above need only torch and timm; the rows below may need OpenMMLab
    ('config', ),
    ('backbones', 'necks', 'heads', 'evaluation', 'datasets'),
    ('classification', ),
    ('engine', ),
    ('tasks', ),
    ('analysis', 'deploy'),
    ('compression', ),
    ('demo', ),
    ('report', ),
)
ROW = {part: number for number, row in enumerate(ROWS) for part in row}
LINE = ROW['config']
OPENMMLAB = ('mmcv', 'mmdet', 'mmengine', 'mmseg')
REGISTRATIONS = ('register_backend', 'register_module', 'use_checked_loader', 'warning')
"""Calls that a module may make when it is imported: registrations, and a warning about missing packages."""
SETTERS = ('add_safe_globals', 'clear_safe_globals', 'filterwarnings', 'manual_seed', 'seed', 'set', 'simplefilter',
           'putenv', 'use')
"""Calls by these names, and by those that begin with ``set_``, change global state."""


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob('*.py'))


def name_of(path: Path) -> str:
    """``cait_mm/utils/files.py`` -> ``cait_mm.utils.files``."""
    return '.'.join(path.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__')


def part_of(name: str) -> str:
    """``cait_mm.utils.files`` -> ``utils``; the package itself has no part."""
    return name.split('.')[1] if '.' in name else ''


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and full name of everything that is imported anywhere, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f'line {node.lineno}: write the full name of what is imported'
            yield from ((node.lineno, f'{node.module}.{alias.name}') for alias in node.names)


def misplaced(name: str, source: str) -> list[str]:
    """The imports of module ``name`` that break the table."""
    part, problems = part_of(name), []
    for line, imported in imports(ast.parse(source)):
        package, *rest = imported.split('.')
        if package in OPENMMLAB and part and ROW[part] < LINE:
            problems.append(f'{name}, line {line}: {package} is imported above the line')
        if package != 'cait_mm' or not part:
            continue
        other = rest[0] if rest else ''
        if other not in ROW:
            problems.append(f'{name}, line {line}: {imported} is in no row')
        elif other != part and ROW[other] >= ROW[part]:
            problems.append(f'{name}, line {line}: {part} may not import {other}')
    return problems


def at_import(statements: list[ast.stmt]) -> Iterator[ast.AST]:
    """Every node that is run when a module is imported: not the bodies of functions, but their decorators and
    defaults, and the bodies of classes, branches and attempts.
    """
    waiting: list[ast.AST] = list(statements)
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            waiting += [*node.decorator_list, *node.args.defaults, *filter(None, node.args.kw_defaults)]
        elif isinstance(node, ast.Lambda):
            waiting += [*node.args.defaults, *filter(None, node.args.kw_defaults)]
        else:
            waiting += ast.iter_child_nodes(node)


def called(node: ast.Call) -> str:
    return getattr(node.func, 'attr', getattr(node.func, 'id', ''))


def side_effects(name: str, source: str) -> list[str]:
    """The changes outside module ``name`` when it is imported, apart from registration."""
    tree, problems = ast.parse(source), []
    own = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    for node in at_import(tree.body):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            owner = getattr(getattr(node.value.func, 'value', None), 'id', '')
            if called(node.value) not in REGISTRATIONS and owner not in own:
                problems.append(f'{name}, line {node.lineno}: {ast.unparse(node)}')
        elif isinstance(node, ast.Call) and (called(node) in SETTERS and ast.unparse(node.func) != 'set'
                                             or called(node).startswith('set_')):
            problems.append(f'{name}, line {node.lineno}: {ast.unparse(node)}')
        elif isinstance(node, (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Delete)):
            targets = node.targets if isinstance(node, (ast.Assign, ast.Delete)) else [node.target]
            problems += [f'{name}, line {node.lineno}: {ast.unparse(node)}' for target in targets
                         if isinstance(target, (ast.Attribute, ast.Subscript))]
        elif isinstance(node, (ast.For, ast.While, ast.With)):
            problems.append(f'{name}, line {node.lineno}: a module is a list of definitions')
    return problems


def test_every_part_has_a_row():
    parts = {part_of(name_of(path)) for path in modules()} - {''}
    assert parts <= {*ROW} and len(parts) > 10


@pytest.mark.parametrize('path', modules(), ids=name_of)
def test_imports_lead_upwards_and_change_nothing(path):
    name, source = name_of(path), path.read_text()
    assert misplaced(name, source) == []
    assert side_effects(name, source) == []


@pytest.mark.parametrize('name,source,message', [
    ('cait_mm.ops.a', 'from cait_mm.spec import Spec', 'ops may not import spec'),
    ('cait_mm.pruning.a', 'def f():\n    from cait_mm.config import cli', 'line 2: pruning may not import config'),
    ('cait_mm.necks.a', 'import cait_mm.heads.losses', 'necks may not import heads'),
    ('cait_mm.utils.a', 'def f():\n    import mmengine.dist', 'mmengine is imported above the line'),
    ('cait_mm.engine.a', 'from cait_mm import load', 'cait_mm.load is in no row'),
])
def test_breaches_of_the_table_are_seen(name, source, message):
    problems = misplaced(name, source)
    assert len(problems) == 1 and message in problems[0]


@pytest.mark.parametrize('source', [
    'torch.set_num_threads(1)', 'x = torch.set_grad_enabled(False)', 'torch.serialization.add_safe_globals([])',
    'os.environ["A"] = "1"', 'Image.MAX_IMAGE_PIXELS = None', 'class A:\n    random.seed(0)', 'print(1)',
    'try:\n    pass\nexcept ImportError:\n    warnings.simplefilter("ignore")', 'def f(x=np.random.seed(0)):\n    pass',
    'for name in NAMES:\n    register(name)',
])
def test_side_effects_are_seen(source):
    assert side_effects('cait_mm.utils.a', source)


@pytest.mark.parametrize('source', [
    '"""Text."""\nX = set(range(3))\nY: int = 2', 'def f():\n    torch.set_num_threads(1)', 'f = lambda: print(1)',
    '@MODELS.register_module()\nclass A:\n    x = 1', 'class A(B):\n    pass\nA.add_constructor("a", f)',
    'register_backend("a", A, force=True)',
])
def test_definitions_and_registration_change_nothing(source):
    assert side_effects('cait_mm.utils.a', source) == []

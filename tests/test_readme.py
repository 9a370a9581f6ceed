"""The commands of README.md and docs/commands.md run as written, or stop at the one thing that a fresh clone lacks."""
import re
import shlex

import pytest
from conftest import ROOT
from timed import table_of

PAGES = [(ROOT / page).read_text() for page in ('README.md', 'docs/commands.md')]
BLOCKS = [block for page in PAGES for block in re.findall(r'```shell\n(.*?)```', page, re.DOTALL)]
COMMANDS = [shlex.split(line, comments=True) for block in BLOCKS for line in block.splitlines() if line.strip()]
TOOLS = list(dict.fromkeys(tuple(command) for command in COMMANDS if command[0] == 'python'))
# What a fresh clone does not have: downloads and the results of a training run.
PAGE = 'docs/prepare_data.md#{data}'
LACKING = {'tools/compress.py': 'does not exist', 'tools/demo.py': 'does not exist', 'tools/fold.py': 'does not exist',
           'tools/report.py': 'does not exist', 'tools/train.py': PAGE, 'tools/test.py': PAGE}


@pytest.mark.parametrize('command', TOOLS, ids=' '.join)
def test_python_command(tool, command, tmp_path, monkeypatch):
    _, script, *words = command
    if script == 'tools/benchmark.py':  # as written but quick
        words[words.index('--shape') + 1:] = ['64', '64', '--rounds', '1']
    if 'edge.json' in words:
        words[words.index('edge.json')] = table = tmp_path / 'edge.json'
        if script == 'tools/latency.py':
            monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
            words += ['--seconds', '0.1']
        else:
            table_of('deit_small').save(table)
    if (ROOT / 'data').exists() and script in LACKING:
        pytest.skip('data/ is here: this might start the real training')
    status, out, err = tool(script.removeprefix('tools/'), *words)
    if script in LACKING:
        message = LACKING[script].format(data='imagenet' if 'imagenet' in words[0] else 'ade20k')
        if words[0].startswith('small/'):  # a compressed model's folder
            message = 'config small/config.py does not exist'
        assert status == 2 and message in err and 'Traceback' not in err
    else:
        assert status == 0 and out, err


def test_shell_commands_name_scripts_that_exist():
    scripts = [command[1] for command in COMMANDS if command[0] == 'bash']
    assert {'tools/quickstart.sh', 'tools/run_tests.sh', 'tools/dist_train.sh'} <= set(scripts)
    assert all((ROOT / script).is_file() for script in scripts)


def test_every_link_in_the_documents_leads_somewhere():
    for page in [ROOT / 'README.md', ROOT / 'configs/README.md', *sorted((ROOT / 'docs').glob('*.md'))]:
        for target in re.findall(r'\]\(([^)#:]+)(?:#[^)]*)?\)', page.read_text()):
            assert (page.parent / target).exists(), f'{page.name} links to {target}'


def test_sentences_point_at_headings_that_exist():
    page = (ROOT / 'docs' / 'prepare_data.md').read_text()
    anchors = {heading.strip().lower() for heading in re.findall(r'^#+ (.*)$', page, re.MULTILINE)}
    sources = [path.read_text() for folder in ('cait_mm', 'configs') for path in (ROOT / folder).rglob('*.py')]
    named = {anchor for text in sources for anchor in re.findall(r'prepare_data\.md#(\w+)', text)}
    assert named and named <= anchors


SCRIPTS = sorted(str(path.relative_to(ROOT / 'tools')) for path in ROOT.glob('tools/**/[!_]*.py'))


@pytest.mark.parametrize('script', SCRIPTS)
def test_every_tool_has_help_and_json(tool, script):
    status, out, _ = tool(script, '--help')
    assert status == 0 and '--json FILE' in out

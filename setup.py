"""Packaging; the tested versions of everything are in ``requirements/``, the ranges here only say what can work."""
import os
import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
# Needed by the commands, data sets and metrics in addition to OpenMMLab.
TOOLS = ['fvcore>=0.1.5', 'h5py', 'jinja2', 'matplotlib', 'medpy', 'pycocotools', 'scipy', 'tifffile', 'tqdm']
MIM_ENTRIES = ('configs', 'tools', 'model-index.yml')
# These set up a checkout and mean nothing in an installed package.
CHECKOUT_SCRIPTS = ('quickstart.sh', 'run_tests.sh', 'setup_env.sh')


def read_version() -> str:
    text = (ROOT / 'cait_mm' / 'version.py').read_text(encoding='utf-8')
    return re.search(r"__version__ = '([^']+)'", text).group(1)


def read_readme() -> str:
    readme = ROOT / 'README.md'
    return readme.read_text(encoding='utf-8') if readme.exists() else ''


def clear(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def fill_mim(package: Path, link: bool) -> None:
    """Put what ``mim`` looks for into ``.mim`` of the package: copies in a wheel, links where it is edited in place."""
    mim = package / '.mim'
    clear(mim)
    mim.mkdir(parents=True)
    ignore = shutil.ignore_patterns('__pycache__', '*.py[co]', *CHECKOUT_SCRIPTS)
    for entry in MIM_ENTRIES:
        source, target = ROOT / entry, mim / entry
        if link:
            try:
                target.symlink_to(os.path.relpath(source, mim))
                continue
            except OSError:  # a file system or user that cannot make links
                pass
        if source.is_dir():
            shutil.copytree(source, target, ignore=ignore)
        else:
            shutil.copy2(source, target)


class BuildPy(build_py):
    """Build the package with its ``.mim``."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            fill_mim(ROOT / 'cait_mm', link=True)
        else:
            fill_mim(Path(self.build_lib) / 'cait_mm', link=False)

    def find_data_files(self, package: str, src_dir: str) -> list[str]:
        # Links left by an install in place would bring the same files in a second time.
        return [file for file in super().find_data_files(package, src_dir) if '.mim' not in Path(file).parts]


setup(
    name='cait_mm',
    version=read_version(),
    description='Token merging and channel pruning of vision transformers for MMSegmentation and MMDetection',
    long_description=read_readme(),
    long_description_content_type='text/markdown',
    author='The CAIT-MM contributors',
    license='Apache-2.0',
    keywords=['vision transformer', 'token merging', 'pruning', 'segmentation', 'detection'],
    classifiers=[
        'Development Status :: 4 - Beta',
        'Operating System :: OS Independent',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Programming Language :: Python :: 3.13',
        'Topic :: Scientific/Engineering :: Image Recognition',
    ],
    python_requires='>=3.10,<3.14',
    packages=find_packages(include=['cait_mm', 'cait_mm.*']),
    package_data={'cait_mm': ['**/*.json', '**/*.txt', '**/*.csv', '**/*.npz', 'report/templates/*']},
    # Loose on purpose: an existing OpenMMLab environment, or one with the forks `onedl-*`, keeps what it has.
    # Compressing a model needs none of it.
    install_requires=[
        'torch>=2.6',  # earlier ones cannot be told which types are safe to read: no resume
        'torchvision',
        'timm>=1.0.20',
        'numpy',
        'pillow',
        'safetensors',
    ],
    extras_require={
        'tools': TOOLS,
        'mm': [*TOOLS, 'mmcv>=2.0.1,<2.2', 'mmengine>=0.10,<1', 'mmsegmentation>=1.2,<2', 'mmdet>=3.3,<4',
               'setuptools<81'],
        'tests': ['pytest>=8', 'ruff', 'tensorboard', 'transformers>=5'],
    },
    cmdclass={'build_py': BuildPy},
    zip_safe=False,
)

"""Pairs of models from what commands write: compressed checkpoints, folders of whole models, work directories."""
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from PIL import Image
from torch import Tensor, nn

from cait_mm.analysis import run_figures
from cait_mm.analysis.classes import class_names
from cait_mm.compression.images import image_paths
from cait_mm.compression.model import CONFIG, MODEL, RESULT, load_trained
from cait_mm.config.load import load_config
from cait_mm.datasets.build import build_dataset
from cait_mm.datasets.check_files import missing_data
from cait_mm.datasets.root import move_data
from cait_mm.errors import UserError
from cait_mm.models import Classifier, classifier_backbone, load_classifier
from cait_mm.pruning.fold import channel_scores, fold_classifier
from cait_mm.pruning.masks import masks_of
from cait_mm.pruning.training_checkpoint import load_training
from cait_mm.report.classes import Case, label_of, names_in
from cait_mm.report.encoding import VOID, picture_of
from cait_mm.report.facts import file_rows, provenance_rows
from cait_mm.report.pair import Pair
from cait_mm.report.quickstart import is_quickstart
from cait_mm.report.samples import labelled, shown_crop, unlabelled
from cait_mm.spec import Spec
from cait_mm.tasks import build_model
from cait_mm.utils.files import checkpoint_of, read_json
from cait_mm.utils.images import find_images, load_batches, spread

OF_CLASSIFIERS, OF_OTHERS = 32, 8
"""How many pictures a report looks at unless told otherwise."""


def classifier_pair(small: Classifier, path: str | Path, dense: Classifier | None = None,
                    dense_file: str | Path | None = None, images: str | Path | None = None, used: int = 0,
                    count: int = OF_CLASSIFIERS) -> Pair:
    """A classifier that ``tools/compress.py`` or ``tools/fold.py`` wrote to ``path``.

    Args:
        small: It.
        path: Its file.
        dense: The dense model; one with random weights is timed if there is none.
        dense_file: Its file.
        images: A folder or list of pictures; without labels is enough.
        used: How many of them, evenly spread, it was calibrated on. Others are taken if there are enough.
        count: How many to look at.

    Raises:
        UserError: There are no pictures, or one cannot be read.
    """
    given, cases = names_in(small.provenance), []
    if images is not None and small.spec.arch.in_channels == 3:
        paths, seen = others(find_images(images), used, count)
        tensors = [image for batch in load_batches(paths, small.backbone.img_size) for image in batch]
        cases = [Case(Path(path).name, image, label_of(path, small.num_classes, given)) for path, image in
                 zip(paths, tensors)]
    pictures = [('pictures', f'{len(cases)} from {images}'),
                ('calibrated on', 'these too' if seen else 'others of that folder')] if cases else []
    return Pair(
        Path(path).name, dense or dense_like(small), small, small.backbone.img_size, dense is not None,
        class_names(small.num_classes, given), cases, shown=shown_case(cases), weights=path,
        facts={'Models': [*file_rows(dense_weights=dense_file, compressed_weights=path),
                          *provenance_rows(small.provenance)], 'Data': pictures},
        texts={'Spec': small.spec.to_json()})


def model_pair(folder: str | Path, small: nn.Module, config: Config, dense: nn.Module | None = None,
               dense_file: str | Path | None = None, images: Any = None, fallback: Any = None,
               count: int = OF_OTHERS, counts: Mapping[str, Any] | None = None,
               dataset_meta: Mapping[str, Any] | None = None) -> Pair:
    """A segmentor or detector that ``tools/compress.py`` wrote into ``folder``.

    Args:
        folder: It.
        small: The model.
        config: Of ``small``.
        dense: The dense model; one with random weights is timed if there is none.
        dense_file: Its checkpoint.
        images: A folder or list of pictures; None is the config's validation split, with its labels.
        fallback: What to take where that is not at hand; None is the training split, without labels.
        count: How many to look at.
        counts: See :class:`~cait_mm.report.pair.Pair`.
        dataset_meta: Names and colours of the classes, where the config's data do not say them.

    Raises:
        UserError: A picture cannot be read, or the config cannot be built with a dense backbone.
    """
    folder = Path(folder)
    result = read_json(folder / RESULT)
    found = None if images is not None else labelled(config, count)
    images = fallback if images is None else images
    if found:
        inputs, meta = found
        paths = [data['data_samples'][0].img_path for data in inputs]
        pictures = f'{len(inputs)} of the config\'s validation split, with labels'
    else:
        paths, meta = image_paths(config, images, count), {}
        inputs = list(unlabelled(config, paths))
        pictures = f'{len(inputs)} from {images or "the training split"}, without labels'
    size = tuple(result['img_size'])
    meta = {**(dataset_meta or {}), **meta}
    name = f'{Path(result.get("config", "model")).stem}, compressed: {folder.resolve().name}/'
    return Pair(
        name, dense or build_model(dense_config(config)), small, size, dense is not None,
        tuple(meta.get('classes') or (f'class {index}' for index in range(VOID))), inputs=inputs,
        palette=meta.get('palette'), shown=shown_crop(config, paths[0], size), counts=counts, weights=folder / MODEL,
        facts={'Models': [*file_rows(dense_weights=dense_file, compressed_weights=folder / MODEL),
                          *provenance_rows(result)], 'Data': [('pictures', pictures)]},
        texts={'config.py': (folder / CONFIG).read_text(encoding='utf-8')})


def open_model(folder: Path, dense_file: str | None = None, images: Any = None, count: int | None = None,
               data_root: str | None = None) -> Pair:
    """The folder of a segmentor or detector, from its files."""
    config = load_config(str(folder / CONFIG))
    if data_root is not None:
        move_data(config, data_root)
    small, meta = load_trained(load_config(str(folder / CONFIG)), str(folder / MODEL))
    dense = load_trained(dense_config(config), dense_file)[0] if dense_file else None
    result = read_json(folder / RESULT)
    counts = {name: result[name] for name in ('dense', 'small')}
    return model_pair(folder, small, config, dense, dense_file, images, None, count or OF_OTHERS, counts,
                      meta.get('dataset_meta'))


def open_classifier(path: Path, dense_file: str | None = None, images: Any = None, count: int | None = None) -> Pair:
    """A compressed classifier from its file."""
    small = load_classifier(path)
    dense = load_classifier(dense_file, small.spec.arch) if dense_file else None
    return classifier_pair(small, path, dense, dense_file, images, count=count or OF_CLASSIFIERS)


def open_run(folder: Path, dense_file: str | None = None, images: Any = None, count: int | None = None) -> Pair:
    """A compression run's work directory: what its newest checkpoint folds to, beside its dense teacher, on its
    validation split.

    Raises:
        UserError: It holds no checkpoint of the classification stage.
    """
    path = checkpoint_of(str(folder))
    training = load_training(path)
    small, run = training, {'curves': run_figures.read_curves(folder)}
    if training.provenance['cdcp']:
        scores, masks = channel_scores(training.backbone), masks_of(training.backbone)
        planes = training.spec.arch.planes
        small = fold_classifier(training, masks, tolerance=None)
        run.update(heads=run_figures.head_counts(scores, masks, planes),
                   channels=run_figures.describe(masks, scores, planes))
    config = next(iter(sorted(folder.glob('*.py'), key=lambda file: file.stat().st_mtime, reverse=True)), None)
    settings = load_config(str(config)) if config else None
    dense_file = dense_file or (teacher_of(settings) if settings else None)
    rows = (settings.model.get('head_rows') if settings else None)
    dense = load_classifier(dense_file, small.spec.arch, head_rows=rows, img_size=small.backbone.img_size) \
        if dense_file and Path(dense_file).is_file() else None
    pair = classifier_pair(small, path, dense, dense_file, images, count=count or OF_CLASSIFIERS)
    cases, facts = pair.cases, dict(pair.facts)
    if images is None and settings is not None and not missing_data(settings, ('val_dataloader', )):
        cases = validation_cases(settings, count or OF_CLASSIFIERS)
        facts['Data'] = [('pictures', f'{len(cases)} of the run\'s validation split, with labels')]
    texts = {**pair.texts, **({config.name: config.read_text(encoding='utf-8')} if config else {})}
    return Pair(folder.name, pair.dense, small, pair.size, pair.trained, pair.names, cases, shown=shown_case(cases),
                weights=path, measured={'run': run}, facts=facts, texts=texts)


def teacher_of(config: Config) -> str | None:
    """The file of the dense weights that a compression run starts from or learns from."""
    teacher = (config.model.get('distillation') or {}).get('teacher')
    if isinstance(teacher, str):
        return teacher
    return (config.model.backbone.get('init_cfg') or {}).get('checkpoint')


def validation_cases(config: Config, count: int) -> list[Case]:
    """Images of a classifier's validation split, as the run sees them, with their classes."""
    dataset = build_dataset(config.val_dataloader.dataset, config)
    chosen = spread(range(len(dataset)), count)
    return [Case(Path(path).name, dataset[index]['inputs'], label)
            for index, (path, label) in ((index, dataset.samples[index]) for index in chosen)]


def others(paths: Sequence[str], used: int, count: int) -> tuple[list[str], bool]:
    """``count`` of ``paths`` besides the ``used`` ones, and whether those had to be among them."""
    taken = set(spread(paths, used)) if used else set()
    left = [path for path in paths if path not in taken]
    enough = len(left) >= min(count, len(paths) // 2 or 1)
    return spread(left if enough else paths, count), not enough and bool(taken)


def dense_like(small: Classifier) -> Classifier:
    """A dense classifier of the same architecture with random weights."""
    backbone = classifier_backbone(Spec.dense(small.spec.arch), img_size=small.backbone.img_size)
    return Classifier(backbone, small.num_classes).eval()


def dense_config(config: Config) -> Config:
    """The config of a whole model with its backbone as dense as before it was compressed."""
    dense = Config(config.to_dict(), filename=config.filename)
    for key in ('merge', 'tokens', 'qk_dim', 'v_dim', 'ffn_dim', 'restore_mode'):
        dense.model.backbone.pop(key, None)
    return dense


def shown_case(cases: Sequence[Case]) -> tuple[Image.Image, Tensor] | None:
    return (picture_of(cases[0].image), cases[0].image[None]) if cases else None


def kind_of(path: Path) -> str:
    """What a path holds: ``page``, ``classifier``, ``model``, ``quickstart`` or ``run``.

    Raises:
        UserError: It does not exist, or is something else.
    """
    if not path.exists():
        raise UserError(f'{path} does not exist: give a compressed checkpoint, a folder of tools/compress.py, or a '
                        'work directory of tools/train.py.')
    if path.is_file():
        return 'page' if path.suffix == '.html' else 'classifier'
    if is_quickstart(path):
        return 'quickstart'
    return 'model' if all((path / name).is_file() for name in (CONFIG, MODEL, RESULT)) else 'run'

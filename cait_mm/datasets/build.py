"""Building the datasets of a config in its library."""
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from typing import Any

from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope

from cait_mm.config.load import building
from cait_mm.datasets.loading import guard, loading_of
from cait_mm.errors import UserError


def build_dataset(node: Mapping[str, Any], config: Config) -> Any:
    """The dataset that a part of ``config`` describes, with guarded loading.

    Raises:
        UserError: It cannot be built.
    """
    return guard(_built(node, config))


def unread_dataset(node: Mapping[str, Any], config: Config) -> Any:
    """An MMEngine dataset with its paths, suffixes and classes, whose files are not read (``lazy_init``).

    Raises:
        UserError: It cannot be built.
    """
    return _built({**untransformed(node), 'lazy_init': True}, config)


def check_coco_files() -> None:
    """Make MMDetection, if it is loaded, refuse COCO files that would fail later
    (:class:`cait_mm.datasets.coco_api.CheckedCOCO`)."""
    if 'mmdet' in sys.modules:
        from cait_mm.datasets.coco_api import use_checked_coco
        use_checked_coco()


def untransformed(node: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a dataset without filters, whose pictures are only decoded."""
    plain = {key: value for key, value in node.items() if key not in ('filter_cfg', 'transform')}
    return {**plain, 'pipeline': loading_of(plain['pipeline'])} if 'pipeline' in plain else plain


def _built(node: Mapping[str, Any], config: Config) -> Any:
    scope = DefaultScope.get_current_instance()
    name = scope.scope_name if scope else None
    check_coco_files()
    try:
        with (building('a dataset', config), redirect_stdout(sys.stderr),  # pycocotools prints
              DATASETS.switch_scope_and_registry(name) as registry):
            return registry.build(node)
    except UserError as error:
        if 'need at least one array' not in str(error):  # MMEngine's message if there is nothing to serialize
            raise
        raise UserError(f'{_name(node)} of config {config.filename} has no items: nothing in its folders, or in its '
                        'annotation file, is left by img_suffix, metainfo.classes and filter_cfg.') from error


def _name(node: Mapping[str, Any]) -> str:
    kind = str(node.get('type', 'dataset')).split('.')[-1]
    return f'{kind} {node.get("ann_file") or node.get("data_prefix") or ""}'.strip()

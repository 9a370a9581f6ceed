"""MMEngine's CheckpointHook, with new files written before old ones are deleted."""
import re
from pathlib import Path
from typing import Any

from mmengine.dist import broadcast_object_list, is_main_process, master_only
from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from cait_mm.utils.files import atomic_path

OUTDATED = 'outdated_ckpts'
"""Entry of the message hub: the names of the files that are replaced by the checkpoint in which it is saved."""


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """MMEngine's ``CheckpointHook``, safe against a kill at any time; :class:`CheckedRunner` uses it in its place.

    * Files that a checkpoint replaces (the former best one, and those beyond ``max_keep_ckpts``) are deleted after the
      checkpoint is written. It holds their names, so a resumed run can delete those that a kill has left.
    * After a validation the checkpoint of the same iteration is written again, to hold the metrics and the score of the
      best file.
    * A best score whose file is gone is dropped.
    * Only files under names of this hook are ever deleted, and only in its own folder.

    The arguments are those of MMEngine's hook.
    """

    last_step: int | None = None
    """The count of the last checkpoint, in epochs or iterations."""

    def before_train(self, runner: Runner) -> None:
        super().before_train(runner)
        hub, self._between = runner.message_hub, []
        if self.max_keep_ckpts > 0:
            self.keep_ckpt_ids = list(self.keep_ckpt_ids)
        if not runner.iter:
            return
        if self.save_best:
            self._find_best(runner)
        last = Path(hub.get_info('last_ckpt', None) or '').name
        if last:
            self.last_ckpt = self.file_backend.join_path(self.out_dir, last)
            hub.update_info('last_ckpt', self.last_ckpt)  # the folder may have moved
            if last == self.filename_tmpl.format(self._now(runner)):
                self.last_step = self._now(runner)
            else:
                self._between = [last]
        self._delete(hub.get_info(OUTDATED, None) or [])

    def after_val_epoch(self, runner: Runner, metrics: dict[str, Any] | None = None) -> None:
        self._written = False
        super().after_val_epoch(runner, metrics)
        if not self._written and self.last_step == self._now(runner):
            self._save_checkpoint_with_step(runner, self.last_step, dict(epoch=runner.epoch, iter=runner.iter))

    def save_now(self, runner: Runner) -> None:
        """Write a checkpoint after the current iteration, even if none is due; runs can resume here.

        To be called in every process, from the ``after_train_iter`` of a hook with a lower priority than this one:
        schedulers and averaged weights have moved by then. ``iter`` counts complete iterations and is runner.iter + 1,
        because MMEngine counts an iteration after its hooks. ``epoch`` counts complete epochs.
        """
        done = runner.iter + 1
        if not self.by_epoch:
            if self.last_step != done:
                self._save_checkpoint(runner)
            return
        outdated, self._between = self._between, [f'iter_{done}.pth']
        self._write(runner, self._between[0], dict(epoch=runner.epoch, iter=done), outdated)

    def save_before_validation(self, runner: Runner) -> None:
        """Write a checkpoint of the iteration that is being validated, unless there is one; in every process."""
        if self.last_step != self._now(runner):
            self._save_checkpoint_with_step(runner, self._now(runner), dict(epoch=runner.epoch, iter=runner.iter))

    def _now(self, runner: Runner) -> int:
        return runner.epoch if self.by_epoch else runner.iter

    def _best(self) -> dict[str, str | None]:
        """The best files, by the entries of the message hub that name them."""
        if len(self.key_indicators) == 1:
            return {'best_ckpt': self.best_ckpt_path}
        return {f'best_ckpt_{key}': self.best_ckpt_path_dict.get(key) for key in self.key_indicators}

    def _set_best(self, files: dict[str, str | None]) -> None:
        if len(self.key_indicators) == 1:
            self.best_ckpt_path = files['best_ckpt']
        else:
            self.best_ckpt_path_dict = {key: files[f'best_ckpt_{key}'] for key in self.key_indicators}

    def _find_best(self, runner: Runner) -> None:
        """Look for the best files in the folder as it is now, and drop the scores of files that are gone."""
        hub, best = runner.message_hub, {}
        for entry, path in self._best().items():
            inside = path and self.file_backend.join_path(self.out_dir, Path(path).name)
            there = [bool(inside) and self.file_backend.isfile(inside)]
            broadcast_object_list(there)
            best[entry] = inside if there[0] else None
            if there[0]:
                hub.update_info(entry, inside)
                continue
            score = entry.replace('best_ckpt', 'best_score')
            if score in hub.runtime_info:
                runner.logger.warning(f'The best checkpoint {path} is gone: the next validation writes one.')
                hub.pop_info(score)
            if entry in hub.runtime_info:
                hub.pop_info(entry)
        self._set_best(best)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict[str, Any]) -> None:
        if not self.save_best:
            return
        before = self._best()
        self._set_best(dict.fromkeys(before))  # MMEngine would delete these files before it writes
        self._former_best = before
        super()._save_best_checkpoint(runner, metrics)
        replaced = self._replaced_best()
        self._former_best = {}
        self._set_best({entry: path or before.get(entry) for entry, path in self._best().items()})
        self._delete(replaced)

    _former_best: dict[str, str | None] = {}

    def _replaced_best(self) -> list[str]:
        """Names of the best files that were just replaced by others."""
        new = self._best() if self._former_best else {}
        return [Path(path).name for entry, path in self._former_best.items()
                if path and new.get(entry) and new[entry] != path]

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        outdated = self._between + self._replaced_best()
        self._between = []
        if self.max_keep_ckpts > 0 and self.keep_ckpt_ids[-1:] != [step]:
            ids = [kept for kept in self.keep_ckpt_ids if kept != step] + [step]
            outdated += [self.filename_tmpl.format(old) for old in ids[:-self.max_keep_ckpts]]
            self.keep_ckpt_ids = ids[-self.max_keep_ckpts:]
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        self.last_step, self._written = step, True
        self._write(runner, self.filename_tmpl.format(step), meta, outdated)

    def _write(self, runner: Runner, name: str, meta: dict, outdated: list[str]) -> None:
        """Write a checkpoint, then the note that names it, then delete the files it replaces."""
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        outdated = [old for old in outdated if old != name]
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.message_hub.update_info(OUTDATED, outdated)
        runner.save_checkpoint(
            self.out_dir, name, self.file_client_args, save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler, meta=meta, by_epoch=self.by_epoch,
            backend_args=self.backend_args, **self.args)
        if is_main_process():
            with atomic_path(Path(runner.work_dir, 'last_checkpoint')) as temporary:
                temporary.write_text(self.last_ckpt)
        self._delete(outdated)

    @master_only
    def _delete(self, names: list[str]) -> None:
        numbered = re.escape(self.filename_tmpl).replace(r'\{\}', r'\d+')
        ours = re.compile(rf'(best_.+_)?{numbered}|iter_\d+\.pth')
        current = {Path(path).name for path in (self.last_ckpt, *(self._best().values() if self.save_best else ()))
                   if path}
        for name in names:
            path = self.file_backend.join_path(self.out_dir, name)
            if ours.fullmatch(name) and name not in current and self.file_backend.isfile(path):
                self.file_backend.remove(path)


def safe_checkpoints(hook: Any) -> Any:
    """A hook's config with :class:`SafeCheckpointHook` instead of MMEngine's hook, which replaces files in one step."""
    if not isinstance(hook, dict) or hook.get('type') not in ('CheckpointHook', 'mmengine.CheckpointHook',
                                                              CheckpointHook, SafeCheckpointHook.__name__):
        return hook
    hook = {**hook, 'type': SafeCheckpointHook}
    if '://' not in str(hook.get('out_dir')) and not hook.get('file_client_args'):
        hook.setdefault('backend_args', dict(backend='atomic'))
    return hook

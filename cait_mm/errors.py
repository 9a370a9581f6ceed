"""The one exception type that tools turn into a single sentence."""


class UserError(ValueError):
    """Something the person at the keyboard can mend: a wrong path, an impossible target, a broken checkpoint.

    Its message is one sentence that says what is wrong and what to do. Tools print it and exit with status 2
    (:func:`cait_mm.utils.cli.run`); every other exception keeps its traceback, because it is a bug.
    """

"""Reports: what compression did to a model and what it cost, as one HTML file that needs no network.

:mod:`~cait_mm.report.gather` measures a :class:`~cait_mm.report.pair.Pair` of models and gives plain data;
:mod:`~cait_mm.report.page` makes the page of it, from the files in ``templates/``.
"""

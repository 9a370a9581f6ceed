# The small Swin: merges before the last two blocks of the third stage, as means at the start.
_base_ = './upernet_swin_isaid.py'
model = dict(backbone=dict(merge=(('2.4', 'horizontal'), ('2.5', 'vertical'))))

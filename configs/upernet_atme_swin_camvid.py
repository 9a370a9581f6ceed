# The small Swin with merges before the last two blocks of the third stage, as means at the start.
_base_ = './upernet_swin_camvid.py'
model = dict(backbone=dict(merge=(('2.4', 'horizontal'), ('2.5', 'vertical'))))

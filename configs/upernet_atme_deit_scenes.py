# Quick start, compressed: the dense twin with merges before blocks 2 and 5 (0-based), 12x12 -> 12x6 -> 6x6 tokens.
_base_ = './upernet_deit_scenes.py'
model = dict(backbone=dict(merge=((2, 'horizontal'), (5, 'vertical'))))

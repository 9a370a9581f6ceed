# ATME DeiT-Small + UperNet on iSAID: merges before blocks 4 and 7 save 43.1 % of the classifier's MACs at 224.
_base_ = './upernet_deit_s_isaid.py'
model = dict(backbone=dict(merge=((4, 'horizontal'), (7, 'vertical'))))

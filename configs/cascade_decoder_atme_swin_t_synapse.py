# ATME Swin-Tiny + CASCADE's decoder on Synapse: merges before the last two blocks of the third stage, as in
# upernet_atme_swin_t_ade20k.py.
_base_ = './cascade_decoder_swin_t_synapse.py'
model = dict(backbone=dict(merge=(('2.4', 'horizontal'), ('2.5', 'vertical'))))

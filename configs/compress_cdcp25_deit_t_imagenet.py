# The ablation of the consistencies (paper, Tab. XI): CDCP alone on DeiT-Tiny, 25.1 % of the MACs saved.
# "w/o head": model.cdcp.head_consistency=False, "w/o attn": model.cdcp.attention_consistency=False.
_base_ = './deit_t_600e_imagenet.py'
model = dict(cdcp=dict(target=0.251))

# CAIT on DeiT-Small: merges save 43.1 % of the MACs, pruned channels the rest of 54.4 % (the paper leaves 18.4 M
# parameters). The paper's runs of 30, 150 and 300 epochs (Tab. XXIII) are `--epochs`, there with target 0.55.
_base_ = './deit_s_600e_imagenet.py'
model = dict(backbone=_base_.deit_small.atme, cdcp=dict(target=0.544))

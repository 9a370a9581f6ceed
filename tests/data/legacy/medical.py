# CASCADE's decoder named by its module, in the imports and as a type.
_base_ = '../../../configs/cascade_decoder_atme_deit_t_acdc.py'
custom_imports = dict(imports=['cait_mm', 'cait_mm.heads.cascade'], allow_failed_imports=False)
model = dict(decode_head=dict(type='cait_mm.heads.cascade.CascadeHead'))

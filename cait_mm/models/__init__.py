"""The models as plain PyTorch modules: stem, blocks and outputs, built from a spec; one file for each family."""
from cait_mm.models.base import Backbone
from cait_mm.models.classifier import Classifier, load_classifier
from cait_mm.models.deit import DeiT
from cait_mm.models.families import FAMILIES, classifier_backbone
from cait_mm.models.lvvit import LVViT
from cait_mm.models.swin import Swin
from cait_mm.models.vit import ViT

__all__ = ['FAMILIES', 'Backbone', 'Classifier', 'DeiT', 'LVViT', 'Swin', 'ViT', 'classifier_backbone',
           'load_classifier']

"""The ImageNet stage."""
from cait_mm.classification.classifier import Classifier
from cait_mm.classification.distillation import TimmTeacher
from cait_mm.classification.metric import TopK
from cait_mm.classification.mixup import MixupPreprocessor

__all__ = ['Classifier', 'MixupPreprocessor', 'TimmTeacher', 'TopK']

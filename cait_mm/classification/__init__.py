"""The ImageNet stage."""
from cait_mm.classification.classifier import Classifier

__all__ = ['Classifier']

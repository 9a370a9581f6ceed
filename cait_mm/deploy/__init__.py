"""Models as ONNX and torch.export programs: the part that is saved, and the proof that it computes the same."""
from cait_mm.deploy.int8 import compared, save_int8
from cait_mm.deploy.onnx_file import OnnxModel, require_onnx, save_onnx
from cait_mm.deploy.parts import PARTS, about_model, deployable, deployed
from cait_mm.deploy.program import save_program
from cait_mm.deploy.proof import SUFFIXES, TOLERANCE, difference, load_saved

__all__ = ['PARTS', 'SUFFIXES', 'TOLERANCE', 'OnnxModel', 'about_model', 'compared', 'deployable', 'deployed',
           'difference', 'load_saved', 'require_onnx', 'save_int8', 'save_onnx', 'save_program']

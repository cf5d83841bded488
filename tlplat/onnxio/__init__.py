"""ONNX models in, as frozen extractors of features: checked, cut before their head, run by onnxruntime."""

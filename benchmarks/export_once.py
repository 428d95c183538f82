"""One export in a process of its own: seconds and peak memory, printed as JSON.

python -m benchmarks.export_once CELL HIDDEN FEATURES
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.start_once import peak

FORMATS = ("tflite", "onnx", "c")


def main(cell: str, hidden: int, features: int) -> None:
    """Quantize and export a layer of random weights, 64 sequences of 64 steps to calibrate with."""
    start = time.perf_counter()
    import numpy as np
    import torch

    import edgernn
    from benchmarks.subjects import LAYERS, quiet
    from edgernn.sample import SAMPLE

    torch.manual_seed(0)
    torch.set_num_threads(1)
    layer = LAYERS[cell](features, hidden, batch_first=True).eval()
    data = np.random.default_rng(0).standard_normal((64, 64, features)).astype(np.float32)
    imported, after_imports = time.perf_counter(), peak()
    with quiet():
        program = edgernn.quantize(layer, (torch.from_numpy(data[:2, :4]),), calibration=data)
    quantized, after_quantize = time.perf_counter(), peak()
    with tempfile.TemporaryDirectory() as folder:
        edgernn.export(program, folder, FORMATS)
        exported = time.perf_counter()
        sizes = {path.name: path.stat().st_size for path in sorted(Path(folder).glob("model.*"))}
    found = {
        "seconds": {
            "import": imported - start,
            "quantize": quantized - imported,
            "export": exported - quantized,
        },
        "peak": {"imports": after_imports, "quantize": after_quantize, "export": peak()},
        # The sample is of the calibration data, and its size that of the data.
        "files": {name: size for name, size in sizes.items() if name != SAMPLE},
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))

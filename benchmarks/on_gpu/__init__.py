"""The parts of `benchmarks/gpu.py`: what is measured on a GPU, and how the report is written."""

"""Packed and quantized linear layers, and the single-query attention kernel, for CPUs."""

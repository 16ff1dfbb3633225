"""Packed layers: the result for a vector is the same, whatever vectors are beside it.

Layers that round their inputs would turn another last bit into another token, so with them it is the same to
the last bit. FBGEMM's fp16 layers round nothing, and add up in another order on CPUs without AVX512.
"""

from __future__ import annotations

import pytest
import torch
from janus_nodes.janus_core.models.cpu.fbgemm_int8_linear import FbgemmInt8Linear
from janus_nodes.janus_core.models.cpu.packed_linear import FbgemmFp16Linear, OneDnnBf16Linear
from janus_nodes.janus_core.models.quantized.inference_linear import InferenceLinear


@pytest.mark.parametrize("kind", [FbgemmFp16Linear, OneDnnBf16Linear, FbgemmInt8Linear])
def test_a_vector_s_result_does_not_depend_on_the_vectors_beside_it(kind: type[InferenceLinear]) -> None:
    if not kind.is_available():
        pytest.skip("needs this CPU's kernels")
    # Inputs this long are added up in several parts.
    weight, inputs = torch.randn(256, 704), torch.randn(96, 704)
    inputs[30, 0] = 1000.0  # an outlier
    packed = kind(weight, None)
    expected = torch.cat([packed(vector[None]) for vector in inputs])
    for count in (2, 3, 4, 6, 8, 16, 17, 32, 40, 64, 96):
        if count <= kind.exact_vectors:
            found = torch.cat([packed(vectors) for vectors in inputs.split(count)])
            if kind.rounds_inputs:
                assert torch.equal(found, expected)
            else:
                torch.testing.assert_close(found, expected, rtol=0, atol=1e-6 * float(expected.abs().max()))

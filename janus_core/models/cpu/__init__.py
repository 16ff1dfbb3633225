"""What only CPUs run: linear layers with packed weights, and the attention of few queries.

A decode step reads every weight once and computes little with it, so its time depends on the bytes read.

Layer              PyTorch operators, and the first release with them
FbgemmFp16Linear   quantized::linear_prepack_fp16, quantized::linear_dynamic_fp16 (both before 2.0)
OneDnnBf16Linear   mkldnn::_reorder_linear_weight (2.1), mkldnn::_linear_pointwise (2.0)
FbgemmInt8Linear   torch._make_per_channel_quantized_tensor, quantized::linear_prepack (both before 2.0),
                   quantized::linear_with_input_q_dq_qweight_dq_output_fp32 (2.0)

PyTorch 2.5, the oldest supported release, thus has them all. Most are internal, and quantized tensors, which
FbgemmInt8Linear packs, are deprecated from 2.13 on. `is_available` tries a layer, and `checkpoints.precision`
chooses another if it does not run: Int8Linear for FbgemmInt8Linear, `nn.Linear` for the 16-bit layers.

`few_query_attention` uses public operators; without MKL, `attention.attend` calls PyTorch's attention.
"""

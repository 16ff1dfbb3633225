"""Linear layers with 8-bit and 4-bit weights, and the kernels that multiply by them on each device.

`inference_linear` is the base of these layers and of the packed ones of `models/cpu`, which may import this
package; `registry` answers questions about a model that has any of them.

The layout of 8-bit weights, which are rounded to the nearest whole number:

weight  int8 [N, K]
scale   float32 [N]

A weight is whole number * scale.

The layout of 4-bit weights is the same on every device:

weight  uint8 [N, K / 2]: even columns in the low halves of the bytes, odd ones in the high
scale   bfloat16 [N, K / GROUP]
zero    bfloat16 [N, K / GROUP]

A weight is (code - 8) * scale + zero, in the form of PyTorch's own 4-bit kernels ("tinygemm").
"""

"""Linear layers with 4-bit weights, and the kernels that multiply by narrow weights on each device.

The layout of 4-bit weights is the same on every device:

weight  uint8 [N, K / 2]: even columns in the low halves of the bytes, odd ones in the high
scale   bfloat16 [N, K / GROUP]
zero    bfloat16 [N, K / GROUP]

A weight is (code - 8) * scale + zero, in the form of PyTorch's own 4-bit kernels ("tinygemm").
"""

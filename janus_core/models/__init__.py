"""Networks. They take tensors and an explicit cache, and are independent of files, devices and prompts."""

"""The networks. They take tensors and an explicit cache, and know nothing of files, devices or prompts."""

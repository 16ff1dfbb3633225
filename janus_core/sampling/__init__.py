"""Sampling loops: functions over a model that turn prompts into text or images, without a tokenizer."""

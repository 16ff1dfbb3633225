"""What stands between people and tensors: chat templates, the tokenizer, image preprocessing."""

"""Pre- and postprocessing: chat templates, tokenizer, prompts, images and masks."""

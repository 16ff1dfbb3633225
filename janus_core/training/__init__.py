"""Training and fine-tuning of token models; see `__main__` for the commands.

The modules here are generic; `shapes` is the synthetic world that the demonstration model is trained and
evaluated on.
"""

"""The model's public interface: understand, chat, score, choose, generate, think and draw, edit, encode."""

"""The model's public interface: understand, chat, score, choose, generate, edit, encode, decode."""

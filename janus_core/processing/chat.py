"""Chat templates: how a conversation becomes one string (the reference's `sft_format`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

END_OF_SENTENCE = "<｜end▁of▁sentence｜>"

DEFAULT_SYSTEM_PROMPT = (
    "You are a helpful language and vision assistant. You are able to understand the visual content that "
    "the user provides, and assist the user with a variety of tasks using natural language."
)


@dataclass(frozen=True)
class Message:
    """One turn: who speaks, and what. An empty text is the place where the model answers."""

    role: str
    text: str


@dataclass(frozen=True)
class Turn:
    """A question that was answered.

    Attributes:
        question: as it was asked.
        num_images: images that came with it.
        answer: what the model wrote.
    """

    question: str
    num_images: int
    answer: str


@dataclass(frozen=True)
class ChatFormat:
    """How turns are joined.

    Attributes:
        name: the template's name in `processor_config.json`.
        user: role text of the user. It belongs to the checkpoint, not to the template: the wrong one costs
            quality.
        assistant: role text of the model.
        shows_roles: whether "Role: " stands before each turn.
        separators: what follows even and odd turns.
        user_text: replaces every user turn, where a template has a fixed one.
    """

    name: str
    user: str = "<|User|>"
    assistant: str = "<|Assistant|>"
    shows_roles: bool = True
    separators: tuple[str, str] = ("\n\n", END_OF_SENTENCE)
    user_text: str | None = None

    def render(self, messages: Sequence[Message], system_prompt: str = "") -> str:
        """Joins turns into the string that the tokenizer reads.

        Args:
            messages: the turns, the user's first; texts are stripped.
            system_prompt: stands before everything in templates that show roles; empty for none.
        """
        parts = [system_prompt + self.separators[0]] if system_prompt and self.shows_roles else []
        for index, message in enumerate(messages):
            text = message.text.strip()
            if self.shows_roles:
                parts.append(f"{message.role}: " if text else f"{message.role}:")
            if text:
                replaces = self.user_text is not None and index % 2 == 0
                parts.append((self.user_text if replaces else text) + self.separators[index % 2])  # type: ignore[operator]
        return "".join(parts).strip()

    def question(self, text: str, system_prompt: str = "") -> str:
        """The string of a single user turn that the model is to answer."""
        return self.render((Message(self.user, text), Message(self.assistant, "")), system_prompt)

    def answer(self, text: str) -> str:
        """What follows the string of a question when this is the model's answer."""
        return f" {text.strip()}" if self.shows_roles else text.strip()


CHAT_FORMATS = {
    format.name: format
    for format in (
        ChatFormat("deepseek"),
        ChatFormat("deepseek_old", user="User", assistant="Assistant"),
        ChatFormat("plain", user="", assistant="", shows_roles=False, separators=("", "")),
        ChatFormat(
            "alignment", user="", assistant="", shows_roles=False, separators=("\n", ""), user_text="<image>"
        ),
    )
}


def chat_format(name: str, roles: tuple[str, str] | None = None) -> ChatFormat:
    """Looks a template up, and puts a checkpoint's role texts into it.

    Args:
        name: one of `CHAT_FORMATS`.
        roles: texts of user and assistant; None for the template's own.

    Raises:
        ValueError: if no template has that name.
    """
    if not isinstance(name, str) or name not in CHAT_FORMATS:
        raise ValueError(
            f"chat template must be one of {', '.join(CHAT_FORMATS)}, got {name!r}; choose one of these"
        )
    format = CHAT_FORMATS[name]
    if roles is None or not format.shows_roles:
        return format
    return replace(format, user=roles[0], assistant=roles[1])

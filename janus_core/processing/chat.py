"""Chat templates, which render a conversation as one string (the reference's `sft_format`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ..arguments import checked_text, shown

DEFAULT_SYSTEM_PROMPT = (
    "You are a helpful language and vision assistant. You are able to understand the visual content that "
    "the user provides, and assist the user with a variety of tasks using natural language."
)


@dataclass(frozen=True)
class Message:
    """One message of a conversation; an empty text marks where the model's answer begins."""

    role: str
    text: str


@dataclass(frozen=True)
class Turn:
    """A question, the number of images that came with it, and the model's answer with how it ended.

    `finish_reason` is as in `Answer`: "eos", or "length" if the answer was cut off. It does not count when
    turns are compared.
    """

    question: str
    num_images: int
    answer: str
    finish_reason: str = field(default="eos", compare=False)


@dataclass(frozen=True)
class ChatFormat:
    """A chat template.

    Attributes:
        name: the template's name in `processor_config.json`.
        user: role text of the user. It must be the one the checkpoint was trained with: another one degrades
            quality.
        assistant: role text of the model.
        shows_roles: whether each message begins with "Role: ".
        separators: text after the user's messages, and after the model's.
        user_text: fixed text that replaces every message of the user; None to keep them.
    """

    name: str
    user: str = "<|User|>"
    assistant: str = "<|Assistant|>"
    shows_roles: bool = True
    separators: tuple[str, str] = ("\n\n", "<｜end▁of▁sentence｜>")
    user_text: str | None = None

    def render(self, messages: Sequence[Message], system_prompt: str = "") -> str:
        """Renders messages as the string to tokenize.

        Args:
            messages: user and model in turn, the user first; texts are stripped.
            system_prompt: put first by templates that show roles; empty for none.
        """
        parts = [system_prompt + self.separators[0]] if system_prompt and self.shows_roles else []
        for index, message in enumerate(messages):
            text = message.text.strip()
            if self.shows_roles:
                # No space after the role that the model continues: its answer's first token brings it.
                parts.append(f"{message.role}: " if text else f"{message.role}:")
            if text:
                if self.user_text is not None and index % 2 == 0:
                    text = self.user_text
                parts.append(text + self.separators[index % 2])
        return "".join(parts).strip()

    def question(self, text: str, system_prompt: str = "") -> str:
        """A conversation of one question, ending where the model's answer begins."""
        return self.render((Message(self.user, text), Message(self.assistant, "")), system_prompt)

    def answer(self, text: str) -> str:
        """The text that continues a rendered question if the model answers with `text`."""
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
    """Returns one of `CHAT_FORMATS`, with a checkpoint's texts for user and assistant if given."""
    if not isinstance(name, str) or name not in CHAT_FORMATS:
        raise ValueError(
            f"chat template must be one of {', '.join(CHAT_FORMATS)}, got {name!r}; choose one of these"
        )
    if roles is not None:
        if not isinstance(roles, Sequence) or isinstance(roles, (str, bytes)) or len(roles) != 2:
            raise ValueError(
                f"roles must be two texts, got {shown(roles)}; give those of user and assistant as a tuple"
            )
        for role in roles:
            checked_text("roles", role, "give texts of user and assistant", may_be_blank=True)
    format = CHAT_FORMATS[name]
    if roles is None or not format.shows_roles:
        return format
    return replace(format, user=roles[0], assistant=roles[1])

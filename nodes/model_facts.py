"""What Load Janus-Pro shows on itself: facts about a loaded model that were detected, not chosen."""

from ..janus_core import JanusPipeline


def model_facts(pipeline: JanusPipeline, template: str | None) -> list[str]:
    """One line per fact.

    Args:
        pipeline: the loaded model.
        template: the chat template that the user has set; None if it was detected.
    """
    chat = pipeline.prompts.chat
    roles = f"Chat roles: {chat.user} / {chat.assistant}" if chat.shows_roles else "No chat roles"
    if template is not None:
        reason = f"as set by template = {template}"
    elif pipeline.roles_from:
        reason = f"by {pipeline.roles_from}"
    else:
        reason = "a guess: no name in or around its folder is known. If results are poor, set template"
    facts = [f"{roles}, {reason}."]
    if pipeline.edit_form is not None:
        facts.append(f"Edits images by instruction, in form {pipeline.edit_form}.")
    if pipeline.thinking_form is not None:
        facts.append(f"Thinks with Janus Think and Draw, in form {pipeline.thinking_form}.")
    return facts

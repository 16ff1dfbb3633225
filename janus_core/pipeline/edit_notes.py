"""Notes for the user about edits that changed nothing, with the reason."""

from __future__ import annotations

from torch import Tensor

from .edit_request import EditRequest

NO_STRENGTH = "strength is 0"
EMPTY_MASK = "the mask selects nothing"
NO_WHOLE_PIXELS = "no masked pixel lies in redrawn tokens only; set strength to 1, or use a larger image"
SAME_TOKENS = "what was drawn equals the source; try another seed, instruction or guidance_scale"


def notes_on_results(
    request: EditRequest, tokens: Tensor, source_tokens: Tensor, changed: Tensor
) -> tuple[str, ...]:
    """Returns a sentence for each reason why results equal their sources, naming these results.

    Args:
        request: the edit.
        tokens: [R, N] image tokens of the results.
        source_tokens: [R, N] image tokens of their sources.
        changed: [R, H, W], above 0 where the results may differ from their sources.
    """
    same = (tokens.cpu() == source_tokens.cpu()).all(dim=1).tolist()
    reasons: dict[str, list[int]] = {}
    for result, equal in enumerate(same):
        if reason := _why_unchanged(request, result, equal, changed[result]):
            reasons.setdefault(reason, []).append(result)
    return tuple(_sentence(reason, results, len(same)) for reason, results in reasons.items())


def _why_unchanged(request: EditRequest, result: int, same_tokens: bool, changed: Tensor) -> str | None:
    """Returns the reason why a result equals its source; None if it differs."""
    if request.masks is not None:
        if request.options.strength == 0.0:
            return NO_STRENGTH
        if request.has_empty_mask(request.source_of(result)):
            return EMPTY_MASK
        if not bool(changed.any()):
            return NO_WHOLE_PIXELS
    return SAME_TOKENS if same_tokens else None


def _sentence(reason: str, results: list[int], num_results: int) -> str:
    """Names results by their position in the batch, counted from 1."""
    if len(results) == num_results:
        return f"Nothing has changed: {reason}."
    places = ", ".join(str(result + 1) for result in results)
    return f"Not changed: image {places} of {num_results}: {reason}."

"""Options of images without a None, for tests that call the sampling loops directly."""

from __future__ import annotations

from janus_nodes.janus_core.models.flow_generation import FlowGeneration
from janus_nodes.janus_core.models.token_generation import TokenGeneration
from janus_nodes.janus_core.sampling.image_sampler import IMAGE_SAMPLERS
from janus_nodes.janus_core.sampling.options import Drawing, resolved

PUBLISHED = {kind: IMAGE_SAMPLERS[kind].published for kind in (TokenGeneration, FlowGeneration)}


def published(options: Drawing) -> Drawing:
    """The options with the published value for each that is None."""
    (own,) = (own for own in PUBLISHED.values() if isinstance(options, type(own)))
    return resolved(options, own)

"""Socket types of the nodes, with the class of the values that they carry."""

from comfy_api.latest import io

JanusModelSocket = io.Custom("JANUS_PIPELINE")  # memory.LoadedJanus
JanusFeatures = io.Custom("JANUS_VISION_FEATURES")  # VisionFeatures
JanusConversation = io.Custom("JANUS_CONVERSATION")  # Conversation
JanusTokens = io.Custom("JANUS_IMAGE_TOKENS")  # Tensor [B, N], int64 codebook ids

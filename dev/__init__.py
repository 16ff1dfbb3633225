"""Repository tools: a real ComfyUI server, a browser, the demo, screenshots and benchmarks."""

"""The pack's icon and banner in the ComfyUI registry, and what draws them."""

"""A synthetic world of flat shapes in which captions and answers can be checked automatically.

Pictures are 96 x 96 pixels: plain shapes in plain colours on a plain background.

- `scene`, `drawing`: what a picture contains; from a scene to its picture and back.
- `words`, `prompt_specs`, `questions`: captions, prompts, questions and answers about a scene.
- `data`: all of these as training samples.
- `model`: the demonstration model before training, with its recipe.
- `evaluation`, `report`: how well a model draws and answers in this world.
"""

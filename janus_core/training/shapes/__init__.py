"""A small drawn world, in which a caption has a right picture and a question a right answer.

Flat shapes in plain colours on a plain background, 96 pixels square. `scene` says what there is, `draw` makes
the picture, `captions` and `questions` the words, and `read` reads a picture back into its scene.
"""

"""HTTP: short endpoints, and helper processes that check specs with torch and draw."""

import gc

# What is imported stays, and so do most objects of a large answer until it is sent: to look through them after every
# 700 new ones, as Python does by default, took a fifth of the start.
gc.set_threshold(20_000, 20, 20)

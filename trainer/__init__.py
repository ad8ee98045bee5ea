"""PyTorch: a library that trains one spec; its words (`spec`, `events`, `problems`) load no torch."""

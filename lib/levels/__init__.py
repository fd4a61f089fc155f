"""The trained detector of vertebral levels: views along the spine, what is learnt on them, how levels are told."""

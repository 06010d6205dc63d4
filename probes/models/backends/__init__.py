"""How hidden states are reached. `hooks` is plain PyTorch on Hugging Face models and the reference
for all others.
"""

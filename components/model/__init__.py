"""GPT-Neo, the model that codekiln trains: shape, names, torch, weights in and out."""

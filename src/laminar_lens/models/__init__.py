"""Loading models: the embedded novella, TransformerLens names, local Hugging Face folders."""

"""Publishing on the Hugging Face Hub: what is uploaded in which order, the data card, the viewer's configurations."""

"""Sources as mirrors hold them: Parquet tables of the Hugging Face Hub, with images, labels and names in columns."""

"""Tables of strangers, row group by row group: Parquet, and Arrow streams as `datasets` keeps them on disk."""

"""What the files of tables are called; a listing asks for it, and loads no library."""

PARQUET_SUFFIX, ARROW_SUFFIX = ".parquet", ".arrow"
TABLE_SUFFIXES = (PARQUET_SUFFIX, ARROW_SUFFIX)

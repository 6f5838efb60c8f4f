"""What a person looks at after an evaluation: one self-contained page, and a sheet of pictures."""

"""The engine behind the part of OpenAI's HTTP interface that clients of vision-language models use."""

"""The HTTP side: the OpenAI API over an engine that runs in a process of its own."""

"""The machine's own settings: which there are, what each gains here, and their exact way back.

``knobs`` finds what could be set; ``measuring`` compares with and without, in turns, as ``tuning``
does; ``decided`` reads and writes ``machine.json``; ``setting`` sets what was chosen and takes it
back; ``standing`` says what stands of it now; ``again`` is `tune --machine`. See docs/machine.md.
"""

"""Word of trouble: what needs somebody who may not be looking, told by e-mail and webhook.

`troubles.py` derives from the database what is wrong now; `episodes.py` keeps when each began and
ended; `telling.py` tells each once by each outlet; `outlets.py` is how a mail or a POST leaves.
Any process that lives may do all of it at any time: the database says whose turn it is.
"""

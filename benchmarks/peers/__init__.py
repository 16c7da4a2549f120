"""What others do with the same events: programs for an environment of their own, `requirements.txt` beside this.

Each is called with: bootstrap servers, topic, database URL, consumer group, records a batch. It runs until it is ended.
"""

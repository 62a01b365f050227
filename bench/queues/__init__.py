"""Other queues doing our work: one file each, with how a chat is put in, and the command that starts a worker.

They are set up as their manuals begin: one process, one message at a time, and no more than that changed.
"""

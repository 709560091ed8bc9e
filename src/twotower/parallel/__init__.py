"""Purpose: processes that train together: start them, and exchange tensors between them.

May import: config, files.
To add one: not open to variants; torch.distributed does the communication.
"""

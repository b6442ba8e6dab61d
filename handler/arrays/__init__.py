"""Arrays: from the reduction of a whole array to its result.

A plan says which chunks are touched, and cuts them into sections and batches. Batches are fetched and reduced side by
side, and joined in order: the same array, grid and selection give the same bits, however many threads there are.

What does not belong here: how a container describes its arrays (``handler.containers``), HTTP, and the forms of
requests and replies.
"""

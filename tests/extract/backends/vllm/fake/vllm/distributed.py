"""Which rank is asked: the ranks of the fake share one process."""

CURRENT = None


def get_tensor_model_parallel_rank():
    return CURRENT.rank


def get_tensor_model_parallel_world_size():
    return CURRENT.n_ranks

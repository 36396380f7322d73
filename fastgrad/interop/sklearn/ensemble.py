"""Several networks in the place of one: an estimator each, trained side by side."""

from __future__ import annotations

import threading
from functools import partial
from itertools import pairwise

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_random_state

from ..._core.pool import run_all
from ...runtime import get_num_threads

# What an ensemble has in common with its first network.
_SHARED = (
    "classes_", "_multilabel", "_one_column", "n_outputs_", "n_layers_", "out_activation_", "_net",
)  # fmt: skip


def fit(owner, X, y, sample_weight, incremental: bool, classes) -> None:
    """Train the networks of `owner`, each as an estimator of one network would be."""
    X, y, first = owner._data(X, y, incremental)
    settings = {**owner.get_params(deep=False), "n_networks": 1}
    del settings["random_state"]
    if first:
        state = check_random_state(owner.random_state)
        seeds = state.randint(np.iinfo(np.int32).max, size=owner.n_networks)
        members = [clone(owner).set_params(random_state=int(seed)) for seed in seeds]
    else:
        members = owner.estimators_
    stop = threading.Event()
    for member in members:
        member.set_params(**settings)
        member._threads, member._stop, member._notes = 1, stop, []
    jobs = [partial(member._fit_one, X, y, sample_weight, incremental, classes)
            for member in members]  # fmt: skip
    try:
        run_all(jobs, get_num_threads(), stop)
    finally:
        for member in members:
            owner._notes += member._notes
            for name in ("_threads", "_stop", "_notes"):
                delattr(member, name)
    owner.estimators_ = members
    for name in _SHARED:
        if name in vars(members[0]):
            setattr(owner, name, getattr(members[0], name))
    owner._theta = np.stack([member._theta for member in members])
    for member, theta in zip(members, owner._theta):
        member._theta = theta
    owner.n_iter_ = max(member.n_iter_ for member in members)
    owner.t_ = members[0].t_
    owner.loss_ = float(np.mean([member.loss_ for member in members]))
    _together(owner, members)


def _together(owner, members) -> None:
    """Curves are those of each network, the best of a curve the mean of theirs; None as in one."""
    for name in ("loss_curve_", "validation_scores_", "best_loss_", "best_validation_score_"):
        owner.__dict__.pop(name, None)
        if not hasattr(members[0], name):  # with "lbfgs"
            continue
        each = [getattr(member, name) for member in members]
        if each[0] is None:
            each = None
        elif name.startswith("best_"):
            each = float(np.mean(each))
        setattr(owner, name, each)


def layers(net, thetas) -> list[tuple[np.ndarray, np.ndarray]]:
    """[(W (m, d, k), b (m, k)), ...] as views of thetas."""
    views, start = [], 0
    for d, k in pairwise(net.layer_sizes):
        stop = start + d * k
        views.append((thetas[:, start:stop].reshape(-1, d, k), thetas[:, stop : stop + k]))
        start = stop + k
    return views

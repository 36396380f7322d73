"""What scikit-learn does between epochs: curves, the best so far, when to stop, the rate."""

from __future__ import annotations

from ...schedules import as_schedule


class Watch:
    """The callback of one `fit` or `partial_fit`; the tally is kept in the estimator."""

    def __init__(self, owner, n: int, validation, incremental: bool, offset: float):
        self.owner, self.n, self.offset = owner, n, offset
        self.validation, self.incremental = validation, incremental
        self.best = None

    def on_epoch(self, result) -> bool:
        """True stops."""
        owner = self.owner
        loss = result.history.last()["loss"] / owner._loss_scale + self.offset
        owner.n_iter_ += 1
        owner.t_ += self.n
        owner.loss_ = loss
        owner.loss_curve_.append(loss)
        if owner.verbose:
            print(f"Iteration {owner.n_iter_}, loss = {loss:.8f}")
        improved = self._scored(result) if self.validation else self._fallen(loss)
        owner._no_improvement_count = 0 if improved else owner._no_improvement_count + 1
        if owner.solver == "sgd" and owner.learning_rate == "invscaling":
            rate = owner.learning_rate_init / (owner.t_ + 1) ** owner.power_t
            result.optimizer.lr = as_schedule(rate / owner._gradient_scale)
        if owner._interrupted():
            return True
        if self.incremental or owner._no_improvement_count <= owner.n_iter_no_change:
            return False
        if self._slowed(result.optimizer):
            return False
        if owner.verbose:
            what = "Validation score" if self.validation else "Training loss"
            print(
                f"{what} did not improve more than tol={owner.tol:f} for "
                f"{owner.n_iter_no_change} consecutive epochs. Stopping."
            )
        return True

    def _fallen(self, loss) -> bool:
        owner = self.owner
        improved = loss <= owner.best_loss_ - owner.tol
        owner.best_loss_ = min(loss, owner.best_loss_)
        return improved

    def _scored(self, result) -> bool:
        owner = self.owner
        X, y, weight = self.validation
        score = owner._score_of(owner._forward(result.theta, X), y, weight)
        owner.validation_scores_.append(score)
        if owner.verbose:
            print(f"Validation score: {score:f}")
        improved = score >= owner.best_validation_score_ + owner.tol
        if score > owner.best_validation_score_:
            owner.best_validation_score_ = score
            self.best = result.theta.copy()
        return improved

    def _slowed(self, optimizer) -> bool:
        """Whether a fifth of the learning rate is tried instead of stopping."""
        owner = self.owner
        if owner.solver != "sgd" or owner.learning_rate != "adaptive":
            return False
        rate = optimizer.lr(0)
        if rate * owner._gradient_scale <= 1e-6:
            return False
        optimizer.lr = as_schedule(rate / 5)
        owner._no_improvement_count = 0
        return True

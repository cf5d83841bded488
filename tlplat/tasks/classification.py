"""Classification: binary, multi-class (softmax) and multi-label (sigmoid)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tlplat.calibration import Calibration, apply_temperature
from tlplat.data.labelsets import Label, LabelReader, label_sets, read_apart
from tlplat.errors import DataError
from tlplat.hookspecs import hookimpl
from tlplat.metrics import ACCURACY, BRIER, LOG_LOSS, Auroc, AveragePrecision, BalancedAccuracy, MacroF1
from tlplat.model import TaskInfo
from tlplat.tasks.base import Evidence, HeadFit, Metric, Task, check_whole
from tlplat.tasks.confusions import confusion, reliability, roc_curves, suppressed
from tlplat.tasks.linear import DECAYS
from tlplat.tasks.netbenefit import decision_curve, observed
from tlplat.tasks.priors import Prior, frequencies
from tlplat.tasks.sets import check_counts, check_sets, common, label_table, set_facts
from tlplat.tasks.softmax import moments, pulled_fit, softmax_fit

IGNORE_INDEX = -100


class Classification(Task):
    """Which of the labels a row has: one of two, one of many, or any of many (``multi_label``).

    Args:
        labels: class names in index order, at least two (one suffices for multi-label).
        multi_label: targets are (n, c) in {0, 1} and the head is one sigmoid a label.
        metric: name of the primary metric; default auroc for two classes and multi-label, accuracy for more.
        decisions: somebody will act on the second of two labels: reports show the decision curve.
        least: errors and facts tell no count of fewer rows.
        balance: classes, or having and not having each label, count alike, however rare: predictions are those for rows
            where they are equally frequent (:mod:`tlplat.tasks.priors`), ``calibrated`` probabilities for rows as they
            are. More than two classes are then measured by ``balanced_accuracy``.
        prior: share of the training rows of each class, or with each label; set by ``settled`` where ``balance``.
    """

    name: ClassVar[str] = "classification"
    summary: ClassVar[str] = "binary, multi-class or multi-label classification"
    trivial_name: ClassVar[str] = "majority"
    trivial_summary: ClassVar[str] = "predicts the training rows' class frequencies for every row"
    decision_words: str = "the log-odds of the label that the model predicts"

    def __init__(
        self,
        labels: Sequence[str],
        multi_label: bool = False,
        metric: str | None = None,
        decisions: bool = False,
        least: int = 1,
        balance: bool = False,
        prior: Sequence[float] | None = None,
    ) -> None:
        self.labels = tuple(str(label) for label in labels)
        self.multi_label = multi_label
        self.metric, self.decisions, self.least, self.balance = metric, decisions, least, balance
        self.prior = None if prior is None else [float(p) for p in prior]
        self._prior = Prior(self.prior, multi_label)
        if multi_label:
            self.decision_words = "the log-odds of the row's likeliest label"
        if len(self.labels) < (1 if multi_label else 2):
            raise DataError(
                "TL-DATA-ONE-CLASS",
                "classification needs at least two classes",
                found=", ".join(self.labels) or "no label",
                fix="add rows of another class, or check that the label column is the right one",
            )

    @classmethod
    def of_sets(
        cls,
        labels: Sequence[Label],
        ids: Sequence[str],
        reader: LabelReader | None,
        warn: Callable[[str], None],
        known: Sequence[str] = (),
    ) -> tuple[Classification, Tensor] | None:
        """The task and targets (n, c) of rows that may have any number of labels; None where each has one.

        Args:
            labels, ids, warn, known: as of :func:`tlplat.data.labelsets.label_sets`. reader: how labels were read;
                None where no table says them.

        Raises:
            DataError: what that raises. TL-DATA-CLASS-SMALL: labels of fewer than two rows.
        """
        sets = None if reader is None else label_sets(labels, ids, reader, warn, known)
        if sets is None:
            return None
        task = cls(sets.names, multi_label=True)
        task.check_labelled(sets.targets)
        return task, sets.targets

    @classmethod
    def example(cls) -> Classification:
        return cls(["no", "yes"])

    def info(self) -> TaskInfo:
        options = {"labels": list(self.labels), "multi_label": self.multi_label, "metric": self.metric}
        options |= {"decisions": True} if self.decisions else {}
        options |= {"least": self.least} if self.least > 1 else {}
        options |= {"balance": True, "prior": self.prior} if self.balance else {}
        offers = {"loss", "row_loss", "fit_head", "probabilities"} | (set() if self.multi_label else {"pulled_head"})
        return TaskInfo(self.name, len(self.labels), self.labels, options, frozenset(offers))

    @property
    def metrics(self) -> Sequence[Metric]:
        """The primary metric first; where classes are balanced none of probabilities, which are of no row drawn."""
        if self.multi_label:
            found: list[Metric] = [Auroc(), AveragePrecision(), MacroF1(), BalancedAccuracy(), LOG_LOSS]
        elif len(self.labels) == 2:
            found = [Auroc(), ACCURACY, BalancedAccuracy(), AveragePrecision(), MacroF1(), BRIER, LOG_LOSS]
        else:
            found = [ACCURACY, BalancedAccuracy(), MacroF1(), Auroc(), AveragePrecision(), BRIER, LOG_LOSS]
        if self.balance:
            found = [m for m in found if m not in (BRIER, LOG_LOSS)]
            found.sort(key=lambda m: m.name == "accuracy")
        if self.metric is not None:
            known = {m.name: m for m in found}
            found = [known[self.metric], *(m for m in found if m.name != self.metric)]
        return found

    def balanced(self) -> Classification:
        metric = None if self.metric in (BRIER.name, LOG_LOSS.name) else self.metric
        return Classification(**{**self.info().options, "balance": True, "metric": metric})

    def unbalanced(self) -> Classification:
        return Classification(**{**self.info().options, "balance": False, "prior": None})

    def settled(self, targets: Tensor) -> Classification:
        """With the classes' frequencies, where they are to be taken out."""
        if not self.balance:
            return self
        return Classification(**{**self.info().options, "prior": frequencies(targets, len(self.labels), self.least)})

    def head(self, feature_dim: int) -> nn.Module:
        """A fresh head; where classes count alike it starts from their frequencies, and features say the rest.

        So training on plain cross-entropy is training on the logit-adjusted loss (Menon et al. 2021, eq. 10).
        """
        head = super().head(feature_dim)
        if isinstance(head, nn.Linear):
            head.bias = nn.Parameter(self._prior.added(head.bias.detach()))
        return head

    def adopt_head(self, weight: Tensor, bias: Tensor, source: TaskInfo) -> tuple[Tensor, Tensor]:
        """The source's linear head; where classes count alike, as if they had done so in the source."""
        return weight, self._prior.added(bias)

    def among(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs if self.prior is None else self._prior_of(targets).added(self._prior.removed(outputs))

    def rebalanced(self, predictions: np.ndarray) -> np.ndarray:
        return self._prior.removed_from(predictions)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy in nats: softmax, or sigmoid for multi-label."""
        if self.multi_label:
            return F.binary_cross_entropy_with_logits(outputs, targets.to(outputs.dtype))
        return F.cross_entropy(outputs, targets)

    def decode(self, outputs: Tensor) -> np.ndarray:
        z = self._prior.removed(outputs.detach().double())
        p = torch.sigmoid(z) if self.multi_label else torch.softmax(z, dim=1)
        return p.cpu().numpy()

    def outputs_text(self) -> str:
        name, pick = ("sigmoid", "those of 0.5 and above") if self.multi_label else ("softmax", "the largest")
        said, probability = f"{name}(outputs)", "the probability of each of labels"
        if self.prior is not None:
            added = "log(prior / (1 - prior))" if self.multi_label else "log(prior)"
            said = f"with prior = options.prior, {name}(outputs - {added})"
            probability = "the probability that each of labels would have if all were equally frequent"
        return (
            f"logits (rows, labels): {said} gives {probability}, in that order, and the prediction is {pick}; "
            f"{name}(outputs / calibration.temperature) gives the calibrated ones"
        )

    def chosen(self, outputs: Tensor) -> Tensor:
        """The likeliest label's number, as :meth:`decode` has it."""
        return self._prior.removed(outputs).argmax(dim=1)

    def decision(self, outputs: Tensor, chosen: Tensor) -> Tensor:
        """The chosen label's log-odds: against all others together, or its own logit where labels stand alone."""
        outputs = self._prior.removed(outputs)
        own = outputs.gather(1, chosen[:, None])[:, 0]
        if self.multi_label:
            return own
        others = outputs.scatter(1, chosen[:, None], -torch.inf)
        return own - torch.logsumexp(others, dim=1)

    def trivial(self, targets: Tensor) -> np.ndarray:
        """Class frequencies, so that the majority class is the prediction and AUROC is 0.5."""
        if self.multi_label:
            return targets.double().mean(dim=0).numpy()
        count = torch.bincount(targets, minlength=len(self.labels)).double()
        return (count / count.sum()).numpy()

    def takes_head(self, source: TaskInfo) -> bool:
        """Where labels exclude each other, a head says something else than where each stands alone."""
        return super().takes_head(source) and bool(source.options.get("multi_label")) == self.multi_label

    def strata(self, targets: Tensor) -> Tensor:
        """The classes; the sets of labels (n, c) for multi-label."""
        return targets.long() if self.multi_label else targets

    def fit_head(self, z: Tensor, y: Tensor, options: Mapping[str, Any]) -> HeadFit:
        """Softmax regression on standardised features by L-BFGS, the weight decay chosen by cross-validation.

        Multi-label fits one two-class softmax a label; its difference of logits is that label's sigmoid.

        Args:
            z: (n, d) frozen features. y: (n,) class indices, or (n, c) in {0, 1}.
            options: ``weight_decays`` tried (1e-3 ... 10), ``folds`` of the inner cross-validation (5), ``standardise``
                (True); ``toward``: weight and bias that the decay pulls to instead of zero, for single labels.
        """
        decays = [float(d) for d in options.get("weight_decays", DECAYS)]
        folds: int | Tensor = options["fold"] if "fold" in options else int(options.get("folds", 5))
        mean, scale = moments(z) if options.get("standardise", True) else (z.new_zeros(z.shape[1]), z.new_ones(()))
        x = ((z - mean) / scale).float()
        if "toward" in options:
            return pulled_fit(z, x, y, options["toward"], mean, scale, decays, folds)
        if self.multi_label:
            each = [softmax_fit(x, y[:, c].long(), 2, decays, folds) for c in range(y.shape[1])]
            weight = torch.stack([w[1] - w[0] for w, _, _, _ in each])
            bias = torch.stack([b[1] - b[0] for _, b, _, _ in each])
            loss = float(np.mean([held_out for _, _, held_out, _ in each]))
            chosen: dict[str, Any] = {"weight_decay": [decay for _, _, _, decay in each]}
        else:
            weight, bias, loss, decay = softmax_fit(x, y, len(self.labels), decays, folds)
            chosen = {"weight_decay": decay}
        weight = weight / scale
        return HeadFit(weight, bias - weight @ mean, loss, chosen)

    def check(self, targets: Tensor, ids: Sequence[str]) -> None:
        """Targets in range, and not all ignored; (n, c) zeros and ones for multi-label."""
        if self.multi_label:
            check_sets(targets, ids, len(self.labels))
            return
        if len(targets) and bool((targets == IGNORE_INDEX).all()):
            raise DataError(
                "TL-DATA-EMPTY",
                f"every label is the ignore_index {IGNORE_INDEX}: there is nothing to learn",
                fix="give labels for at least some rows",
            )
        check_whole(targets, ids, len(self.labels))

    def check_labelled(self, targets: Tensor) -> None:
        """At least two rows of every class; two with and two without every label for multi-label."""
        if self.multi_label:
            check_counts(targets, self.labels, self.least)
            return
        count = torch.bincount(targets, minlength=len(self.labels)).tolist()
        said = suppressed(count, self.least)
        for label, n, shown in zip(self.labels, count, said, strict=True):
            if n < 2:
                raise DataError(
                    "TL-DATA-CLASS-SMALL",
                    f"class {label!r} has {shown} sample{'' if shown == 1 else 's'} among {len(targets)} labels; "
                    "a stratified split needs at least 2",
                    found=", ".join(f"{name}: {c}" for name, c in zip(self.labels, said, strict=True)),
                    fix=read_apart(self.labels) or "label more rows of that class, raise --labels, or leave it out",
                )

    def facts(self, targets: Tensor) -> dict[str, Any]:
        """Rows of each class; for multi-label how many rows have so many labels, besides, where counts may be told."""
        if self.multi_label:
            return set_facts(targets, self.labels, self.least)
        count = torch.bincount(targets, minlength=len(self.labels)).tolist()
        return {"classes": dict(zip(self.labels, count, strict=False))}

    def calibration(self, evidence: Evidence) -> dict[str, Any] | None:
        """Temperature scaling, fitted on validation rows and measured on test rows, of classes as they occur."""
        said, predictions = self._among_labelled(evidence).added_to(evidence.said), self.as_they_occur(evidence)
        return Calibration.of((evidence.seen, said), (evidence.targets, predictions), evidence.rows).to_json()

    def prediction_rows(self, decoded: np.ndarray, calibration: Mapping[str, Any] | None) -> list[dict[str, Any]]:
        """``prediction`` (the most probable label, or the labels at 0.5 and above), ``probabilities``, ``calibrated``.

        ``calibrated`` holds the probabilities at the temperature, where there is one, of classes as they occur.
        """
        scaled = None
        if calibration is not None:
            told = self._prior.added_to(decoded)
            scaled = apply_temperature(told, float(calibration["temperature"]), self.multi_label).tolist()
        rows: list[dict[str, Any]] = []
        for i, row in enumerate(decoded.tolist()):
            probabilities = dict(zip(self.labels, row, strict=True))
            chosen = [label for label, p in probabilities.items() if p >= 0.5]
            best = max(probabilities, key=probabilities.__getitem__)
            rows.append({"prediction": chosen if self.multi_label else best, "probabilities": probabilities})
            if scaled is not None:
                rows[-1]["calibrated"] = dict(zip(self.labels, scaled[i], strict=True))
        return rows

    def detail(self, evidence: Evidence) -> dict[str, Any]:
        """``scaling``, ``roc``, ``calibration``, ``ece``; for one class a row ``confusion`` and a decision curve.

        For multi-label a table of labels instead; reliability and ``ece`` are of all labels' probabilities together.
        """
        scaling = self.calibration(evidence)
        assert scaling is not None
        targets, predictions = evidence.targets, evidence.predictions
        common = {
            "scaling": scaling,
            "roc": roc_curves(targets, predictions, self.labels, evidence.least),
            "calibration": self._reliability(targets, self.as_they_occur(evidence), evidence.least),
            "ece": scaling["ece"][0],
        }
        if self.multi_label:
            return {**common, "tables": [label_table(targets, predictions, self.labels, evidence.least)]}
        whole = confusion(targets, predictions, len(self.labels), evidence.least)
        return {**common, "confusion": whole, **self._decided(evidence)}

    def _reliability(self, targets: np.ndarray, predictions: np.ndarray, least: int) -> list[dict[str, Any]]:
        """Without labels whose count may not be told: that of all labels' rows together would give it away."""
        if self.multi_label and least > 1:
            shown = common(targets, least)
            targets, predictions = targets[:, shown], predictions[:, shown]
        return reliability(targets, predictions, least)

    def _decided(self, evidence: Evidence) -> dict[str, Any]:
        if not self.decisions or len(self.labels) != 2:
            return {}
        rate, title = observed(evidence.targets == 1), f"Decision curve: {self.labels[1]}"
        return {"charts": [decision_curve(self.as_they_occur(evidence)[:, 1], rate, title, evidence.least)]}

    def as_they_occur(self, evidence: Evidence) -> np.ndarray:
        return self._among_labelled(evidence).added_to(evidence.predictions)

    def _among_labelled(self, evidence: Evidence) -> Prior:
        """What the validation rows' frequencies add; those of the rows of each fit are nearly the same."""
        return self._prior_of(evidence.seen) if self.balance else Prior(None, self.multi_label)

    def _prior_of(self, targets: np.ndarray | Tensor) -> Prior:
        return Prior(frequencies(targets, len(self.labels), self.least), self.multi_label)


@hookimpl
def tlplat_register_tasks() -> list[type[Task]]:
    return [Classification]

"""Train a stage: the retriever, or a ranker over a trained retriever."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

from twotower.config import Config, DataConfig, EvaluationConfig, TrainingConfig
from twotower.data.arrays.distinct import distinct_values
from twotower.data.dataset.interactions import Interactions
from twotower.data.tables.frames import frame_name
from twotower.errors import DataError, explain
from twotower.models.ranker.ncf import NeuralCF
from twotower.models.retriever.two_tower import TwoTower
from twotower.serving.bundle.candidate_blend import CandidateBlend
from twotower.serving.bundle.ncf_stage import NeuralRanker
from twotower.training.callbacks import CallbackError, Callbacks
from twotower.training.notebook import progress_monitor
from twotower.workflow.training.fit_blend import choose_blend
from twotower.workflow.training.fit_ranker import fit_ranker
from twotower.workflow.training.fit_retriever import fit_retriever
from twotower.workflow.training.reference_models import choose_references


@overload
def fit(
    model: TwoTower,
    train: Interactions,
    validation: Interactions | None = None,
    *,
    config: Config | None = None,
    training: TrainingConfig | None = None,
    evaluation: EvaluationConfig | None = None,
    epochs: int | None = None,
    callbacks: Sequence[object] = (),
    progress: bool | None = None,
) -> TwoTower: ...


@overload
def fit(
    model: NeuralCF,
    train: Interactions,
    validation: Interactions | None = None,
    *,
    retriever: TwoTower,
    blend: CandidateBlend | None = None,
    config: Config | None = None,
    training: TrainingConfig | None = None,
    evaluation: EvaluationConfig | None = None,
    epochs: int | None = None,
    callbacks: Sequence[object] = (),
    progress: bool | None = None,
) -> NeuralRanker: ...


def fit(
    model: TwoTower | NeuralCF,
    train: Interactions,
    validation: Interactions | None = None,
    *,
    retriever: TwoTower | None = None,
    blend: CandidateBlend | None = None,
    config: Config | None = None,
    training: TrainingConfig | None = None,
    evaluation: EvaluationConfig | None = None,
    epochs: int | None = None,
    callbacks: Sequence[object] = (),
    progress: bool | None = None,
) -> TwoTower | NeuralRanker:
    """Train a stage and return it as it is served, with the weights of the best validation.

    Ctrl-C ends training; the best weights so far are returned.

    >>> model = tt.fit(tt.TwoTower(schema=data.schema), train, validation, epochs=2)
    >>> ranker = tt.fit(
    ...     tt.NeuralCF(schema=data.schema), train, validation, retriever=model, epochs=1
    ... )

    Args:
        model: made for the schema of the dataset that `train` is a part of.
        train: what to learn from.
        validation: decides when to stop; without it all epochs are trained.
        retriever: the trained `TwoTower` whose candidates a `NeuralCF` ranks.
        blend: what is retrieved beside it; see `fit_blend`.
        config: a whole config, whose `[training]`, `[evaluation]` and model section are used.
            Default: the config of `model`, and defaults otherwise.
        training: in place of `config.training`.
        evaluation: in place of `config.evaluation`; its `k` is that of validation.
        epochs: at most so many, in place of `training.epochs`. (A ranker whose config has `epochs`
            of its own keeps them.)
        callbacks: objects with some of the methods of `Callback`, such as a `LearningCurve`.
        progress: True shows progress: a bar on a terminal, a line in a notebook, and a line an
            epoch elsewhere, on standard error. Default: only on a terminal and in a notebook.

    Raises:
        CallbackError: a callback failed; the error has the model as trained until then.
        TrainingError: the loss is not a finite number.
        TypeError: a callback has none of the methods.
        ValueError: `retriever` is missing.
    """
    followed = Callbacks(callbacks, progress_monitor(progress))
    settings = full_config(model, config, retriever, training, evaluation, epochs)
    fitted: TwoTower | NeuralRanker
    if isinstance(model, TwoTower):
        fitted, result = fit_retriever(model, train, validation, config=settings, monitor=followed)
    else:
        if retriever is None:
            raise ValueError(
                "The 'retriever' parameter must be a trained TwoTower. Got None instead."
            )
        fitted, result = fit_ranker(
            model,
            train,
            validation,
            config=settings,
            retriever=retriever,
            blend=blend,
            monitor=followed,
        )
    followed.end(result)
    if followed.failure is not None:
        raise CallbackError(followed.failure, result, fitted) from followed.failure.error
    return fitted


def fit_blend(
    model: TwoTower,
    train: Interactions,
    validation: Interactions,
    *,
    config: Config | None = None,
) -> CandidateBlend:
    """Fit what stands beside trained towers: item neighbours, popularity, and the weight of each,
    chosen on validation so that the blend is no worse there than these baselines alone.

    >>> model = tt.fit(tt.TwoTower(schema=data.schema), train, validation, epochs=2)
    >>> blend = tt.fit_blend(model, train, validation)
    >>> tt.Recommender.build(model, train, data.config, blend=blend)
    Recommender(60 items, 120 users, index='exact', stages=('retrieve', 'blend'))

    Args:
        model: trained on `train`.
        train: what it learned from.
        validation: not empty.
        config: `[evaluation]` and `training.seed` are used. Default: the defaults.

    Raises:
        DataError: the validation part is empty.
    """
    if not len(validation):
        raise DataError(
            explain(
                "the weights of a blend are chosen on validation rows, and there are none",
                fix="give a validation part, or serve the towers alone",
            )
        )
    settings = full_config(model, config, None, None, None, None)
    references = choose_references(
        train,
        validation,
        queries=len(distinct_values(validation.user_num)),
        k=settings.evaluation.k,
        mask_seen=settings.evaluation.mask_seen,
        seed=settings.training.seed,
    )
    blend, _ = choose_blend(model, train, validation, references, config=settings)
    return blend


def full_config(
    model: TwoTower | NeuralCF,
    config: Config | None,
    retriever: TwoTower | None,
    training: TrainingConfig | None,
    evaluation: EvaluationConfig | None,
    epochs: int | None,
) -> Config:
    """A whole config for a stage, from what `fit` was given."""
    if config is None:
        config = Config(data=DataConfig(interactions=frame_name("interactions")))
        towers = model if isinstance(model, TwoTower) else retriever
        if towers is not None:
            config = config.model_copy(update={"retriever": towers.config})
    training = training or config.training
    update = {"training": training, "evaluation": evaluation or config.evaluation}
    if epochs is not None:
        update["training"] = TrainingConfig.model_validate(
            {**training.model_dump(), "epochs": epochs}
        )
    return config.model_copy(update=update)

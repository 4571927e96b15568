"""The losses that train a retriever, one file each, as pure functions on vectors and as the objects
that `retriever.loss` names.

Scores are inner products; query vectors are divided by the temperature before a loss sees them, so
that a learned temperature gets its gradient.

Shapes: B queries, D embedding_dim, P targets a query, T targets of a batch, N items, M sampled
candidates. Each loss is the weighted mean over the targets that count, and 0 (with gradients of 0)
if none does.

The softmax losses are, with the score s_t of a target and the candidates j it is contrasted with,

    loss_t = c * log( exp(s_t) + sum_j exp(s_j) ) - s_t,

where c is `negative_weight`. c = 1 is the cross-entropy. Above 1 the negative side weighs more, as
if it had a temperature of its own; the settings that Wu et al. 2023 ("BSL") report amount to 1.1 to
1.2.

Candidates. A target must be contrasted with all other items. The full softmax has them all; the
other losses draw candidates, and a candidate drawn with expected count q stands for 1 / q items, so
log q is subtracted from its score (logQ correction). The positive is not drawn but always there,
and is not corrected: the sum over candidates is then an unbiased estimate of the sum over all other
items. Sources: Bengio & Senécal 2008; Yi et al. 2019 (eq. 3, which also corrects the positive);
Khrylchenko et al. 2025, "Correcting the LogQ Correction", on leaving the positive uncorrected.
"""

// The formula of health, for explaining a score: docs/meaning.md.

/** The standard policy; a customer's own may differ. */
export const POLICY = {
  severity: { blocked: 2, spam_label: 1, user_report: 1, rejected: 0.25 },
  halfLifeHours: 72,
  volumeWeight: 0.5,
  volumeCalls: 100,
  volumeExcess: 2,
};

/** How many times health was halved: 0 for 100, 1 for 50, 2 for 25. */
export function penalty(health) {
  return health > 0 ? -Math.log2(health / 100) : Infinity;
}

/** What is left of a flag's penalty after so many hours. */
export function faded(kind, hours, policy = POLICY) {
  return policy.severity[kind] * 2 ** (-Math.max(0, hours) / policy.halfLifeHours);
}

/** The penalty of so many calls in 24 hours. */
export function volume(calls, policy = POLICY) {
  const excess = Math.min(Math.max(calls / policy.volumeCalls - 1, 0), policy.volumeExcess);
  return policy.volumeWeight * excess;
}

/** The score for a penalty. */
export function score(total) {
  return Math.floor(100 * 2 ** -total + 0.5);
}

/**
 * What health will be after so many hours if no flag and no call is added. `byVolume` is the part of the penalty that
 * calls have; it is gone after a day.
 */
export function later(health, byVolume, hours, policy = POLICY) {
  const flags = Math.max(0, penalty(health) - byVolume);
  return score(flags * 2 ** (-hours / policy.halfLifeHours) + (hours < 24 ? byVolume : 0));
}

/** Five steps, for colours and words: 5 is well, 1 is burnt. */
export function level(health) {
  return [20, 45, 70, 90].filter((bound) => health >= bound).length + 1;
}

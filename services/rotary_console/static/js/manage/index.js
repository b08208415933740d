// Registers the management pages.

export function registerManagePages(_register) {
  // None yet.
}

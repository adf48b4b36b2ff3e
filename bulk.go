package pools

// batch is how many slots, calls or waiters one holding of the lock visits at
// the most. What concerns more of them is done in several.
const batch = 128

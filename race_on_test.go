//go:build race

package pools_test

// raceDetector says that the tests run some ten times slower.
const raceDetector = true

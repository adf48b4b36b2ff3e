//go:build !race

package pools_test

const raceDetector = false

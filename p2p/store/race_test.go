//go:build race

package store_test

// raceDetector says that the test binary was built with -race.
const raceDetector = true

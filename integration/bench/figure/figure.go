// Package figure has what the reports of benchmarks share: medians, and JSON files.
package figure

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
)

// Median returns the middle value, the mean of the two middle ones, 0 of none.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// Write writes a report as JSON to each of the paths, whose folders it makes.
func Write(report any, paths ...string) error {
	text, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return err
	}
	var errs []error
	for _, path := range paths {
		errs = append(errs, os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, append(text, '\n'), 0o644))
	}
	return errors.Join(errs...)
}
